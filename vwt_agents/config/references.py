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
from vwt_agents.hosts import one_server

__all__ = ["reference_faults"]

Table: TypeAlias = Mapping[str, Any]

_ENDPOINT = r"\w[\w.-]{0,63}"
_GPU = r"gpu\d+(:\d+)?"  # a card, or one instance of a divided one


def reference_faults(raw: Table) -> Iterator[PathFault]:
    """Every name in the raw tables that leads nowhere, and every key that its table cannot use."""
    yield from _budget(raw)
    yield from _endpoints(raw)
    yield from _same_place(raw)
    yield from _tiers(raw)
    yield from _twice(raw)
    yield from _agents(raw)


def _table(raw: Any, *path: str) -> Table:
    for key in path:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _budget(raw: Table) -> Iterator[PathFault]:
    for key in _table(raw, "budget"):
        if key not in {"cpu", "reserve"} and not re.fullmatch(_GPU, key):
            hint = did_you_mean(key, ["cpu", "gpu0", "gpu1", "reserve"])
            yield PathFault(("budget", key), f"budget: unknown key {key!r}", hint)


def _endpoints(raw: Table) -> Iterator[PathFault]:
    devices = {"auto", "gpu0", "cpu", *_table(raw, "budget")} - {"reserve"}
    for name in _table(raw, "endpoints"):
        endpoint = _table(raw, "endpoints", name)
        where = ("endpoints", name)
        if not re.fullmatch(_ENDPOINT, name):
            wanted = "letters, digits, '_', '-' and '.', beginning with a letter or digit, such as [endpoints.small]"
            yield PathFault(where, f"endpoints: {name!r} is no name for an endpoint", wanted)
        device = endpoint.get("device")
        if isinstance(device, str) and device not in devices:
            key = device if device.isalnum() else f'"{device}"'
            hint = did_you_mean(device, devices)
            if hint is None or re.fullmatch(_GPU, device):
                own = f'give it a budget: [budget] {key} = "auto"'
                hint = f"{hint} or {own}" if hint else own
            yield PathFault.at((*where, "device"), f"unknown device {device!r}", hint)
        yield from _start(endpoint, where)
        if endpoint.get("kind") == "embedded" and "url" in endpoint:
            yield PathFault.at((*where, "url"), "the embedded engine has no url: it starts its own workers")
        if endpoint.get("flash_attention") is False and endpoint.get("cache_type", "f16") != "f16":
            yield PathFault.at(
                (*where, "cache_type"), "a quantised KV cache needs flash attention: llama.cpp refuses it"
            )
        if endpoint.get("kind") == "ollama" and "threads" in endpoint:
            yield PathFault.at((*where, "threads"), "only the embedded engine takes it; Ollama chooses its own")


def _start(endpoint: Table, where: tuple[str, ...]) -> Iterator[PathFault]:
    """What `start` and `idle_stop` need of each other, and of their endpoint."""
    if "start" not in endpoint:
        if "idle_stop" in endpoint:
            hint = "say how to start it: start = { compose = [...], service = ... } or start = { command = [...] }"
            yield PathFault.at((*where, "idle_stop"), "only what `start` brought up is ever stopped", hint)
        return
    path = (*where, "start")
    if endpoint.get("kind") == "embedded":
        yield PathFault.at(path, "the embedded engine starts its own workers", "leave start out")
        return
    if "url" not in endpoint:
        yield PathFault.at(path, "the endpoint needs a url to be started at", 'such as url = "http://127.0.0.1:11434"')
    start = endpoint["start"]
    if isinstance(start, Mapping):
        yield from _way_to_start(start, path)


def _way_to_start(start: Table, path: tuple[str, ...]) -> Iterator[PathFault]:
    """Exactly one of compose and command, each with what belongs to it."""
    if "compose" in start and "command" in start:
        yield PathFault.at(path, "compose and command are two ways to start one server", "keep one of them")
    elif "compose" in start and "service" not in start:
        hint = 'the one that listens at this url, such as service = "ollama-large"'
        yield PathFault.at(path, "compose needs the name of the service", hint)
    elif "command" in start:
        for key in ("service", "project"):
            if key in start:
                yield PathFault.at((*path, key), "only compose has it", "leave it out, or name compose files")
    elif "compose" not in start:
        hint = 'start = { compose = ["docker-compose.yml"], service = "ollama" } or { command = ["ollama", "serve"] }'
        yield PathFault.at(path, "neither compose nor command says how", hint)


def _same_place(raw: Table) -> Iterator[PathFault]:
    """Two servers cannot be started at one url."""
    started: dict[str, str] = {}
    for name in _table(raw, "endpoints"):
        endpoint = _table(raw, "endpoints", name)
        url = endpoint.get("url")
        if "start" in endpoint and isinstance(url, str):
            first = started.setdefault(one_server(url), name)
            if first != name:
                hint = "give each a port of its own, or let both tiers name one endpoint"
                yield PathFault.at(("endpoints", name, "url"), f"endpoints.{first} is started at {url} too", hint)


def _tiers(raw: Table) -> Iterator[PathFault]:
    endpoints = _table(raw, "endpoints")
    for name in _table(raw, "tiers"):
        for path in (("tiers", name), ("tiers", name, "otherwise")):
            endpoint = _table(raw, *path).get("endpoint")
            if isinstance(endpoint, str) and endpoint not in endpoints:
                hint = did_you_mean(endpoint, endpoints) or f"add [endpoints.{endpoint}]"
                yield PathFault.at((*path, "endpoint"), f"unknown endpoint {endpoint!r}", hint)


def _twice(raw: Table) -> Iterator[PathFault]:
    """A list of models, the best first, that has one of them twice was meant otherwise."""
    lists: list[tuple[str, ...]] = [("agents", name, "fallback") for name in _table(raw, "agents")]
    for name in _table(raw, "tiers"):
        lists += [("tiers", name, "models"), ("tiers", name, "otherwise", "models")]
    for path in lists:
        listed = _table(raw, *path[:-1]).get(path[-1])
        first: dict[str, tuple[int, str]] = {}
        for index, model in enumerate(listed if isinstance(listed, list) else []):
            if not isinstance(model, str):
                continue
            before, known = first.setdefault(canonical(model), (index, model))
            if before != index and model.strip():
                also = "" if known == model else f", the same as {known!r}"
                yield PathFault.at((*path, index), f"{model!r} is listed twice{also}", "leave one of them out")


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
