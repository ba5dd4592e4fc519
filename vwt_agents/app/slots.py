"""Counting a server's slots by using them: one small model loaded, more calls than slots at once. Only when asked to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.app.findings import Finding
from vwt_agents.app.inspection import slots_finding, solved_slots
from vwt_agents.app.world import measuring
from vwt_agents.config import DEFAULT_NUM_CTX, canonical
from vwt_agents.errors import VwtError
from vwt_agents.footprint import Slots, overlap
from vwt_agents.journal import Journal
from vwt_agents.messages import Message, Options, Request

if TYPE_CHECKING:
    from vwt_agents.app.world import World
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.types import Seconds

__all__ = ["count_slots"]

_LOAD_S: Final[Seconds] = 300.0
_CALL_S: Final[Seconds] = 60.0
_TOKENS: Final = 64


@dataclass(frozen=True, slots=True)
class _Trial:
    endpoint: str
    model: str
    num_ctx: int


async def count_slots(world: World) -> list[Finding]:
    """The slots of each Ollama that answers, counted: answers that are written at the same time have a slot each.

    Its smallest model that fits is loaded for it, measured, and unloaded again, unless it was there before.
    """
    findings = []
    async with Journal.open() as journal:
        endpoints = {name: measuring(world, name, journal) for name in world.endpoints}
        for name, endpoint in endpoints.items():
            if endpoint.kind == "ollama" and world.health[name].ok:
                try:
                    findings.append(await _count(world, endpoint, name))
                except VwtError as error:
                    findings.append(Finding(f"slots of {name}", "note", f"not counted: {error.message}", error.hint))
    return findings


async def _count(world: World, endpoint: Endpoint, name: str) -> Finding:
    settings = world.settings.endpoints[name]
    trial = _smallest(world, name)
    if trial is None:
        return Finding(f"slots of {name}", "note", "not counted: no model of the tiers is installed there and fits")
    there = any(canonical(one.model) == canonical(trial.model) for one in await endpoint.resident())
    try:
        residence = await endpoint.load(trial.model, num_ctx=trial.num_ctx, slots=settings.parallel, timeout=_LOAD_S)
        asked = settings.parallel + 1
        found = overlap(await _spans(endpoint, trial, asked))
    finally:
        if not there:
            with anyio.CancelScope(shield=True):
                await endpoint.unload(trial.model)
    if found > 1 or settings.parallel == 1:
        more = " or more" if found == asked else ""
        why = f"{found}{more} of {asked} calls to {trial.model} at once"
        return slots_finding(name, settings, Slots(max(1, found), sure=True, why=why))
    solved = solved_slots(world, name, world.infos[name, trial.model], residence)
    if solved is not None and solved.number != 1:  # answers too short to overlap; what it took says otherwise
        return slots_finding(name, settings, replace(solved, sure=False))
    why = f"{asked} calls to {trial.model} were answered one after another"
    return slots_finding(name, settings, Slots(1, sure=True, why=why))


def _smallest(world: World, name: str) -> _Trial | None:
    settings = world.settings.endpoints[name]
    budget = world.budgets.get(settings.device, 0)
    ways = {model: way.num_ctx or DEFAULT_NUM_CTX for _tier, way in world.settings.ways(name) for model in way.models}
    found = []
    for model, num_ctx in ways.items():
        offer = world.offers[name].find(model)
        if offer is None or not offer.installed or offer.allotted(settings, 2) != settings.parallel:
            continue
        context = offer.capped(num_ctx)
        need = offer.need(settings, num_ctx=context, slots=settings.parallel).mib
        if need <= budget:
            found.append((need, model, context))
    return None if not found else _Trial(name, *min(found)[1:])


async def _spans(endpoint: Endpoint, trial: _Trial, count: int) -> list[tuple[Seconds, Seconds]]:
    """When the first and the middle piece came, of so many answers asked for at once.

    Not the last: who reads it late may have read the first of the next answer before.
    """
    spans: list[tuple[Seconds, Seconds]] = []
    faults: list[VwtError] = []

    async def ask(number: int) -> None:
        moments: list[Seconds] = []
        request = Request(
            trial.endpoint,
            trial.model,
            (Message("user", f"Count from {number} upwards."),),
            trial.num_ctx,
            Options(temperature=0.0, num_predict=_TOKENS),
            timeout=_CALL_S,
        )
        try:
            await endpoint.call(request, lambda _chunk: moments.append(anyio.current_time()))
        except VwtError as error:
            faults.append(error)
        if moments:
            spans.append((moments[0], moments[len(moments) // 2]))

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(ask, number)
    if faults:
        raise faults[0]
    return spans
