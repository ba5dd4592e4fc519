"""A run as Chrome trace events, which Perfetto and chrome://tracing open: tracks, counters, and arrows from stage to call.

Three groups of tracks ("processes"): the stages, with the calls of each on lanes of their own; the models, with their stays
in memory and a lane for each slot; and one for each device, whose counters are memory against the budget. Complete events
("X") of one track never overlap but by being within one another, as the format asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vwt_agents.report.data import report_data
from vwt_agents.report.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.types import Seconds

__all__ = ["trace_of"]

_STAGES: Final = 1
_MODELS: Final = 2
_DEVICES: Final = 10

_Event = dict[str, Any]


def trace_of(record: RunRecord, entries: Sequence[Entry], now: datetime) -> dict[str, Any]:
    """The trace as JSON data, in the order of time. Moments are microseconds since the run began."""
    data = report_data(record, entries, Texts(), now)
    names = _Names()
    events = [*_stages(data, names), *_models(data, names), *_devices(data, names), *_remarks(data)]
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    return {
        "traceEvents": [*names.events, *events],
        "displayTimeUnit": "ms",
        "otherData": {"run": record.id, "pipeline": record.pipeline, "status": record.status},
    }


def _micros(seconds: Seconds) -> int:
    return round(seconds * 1_000_000)


class _Names:
    """Gives tracks their numbers and the events that name them."""

    def __init__(self) -> None:
        self.events: list[_Event] = []
        self._groups: set[int] = set()
        self._tracks = 0

    def group(self, pid: int, name: str) -> int:
        """The group's number, named once."""
        if pid not in self._groups:
            self._groups.add(pid)
            self.events.append(_meta("process_name", pid, 0, name=name))
            self.events.append(_meta("process_sort_index", pid, 0, sort_index=pid))
        return pid

    def track(self, pid: int, name: str) -> int:
        """A new track of a group."""
        self._tracks += 1
        self.events.append(_meta("thread_name", pid, self._tracks, name=name))
        self.events.append(_meta("thread_sort_index", pid, self._tracks, sort_index=self._tracks))
        return self._tracks


def _meta(what: str, pid: int, tid: int, **args: Any) -> _Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _span(name: str, pid: int, tid: int, began: Seconds, ended: Seconds, **args: Any) -> _Event:
    start = _micros(began)
    return {
        "ph": "X",
        "name": name,
        "pid": pid,
        "tid": tid,
        "ts": start,
        "dur": max(0, _micros(ended) - start),
        "args": args,
    }


def _lanes(spans: Sequence[tuple[Seconds, Seconds]]) -> list[int]:
    """The lane of each span, so that no two on one lane overlap: the lowest that is free."""
    free: list[Seconds] = []
    found = []
    for began, ended in spans:
        lane = next((index for index, until in enumerate(free) if until <= began), len(free))
        free[lane : lane + 1] = [ended]
        found.append(lane)
    return found


def _stages(data: Mapping[str, Any], names: _Names) -> Iterator[_Event]:
    pid = names.group(_STAGES, f"stages of {data['run']['pipeline']}")
    for stage in data["stages"]:
        calls = [call for call in data["calls"] if call["stage"] == stage["name"]]
        if not (stage["spans"] or calls):
            continue
        own = names.track(pid, stage["name"])
        for began, ended, status in stage["spans"]:
            yield _span(stage["name"], pid, own, began, ended, status=status, agents=stage["agents"])
        lanes = _lanes([(call["asked"], call["ended"]) for call in calls])
        tracks = [names.track(pid, f"{stage['name']} calls {lane + 1}") for lane in range(max(lanes, default=-1) + 1)]
        for call, lane in zip(calls, lanes, strict=True):
            yield from _call(call, pid, tracks[lane], own, stage["spans"])


def _call(call: Mapping[str, Any], pid: int, tid: int, own: int, spans: Sequence[Sequence[Any]]) -> Iterator[_Event]:
    name = f"{call['agent']} on {call['model']}"
    told = {
        "prompt_tokens": call["in"],
        "output_tokens": call["out"],
        "cached_tokens": call["cached"],
        "ok": call["ok"],
    }
    yield _span(name, pid, tid, call["asked"], call["ended"], **told)
    if call["granted"] > call["asked"]:
        whys = [words for _, words in call.get("whys", ())]
        yield _span("waits", pid, tid, call["asked"], call["granted"], why=whys)
    if any(began <= call["asked"] <= ended for began, ended, _ in spans):  # an arrow has to leave from something
        arrow = {"name": "asks", "cat": "call", "id": call["id"], "pid": pid, "ts": _micros(call["asked"])}
        yield {**arrow, "ph": "s", "tid": own}
        yield {**arrow, "ph": "f", "bp": "e", "tid": tid}


def _models(data: Mapping[str, Any], names: _Names) -> Iterator[_Event]:
    pid = names.group(_MODELS, "models and their slots")
    for index, model in enumerate(data["models"]):
        stays = [stay for stay in data["stays"] if stay["model"] == index]
        held = [slot for slot in data["slots"] if slot[0] == index]
        if not stays and not held:
            continue
        tid = names.track(pid, f"{model['name']} on {model['endpoint']}")
        for stay in stays:
            yield from _stay(stay, data["end"], pid, tid)
        for number in range(max((slot for _, slot, *_ in held), default=-1) + 1):
            lane = names.track(pid, f"{model['name']} slot {number + 1}")
            for _, slot, began, ended, stage, agent in held:
                if slot == number:
                    yield _span(f"{stage}: {agent}", pid, lane, began, ended)
    changes = [change for call in data["calls"] for change in ((call["asked"], 1), (call["granted"], -1))]
    waiting = 0
    for at, by in sorted(changes):
        waiting += by
        yield _counter("calls that wait", pid, at, {"waiting": waiting})


def _stay(stay: Mapping[str, Any], end: Seconds, pid: int, tid: int) -> Iterator[_Event]:
    began, ready, leaving, ended = stay["at"]
    over = ended if ended is not None else end
    why = stay.get("failed") or stay.get("why", "")
    loaded = ready if ready is not None else over
    if loaded > began:
        yield _span(
            "load failed" if stay.get("failed") else "loading", pid, tid, began, loaded, mib=stay["mib"], why=why
        )
    if ready is not None:
        yield _span("resident", pid, tid, ready, leaving if leaving is not None else over, mib=stay["mib"])
    if leaving is not None:
        yield _span("unloading", pid, tid, leaving, over, why=why)


def _devices(data: Mapping[str, Any], names: _Names) -> Iterator[_Event]:
    for number, device in enumerate(data["devices"]):
        pid = names.group(_DEVICES + number, f"memory of {device['name']}")
        models = [data["models"][model]["name"] for model in device["models"]]
        for at, *mibs in device["steps"]:
            yield _counter("models, MiB", pid, at, dict(zip(models, mibs, strict=True)))
        for at, mib in device["budget"]:
            yield _counter("budget, MiB", pid, at, {"budget": mib})
        for at, mib in device["others"]:
            yield _counter("others, MiB", pid, at, {"others": mib})


def _counter(name: str, pid: int, at: Seconds, values: Mapping[str, float]) -> _Event:
    return {"ph": "C", "name": name, "pid": pid, "tid": 0, "ts": _micros(at), "args": values}


def _remarks(data: Mapping[str, Any]) -> Iterator[_Event]:
    for at, line in data["remarks"]:
        yield {"ph": "i", "s": "g", "name": line, "pid": _STAGES, "tid": 0, "ts": _micros(at)}
