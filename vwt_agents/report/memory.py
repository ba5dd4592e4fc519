"""Memory and queues as a page's data: who was where when, which slot was held by whom, what was waited for."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vwt_agents.report.history import History, Request, Stay
    from vwt_agents.types import Mib, Seconds

__all__ = ["devices_of", "models_of", "slots_of", "stays_of", "waits_of"]

_REASONS: Final = 12
"""So many sentences about waits are shown."""


def models_of(history: History) -> list[dict[str, Any]]:
    """Each model, in the order by which the rest names it."""
    names = ("endpoint", "name", "device", "slots", "mib")
    return [{name: getattr(model, name) for name in names} for model in history.models]


def stays_of(history: History) -> list[dict[str, Any]]:
    """Each stay: its moments, and when it took how much."""
    number = {id(model): index for index, model in enumerate(history.models)}
    return [
        {
            "model": number[id(stay.model)],
            "at": [_rounded(one) for one in (stay.began, stay.ready, stay.leaving, stay.ended)],
            "mib": max(mib for _, mib in stay.sizes),
            **({"failed": stay.failed} if stay.failed else {}),
            **({"why": stay.why} if stay.why else {}),
        }
        for stay in history.stays
    ]


def _rounded(at: Seconds | None) -> float | None:
    return None if at is None else round(at, 3)


def slots_of(history: History) -> list[list[Any]]:
    """Which slot of its model each request held: [model, slot, from, to, call or 0, stage]; the lowest that was free."""
    number = {id(model): index for index, model in enumerate(history.models)}
    free_at: dict[int, list[Seconds]] = defaultdict(list)
    rows: list[list[Any]] = []
    held = [(request.granted, request) for request in history.requests if request.granted is not None]
    for granted, request in sorted(held, key=lambda pair: pair[0]):
        slots, end = free_at[number[id(request.model)]], _end_of(request, history)
        slot = next((index for index, until in enumerate(slots) if until <= granted), len(slots))
        slots[slot : slot + 1] = [end]
        rows.append([number[id(request.model)], slot, round(granted, 3), round(end, 3), request.stage, request.agent])
    return rows


def _end_of(request: Request, history: History) -> Seconds:
    return request.ended if request.ended is not None else history.end


def devices_of(history: History) -> list[dict[str, Any]]:
    """Each device: its budget, what others took, and what each model took, as steps [moment, MiB, ...]."""
    number = {id(model): index for index, model in enumerate(history.models)}
    devices = []
    for device in history.devices:
        changes: list[tuple[Seconds, int, int]] = []
        for stay in history.stays:
            if stay.model.device == device:
                changes += ((at, number[id(stay.model)], mib) for at, mib in _changes(stay, history.end))
        models = sorted({model for _, model, _ in changes})
        devices.append(
            {
                "name": device,
                "budget": [[round(at, 3), mib] for at, mib in history.budgets.get(device, [])],
                "others": [[round(at, 3), mib] for at, mib in history.others.get(device, [])],
                "models": models,
                "steps": _steps(changes, models),
                "peak": _peak(history, device),
            }
        )
    return devices


def _changes(stay: Stay, end: Seconds) -> Iterator[tuple[Seconds, Mib]]:
    """When a model took how much more or less, and that all of it was free when it left, or at the end."""
    before = 0
    for at, mib in stay.sizes:
        yield at, mib - before
        before = mib
    yield stay.ended if stay.ended is not None else end, -before


def _peak(history: History, device: str) -> int:
    """What models that were loaded took at most together; what a load was believed to take does not count, it may fail."""
    changes: list[tuple[Seconds, int]] = []
    for stay in history.stays:
        if stay.model.device == device and stay.ready is not None:
            changes += ((max(at, stay.ready), mib) for at, mib in _changes(stay, history.end))
    now, at_moment = 0, dict[float, int]()
    for at, mib in sorted(changes, key=lambda change: change[0]):
        now += mib
        at_moment[at] = now  # what leaves and what comes at one moment were never there together
    return max(at_moment.values(), default=0)


def _steps(changes: list[tuple[Seconds, int, int]], models: Sequence[int]) -> list[list[float]]:
    now = dict.fromkeys(models, 0)
    steps: list[list[float]] = []
    for at, model, mib in sorted(changes, key=lambda change: change[0]):
        now[model] += mib
        row = [round(at, 3), *now.values()]
        if steps and steps[-1][0] == row[0]:
            steps[-1] = row
        else:
            steps.append(row)
    return steps


def waits_of(history: History) -> list[dict[str, Any]]:
    """What requests waited for, the longest first: sentences that differ in numbers only count as one."""
    found: dict[str, dict[str, Any]] = {}
    for request in history.requests:
        until = request.granted if request.granted is not None else _end_of(request, history)
        ends = [at for at, _ in request.whys[1:]] + [until]
        for (at, words), end in zip(request.whys, ends, strict=False):  # one that never waited has none
            mark = re.sub(r"(?<![\w.:])\d+", "N", words)
            one = found.setdefault(mark, {"why": words, "seconds": 0.0, "requests": set(), "stages": set()})
            one["seconds"] += max(0.0, min(end, until) - at)
            one["requests"].add((request.session, request.number))
            one["stages"].add(request.stage)
    longest = sorted(found.values(), key=lambda one: -one["seconds"])[:_REASONS]
    return [
        {
            "why": one["why"],
            "seconds": round(one["seconds"], 3),
            "requests": len(one["requests"]),
            "stages": sorted(one["stages"]),
        }
        for one in longest
    ]
