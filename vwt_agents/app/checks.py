"""What works on this machine and what does not, each finding with the command that fixes it."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from vwt_agents.app.budgets import misplaced, place_hint
from vwt_agents.app.findings import Finding, Level
from vwt_agents.app.inspection import look_at_servers
from vwt_agents.app.matrix import model_matrix
from vwt_agents.config import canonical
from vwt_agents.errors import JournalError, VwtError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.app.inspection import ServerLook
    from vwt_agents.app.world import World
    from vwt_agents.config import TierSettings
    from vwt_agents.devices import Device
    from vwt_agents.types import TierName

__all__ = ["Finding", "Level", "check_all"]


async def check_all(world: World, *, load: bool = False) -> tuple[list[Finding], list[ServerLook]]:
    """Every finding, in the order a newcomer needs them, and each Ollama server as it was found.

    With `load`, a small model is loaded on each of them, to see whether it still loads and to count its slots.
    """
    servers = await look_at_servers(world)
    seen = [finding for server in servers for finding in server.findings]
    if load:
        from vwt_agents.app.slots import count_slots

        counted = {finding.what: finding for finding in await count_slots(world)}
        seen = [counted.get(finding.what, finding) for finding in seen]
        seen += await _loads(world, counted)
    findings = [
        _python(),
        *_null_device(),
        *_devices(world),
        *_endpoints(world),
        *seen,
        *await _models(world),
        await _ledger(),
        *await _sandbox(world),
        await _state(),
    ]
    return findings, servers


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _null_device() -> list[Finding]:
    """Whether what is written there is thrown away: a file in its place breaks sandboxes, in ways that name anything else."""
    if os.name != "posix":
        return []
    what, null = "null device", Path(os.devnull)
    if null.is_char_device():
        return [Finding(what, "ok", os.devnull)]
    it = "is a regular file" if null.is_file() else "is no device" if null.exists() else "is not there"
    fix = f"as root: rm -f {null}; mknod -m 666 {null} c 1 3" if sys.platform == "linux" else "restart this machine"
    return [Finding(what, "missing", f"{null} {it}: programs and sandboxes that use it fail", fix)]


def _devices(world: World) -> list[Finding]:
    gpus = [device for device in world.devices if device.kind == "gpu"]
    findings = [_device(world, device, several=len(gpus) > 1) for device in world.devices]
    if not gpus:
        findings.append(Finding("device gpu0", "note", world.no_gpu, world.gpu_hint))
    return findings


def _device(world: World, device: Device, *, several: bool) -> Finding:
    used = any(endpoint.device == device.name for endpoint in world.settings.endpoints.values())
    what, detail = f"device {device.name}", device.detail
    if device.problem:
        return Finding(what, "missing" if used else "note", f"{detail}: {device.problem}", world.gpu_hint)
    if device.uuid and (several or ":" in device.name):
        # the one way to name it that means the same to the driver and to a server's CUDA
        detail += f", CUDA_VISIBLE_DEVICES={device.uuid}"
    return Finding(what, "ok", f"{detail}; budget {world.arithmetic.get(device.name, '')}" if used else detail)


def _endpoints(world: World) -> list[Finding]:
    findings = []
    in_use = {tier.endpoint for tier in world.settings.tiers.values()}
    fallback = {tier.otherwise.endpoint for tier in world.settings.tiers.values() if tier.otherwise is not None}
    for name, health in world.health.items():
        endpoint = world.settings.endpoints[name]
        covered = name in in_use and any(world.health.get(other) and world.health[other].ok for other in fallback)
        if health.ok and covered and name not in fallback and world.offers[name].empty:
            detail = (
                f"{health.detail}; it has none of the models in agents.toml: the tiers fall back to the embedded engine"
            )
            first = world.settings.listed(name)[0]
            pull = f"ollama pull {first}"
            there = nearest(first, world.offers[name].others) or "python -m vwt_agents models"
            own = f"or name in [tiers.*] a model that it has: {there}"
            findings.append(Finding(f"endpoint {name}", "note", detail, f"{pull}   ({own})"))
            continue
        if health.ok:
            findings.append(Finding(f"endpoint {name}", "ok", health.detail))
            continue
        fix = (
            place_hint(endpoint, world.settings)
            if misplaced(endpoint, world.settings, world.devices)
            else 'pip install "vwt-agents[embedded]"'
            if endpoint.kind == "embedded"
            else "ollama serve   (or: docker compose -f compose/docker-compose.yml up -d)"
        )
        if name not in world.endpoints:  # its address is none
            fix = f"correct url in [endpoints.{name}]" if endpoint.url else "export OLLAMA_HOST=127.0.0.1:11434"
        detail = health.detail + ("; the tiers fall back to the embedded engine" if covered else "")
        needed = name in in_use or name in fallback
        level: Level = "missing" if needed and not covered else "note"
        findings.append(Finding(f"endpoint {name}", level, detail, fix))
    return findings


async def _models(world: World) -> list[Finding]:
    rows = await model_matrix(world)
    return [_models_of(world, tier, rows) for tier in world.settings.tiers]


def _models_of(world: World, tier: TierName, rows: list[dict[str, Any]]) -> Finding:
    """What a run would find for this tier: on its endpoint, or on its `otherwise` only where that is of no use."""
    way, what = _way(world, tier), f"models of tier {tier}"
    order = [canonical(model) for model in way.models]
    here = [row for row in rows if tier in row["tiers"] and row["endpoint"] == way.endpoint]
    here.sort(key=lambda row: order.index(canonical(row["model"])))
    usable = [row for row in here if row["fits"] and row["allowed"]]
    ready = [row for row in usable if row["installed"]]
    if ready:
        return Finding(what, "ok", ", ".join(f"{row['model']} ({row['footprint_mib']} MiB)" for row in ready))
    if usable:
        row = usable[0]
        detail = f"{row['model']} is not here yet ({row['size_mb']} MB); the first run pulls it"
        return Finding(what, "note", detail, f"python -m vwt_agents models pull {row['model']}")
    offer = world.offers.get(way.endpoint)
    if offer is not None and offer.unknown:
        detail = f"endpoint {way.endpoint} is not running, and nothing is known yet of its {', '.join(sorted(offer.unknown))}"
        return Finding(what, "note", detail, f"python -m vwt_agents endpoints up {way.endpoint}")
    why = "; ".join(_why(row) for row in here) or f"endpoint {way.endpoint} does not answer"
    return Finding(what, "missing", why, _fix(world, way, here))


def _way(world: World, tier: TierName) -> TierSettings:
    settings = world.settings.tiers[tier]
    offer = world.offers.get(settings.endpoint)
    useful = offer is not None and offer.useful
    return settings if settings.otherwise is None or useful else settings.otherwise


def _fix(world: World, way: TierSettings, here: list[dict[str, Any]]) -> str | None:
    """The command or the edit that gives this tier a model; None where its endpoint's own finding says it."""
    absent = [row for row in here if not row["installed"]]
    if absent:
        return f"python -m vwt_agents models pull {absent[0]['model']}"
    source = world.settings.source or "agents.toml"
    refused = [row for row in here if row["fits"] and not row["allowed"]]
    if refused:
        return f'once you agree to its licence, accept = ["{refused[0]["model"]}"] under [licences] in {source}'
    return f"name a smaller model in tiers.{way.name} of {source}, or lower its num_ctx" if here else None


def _why(row: dict[str, Any]) -> str:
    if row["fits"] is None:
        return f"{row['model']} is not pulled"
    if not row["fits"]:
        return (
            f"{row['model']} needs {row['footprint_mib']} MiB, the budget of {row['device']} is {row['budget_mib']} MiB"
        )
    return f"{row['model']}: its licence ({row['licence']}) is not in licences.allow"


async def _sandbox(world: World) -> list[Finding]:
    from vwt_agents.app.sandbox import open_sandbox

    try:
        sandbox = await open_sandbox(world.settings.sandbox)
    except VwtError as error:
        return [Finding("sandbox", "missing", error.message, error.hint)]
    backend = sandbox.backend
    found = await sandbox.find_pytest()
    return [
        Finding("sandbox", "ok" if backend.level == "full" else "note", f"{backend.name}, level {backend.level}"),
        Finding("pytest", "ok" if found.works else "missing", found.reason, found.fix),
    ]


async def _loads(world: World, counted: Mapping[str, Finding]) -> list[Finding]:
    """Whether servers on which no slots could be counted load anything at all: one whose scheduler is stuck (ollama#17408)
    answers everything else.
    """
    found = []
    for name, endpoint in world.endpoints.items():
        health, slots = world.health[name], counted.get(f"slots of {name}")
        uncounted = slots is None or slots.detail.startswith("not counted")
        if endpoint.kind == "ollama" and health.ok and not health.asleep and uncounted:
            deep = await endpoint.deep_probe()
            fix = None if deep.ok else "restart that server"
            found.append(Finding(f"loads of {name}", "ok" if deep.ok else "missing", deep.detail, fix))
    return found


async def _ledger() -> Finding:
    """Who holds memory on this machine, through the ledger that all processes share; whether it can be claimed there."""
    from vwt_agents.ledger import Ledger, Resource

    with await to_thread.run_sync(Ledger.open, "doctor") as ledger:
        seen = await to_thread.run_sync(ledger.snapshot)
        if not seen.shared:
            detail = f"shared with nobody: {seen.where}"
            fix = "set VWT_LEDGER to a folder, see docs/memory.md"
            if ledger.unusable:
                detail += "; a run takes the whole budget, whatever other processes have of it"
            return Finding("ledger", "note", detail, fix)
        try:  # a folder that can be read may be full, or another user's
            refused = await to_thread.run_sync(ledger.claim, "", nothing := Resource("doctor", ""), 0, 0)
        except VwtError as error:
            return Finding("ledger", "missing", f"no memory can be claimed: {error.message}", error.hint)
        await to_thread.run_sync(ledger.drop, nothing)
    if refused is not None:
        return Finding("ledger", "missing", f"no memory can be claimed: {refused.reason}", refused.hint)
    held = "; ".join(f"{holder.device}: {holder}" for holder in seen.holders) or "nobody holds memory"
    waits = f"; {len(seen.wants)} waiting" if seen.wants else ""
    return Finding("ledger", "ok", f"{seen.where}: {held}{waits}")


async def _state() -> Finding:
    from vwt_agents.journal import JournalReader, default_path

    path = default_path()
    try:
        await JournalReader(path).list_runs(1)
    except JournalError as error:
        return Finding("journal", "missing", error.message, error.hint or "")
    folder = next(parent for parent in path.parents if parent.exists())
    try:
        probe = folder / f".vwt-{Path(sys.executable).name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Finding(
            "journal", "missing", f"{path} cannot be written: {error.strerror}", "export VWT_STATE=SOME/FOLDER"
        )
    return Finding("journal", "ok", str(path))
