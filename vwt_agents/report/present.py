"""A run as it stands now: its stages, who runs and who waits for what, what is in memory, and when it may be over.

Pure, and as old as the last rows of its timeline: those of a run that goes on are some seconds old at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vwt_agents.board import ENDED_WELL
from vwt_agents.report.data import plan_of
from vwt_agents.report.history import History, Request, StageSpan, read_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.types import Mib, Seconds

__all__ = ["CallNow", "DeviceNow", "ModelNow", "Present", "StageNow", "present", "usual_seconds"]


@dataclass(frozen=True, slots=True)
class StageNow:
    """A stage: where it stands, how long it has been at work, and the stages it still waits for."""

    name: str
    status: str
    seconds: Seconds
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallNow:
    """A call that runs (`why` is empty) or waits, since `seconds`."""

    stage: str
    agent: str
    model: str
    item: str
    seconds: Seconds
    why: str = ""


@dataclass(frozen=True, slots=True)
class ModelNow:
    """A model in memory: loading, resident or unloading."""

    model: str
    endpoint: str
    phase: str
    mib: Mib
    running: int
    slots: int


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A device: what models take of the budget, and what others take."""

    name: str
    used_mib: Mib
    budget_mib: Mib
    others_mib: Mib
    models: tuple[ModelNow, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """A run now. `left_s` is how long it may go on, by what its stages took before; None where that is not known."""

    run: str
    pipeline: str
    status: str
    seconds: Seconds
    left_s: Seconds | None
    calls_done: int
    stages: tuple[StageNow, ...]
    running: tuple[CallNow, ...]
    waiting: tuple[CallNow, ...]
    devices: tuple[DeviceNow, ...]
    remark: str


def present(
    record: RunRecord, entries: Sequence[Entry], now: datetime, usual: Mapping[str, Seconds] | None = None
) -> Present:
    """How the run stands, from its events (stages and calls may be among the entries). `usual`: what its stages take."""
    history = read_history(record, entries, now)
    stages = _stages(history, plan_of(entries)["stages"])
    session = len(history.sessions) - 1
    current = [request for request in history.requests if request.session == session]
    goes_on = [request for request in current if request.ended is None]
    return Present(
        run=record.id,
        pipeline=record.pipeline,
        status=record.status,
        seconds=round(history.worked, 1),
        left_s=_left(stages, plan_of(entries)["stages"], usual or {}) if history.going_on else None,
        calls_done=sum(request.how == "done" for request in history.requests),
        stages=stages,
        running=tuple(_call(one, history.end - one.granted) for one in goes_on if one.granted is not None),
        waiting=tuple(
            _call(one, history.end - one.asked, one.whys[-1][1] if one.whys else "waits")
            for one in goes_on
            if one.granted is None
        ),
        devices=tuple(_device(history, device, goes_on) for device in history.devices),
        remark=history.remarks[-1][1] if history.remarks else "",
    )


def usual_seconds(runs: Iterable[Sequence[Entry]]) -> dict[str, Seconds]:
    """What each stage took on average in these runs, by its name; the entries are theirs of the kind stage."""
    found: dict[str, list[Seconds]] = {}
    for entries in runs:
        for entry in entries:
            if entry.status == "done" and entry.seconds is not None:
                found.setdefault(entry.name, []).append(entry.seconds)
    return {name: sum(took) / len(took) for name, took in found.items()}


def _call(request: Request, seconds: Seconds, why: str = "") -> CallNow:
    return CallNow(request.stage, request.agent, request.model.name, request.item, round(max(0.0, seconds), 1), why)


def _stages(history: History, planned: Sequence[Mapping[str, object]]) -> tuple[StageNow, ...]:
    spans: dict[str, StageSpan] = {span.name: span for span in history.stages}
    needs = {str(stage["name"]): _names(stage["needs"]) for stage in planned}
    done = {name for name, span in spans.items() if span.status in ENDED_WELL}
    return tuple(
        StageNow(
            name,
            spans[name].status if name in spans else "waiting",
            round(_length(spans[name], history.end), 1) if name in spans else 0.0,
            () if name in spans else tuple(need for need in needs.get(name, ()) if need not in done),
        )
        for name in dict.fromkeys([*needs, *spans])
    )


def _names(needs: object) -> tuple[str, ...]:
    return tuple(needs) if isinstance(needs, list) else ()


def _length(span: StageSpan, end: Seconds) -> Seconds:
    return (span.ended if span.ended is not None else end) - span.began


def _left(
    stages: Sequence[StageNow], planned: Sequence[Mapping[str, object]], usual: Mapping[str, Seconds]
) -> Seconds | None:
    """The longest way through what is not done yet; None where a stage on it has never been seen."""
    now = {stage.name: stage for stage in stages}
    until: dict[str, Seconds] = {}
    for stage in planned:
        name = str(stage["name"])
        begins = max((until[need] for need in _names(stage["needs"])), default=0.0)
        if now[name].status in ENDED_WELL:
            until[name] = begins
        elif name in usual:
            until[name] = begins + max(0.0, usual[name] - now[name].seconds)
        else:
            return None
    return round(max(until.values()), 1) if until else None


def _device(history: History, device: str, goes_on: Sequence[Request]) -> DeviceNow:
    models = []
    for stay in history.stays:
        if stay.model.device != device or stay.ended is not None:
            continue
        phase = "unloading" if stay.leaving is not None else "resident" if stay.ready is not None else "loading"
        held = sum(one.model is stay.model and one.granted is not None for one in goes_on)
        models.append(ModelNow(stay.model.name, stay.model.endpoint, phase, stay.sizes[-1][1], held, stay.model.slots))
    budgets, others = history.budgets.get(device), history.others.get(device)
    return DeviceNow(
        device,
        sum(model.mib for model in models),
        budgets[-1][1] if budgets else 0,
        others[-1][1] if others else 0,
        tuple(models),
    )
