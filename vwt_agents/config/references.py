"""What one table of agents.toml says of another: endpoints, devices, tiers and models by name. Pure.

It reads the raw tables, so that wrong names are reported together with wrong types; a part of the wrong type is passed
over here, because the schema reports it. Never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from vwt_agents.config.faults import PathFault
from vwt_agents.config.settings import canonical
from vwt_agents.errors import did_you_mean

__all__ = ["UNSUPPORTED", "reference_faults"]

Table: TypeAlias = Mapping[str, Any]

UNSUPPORTED = ("start", "idle_stop")
_BY_HAND = "not supported yet: bring the endpoint up by hand with docker compose -f ..., see compose/README.md"


def reference_faults(raw: Table) -> Iterator[PathFault]:
    """Every name in the raw tables that leads nowhere, and every key that its table cannot use."""
    yield from _budget(raw)
    yield from _endpoints(raw)
    yield from _tiers(raw)
    yield from _agents(raw)


def _table(raw: Any, *path: str) -> Table:
    for key in path:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _budget(raw: Table) -> Iterator[PathFault]:
    for key in _table(raw, "budget"):
        if key not in {"cpu", "reserve"} and not re.fullmatch(r"gpu\d+", key):
            hint = did_you_mean(key, ["cpu", "gpu0", "gpu1", "reserve"])
            yield PathFault(("budget", key), f"budget: unknown key {key!r}", hint)


def _endpoints(raw: Table) -> Iterator[PathFault]:
    devices = {"auto", "gpu0", "cpu", *_table(raw, "budget")} - {"reserve"}
    for name in _table(raw, "endpoints"):
        endpoint = _table(raw, "endpoints", name)
        where = ("endpoints", name)
        device = endpoint.get("device")
        if isinstance(device, str) and device not in devices:
            hint = did_you_mean(device, devices) or f'give it a budget: [budget] {device} = "auto"'
            yield PathFault.at((*where, "device"), f"unknown device {device!r}", hint)
        for key in UNSUPPORTED:
            if key in endpoint:
                yield PathFault.at((*where, key), _BY_HAND)
        if endpoint.get("kind") == "embedded" and "url" in endpoint:
            yield PathFault.at((*where, "url"), "the embedded engine has no url: it starts its own workers")
        if endpoint.get("flash_attention") is False and endpoint.get("cache_type", "f16") != "f16":
            yield PathFault.at(
                (*where, "cache_type"), "a quantised KV cache needs flash attention: llama.cpp refuses it"
            )
        if endpoint.get("kind") == "ollama" and "threads" in endpoint:
            yield PathFault.at((*where, "threads"), "only the embedded engine takes it; Ollama chooses its own")


def _tiers(raw: Table) -> Iterator[PathFault]:
    endpoints = _table(raw, "endpoints")
    for name in _table(raw, "tiers"):
        for path in (("tiers", name), ("tiers", name, "otherwise")):
            endpoint = _table(raw, *path).get("endpoint")
            if isinstance(endpoint, str) and endpoint not in endpoints:
                hint = did_you_mean(endpoint, endpoints) or f"add [endpoints.{endpoint}]"
                yield PathFault.at((*path, "endpoint"), f"unknown endpoint {endpoint!r}", hint)


def _pool(raw: Table, tier: str) -> list[str]:
    listed = _texts(_table(raw, "tiers", tier).get("models"))
    return listed + _texts(_table(raw, "tiers", tier, "otherwise").get("models"))


def _agents(raw: Table) -> Iterator[PathFault]:
    tiers = _table(raw, "tiers")
    everywhere = [model for tier in tiers for model in _pool(raw, tier)]
    for name in _table(raw, "agents"):
        agent, where = _table(raw, "agents", name), ("agents", name)
        if not name.isidentifier():
            yield PathFault.at(where, "an agent's name is a parameter's name, so letters, digits and _ only")
        tier, possible = agent.get("tier"), everywhere
        if isinstance(tier, str) and tier in {"small", "large"}:
            possible = _pool(raw, tier)
            if tier not in tiers:
                yield PathFault.at((*where, "tier"), f"unknown tier {tier!r}", f"add [tiers.{tier}]")
                continue
        for path, model in _models(agent, where):
            if canonical(model) not in {canonical(known) for known in possible}:
                there = f"tiers.{tier}" if possible is not everywhere else "any tier"
                yield PathFault.at(path, f"{model!r} is not in the models of {there}", did_you_mean(model, possible))


def _models(agent: Table, where: tuple[str, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(agent.get("model"), str):
        yield (*where, "model"), agent["model"]
    fallback = agent.get("fallback")
    for index, model in enumerate(fallback if isinstance(fallback, list) else []):
        if isinstance(model, str):
            yield (*where, "fallback", index), model
