"""Rows of a timeline as nouns: which model was in memory when, who asked for a slot, waited for what and got it when.

Owns how rows are read back; `vwt_agents.timeline` says what each of them means. A row of a kind it does not know, of a later
version say, is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Final

from vwt_agents.report.axis import Axis
from vwt_agents.timeline import PLAN, TIMELINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.timeline import Row
    from vwt_agents.types import Mib, Seconds

__all__ = ["History", "Model", "Request", "StageSpan", "Stay", "read_history"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the run was served with it."""

    endpoint: str
    name: str
    device: str
    slots: int
    mib: Mib


@dataclass(slots=True)
class Stay:
    """A model's stay in memory: from its load (`began`), served from `ready` until `leaving`, over at `ended`.

    None: it did not come to that, or nobody wrote it down. `sizes` are what it was believed to take, and from when on.
    """

    model: Model
    began: Seconds
    ready: Seconds | None = None
    leaving: Seconds | None = None
    ended: Seconds | None = None
    sizes: list[tuple[Seconds, Mib]] = field(default_factory=list)
    failed: str = ""
    why: str = ""


@dataclass(slots=True)
class Request:
    """A request for a slot: `call` numbers the model call it was made for. `how` it ended: done, left, rejected, or `open`.

    `whys` are what it waited for and from when on, as it was explained then.
    """

    number: int
    session: int
    model: Model
    stage: str
    agent: str
    item: str
    call: int
    asked: Seconds
    granted: Seconds | None = None
    ended: Seconds | None = None
    how: str = "open"
    whys: list[tuple[Seconds, str]] = field(default_factory=list)


@dataclass(slots=True)
class StageSpan:
    """A stage at work in one session."""

    name: str
    began: Seconds
    ended: Seconds | None = None
    status: str = "running"


@dataclass(slots=True)
class History:
    """All of a run's sessions, on one axis that ends at `end`. What was open when a session ended, ended with it."""

    axis: Axis
    end: Seconds
    going_on: bool
    sessions: tuple[int, ...]
    """The number of the entry that each session began with."""
    away: Seconds = 0.0
    """The time between the sessions, in which nobody was at work."""
    worked: Seconds = 0.0
    """The time of all sessions."""
    models: list[Model] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    stages: list[StageSpan] = field(default_factory=list)
    budgets: dict[str, list[tuple[Seconds, Mib]]] = field(default_factory=dict)
    others: dict[str, list[tuple[Seconds, Mib]]] = field(default_factory=dict)
    remarks: list[tuple[Seconds, str]] = field(default_factory=list)

    def session_of(self, seq: int) -> int:
        """The session in which an entry was written."""
        return max((number for number, first in enumerate(self.sessions) if first <= seq), default=0)

    @property
    def devices(self) -> list[str]:
        """The devices that models of the run live on."""
        return sorted({model.device for model in self.models})


@dataclass(slots=True)
class _Session:
    first: int
    began: datetime
    ended: datetime
    rows: list[Row] = field(default_factory=list)


def read_history(record: RunRecord, entries: Sequence[Entry], now: datetime) -> History:
    """What the entries of a run tell of it; `now` is the end of a run that is still going on."""
    sessions = _sessions(record, entries)
    going_on = record.status == "running"
    if going_on:
        sessions[-1].ended = max(now, sessions[-1].ended)
    axis = Axis.of(record.started_at, [(session.began, session.ended) for session in sessions])
    history = History(axis, axis.at(sessions[-1].ended), going_on, tuple(session.first for session in sessions))
    between = [(one.ended, other.began) for one, other in pairwise(sessions)]
    history.away = sum(max(0.0, (began - ended).total_seconds()) for ended, began in between)
    history.worked = history.end - sum(max(0.0, axis.at(began) - axis.at(ended)) for ended, began in between)
    for number, session in enumerate(sessions):
        last = number + 1 == len(sessions)
        _Reader(history, number, axis.at(session.began)).read(session.rows)
        if not (last and going_on):
            _close(history, axis.at(session.ended), number)
    return history


def _sessions(record: RunRecord, entries: Sequence[Entry]) -> list[_Session]:
    """At least one, in their order; each ends with the last thing that is known of it."""
    found: dict[int, _Session] = {}
    current: _Session | None = None
    for entry in entries:
        if entry.kind == "event" and entry.name == PLAN and entry.started_at is not None:
            # Written first: what comes before its first rows is this session's too, and those may never come.
            began = entry.started_at
            current = found.setdefault(_micros(began), _Session(entry.seq, began, began))
        elif entry.kind == "event" and entry.name == TIMELINE:
            said: dict[str, Any] = json.loads(entry.payload or "{}")
            began = _moment(said["at"])
            current = found.setdefault(said["at"], _Session(entry.seq, began, began))
            current.rows += said["rows"]
            latest = max((row[1] for row in said["rows"] if row[0] not in "MT"), default=0)
            told = entry.started_at or began  # when the rows were written down: so long it lived
            current.ended = max(current.ended, began + timedelta(milliseconds=latest), told)
        elif current is not None and (ended := _ended(entry)) is not None:
            current.ended = max(current.ended, ended)
    sessions = list(found.values())
    if not sessions:
        ends = [ended for entry in entries if (ended := _ended(entry)) is not None]
        sessions = [_Session(1, record.started_at, max(ends, default=record.started_at))]
    sessions[0].first = 1
    if record.ended_at is not None:
        sessions[-1].ended = max(sessions[-1].ended, record.ended_at)
    return sessions


def _ended(entry: Entry) -> datetime | None:
    """When what an entry tells of was over."""
    if entry.started_at is None:
        return None
    whole = entry.kind == "call" and entry.seconds is not None
    return entry.started_at + timedelta(seconds=(entry.seconds or 0.0) if whole else 0.0)


def _micros(moment: datetime) -> int:
    return round((moment - _EPOCH) / timedelta(microseconds=1))


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _close(history: History, end: Seconds, session: int) -> None:
    """A session is over: so is what was open in it, as the processes that did it are gone."""
    for request in history.requests:
        if request.ended is None and request.session == session:
            request.ended = end
    for stay in history.stays:
        if stay.ended is None:
            stay.ended = end
    for span in history.stages:
        if span.ended is None:
            span.ended, span.status = end, "stopped"


class _Reader:
    """Reads the rows of one session into a history."""

    def __init__(self, history: History, session: int, offset: Seconds) -> None:
        self._history = history
        self._session = session
        self._offset = offset
        self._models: dict[int, Model] = {}
        self._texts: dict[int, str] = {}
        self._here: dict[int, Stay] = {}
        self._requests: dict[int, Request] = {}
        self._spans: dict[str, StageSpan] = {}

    def read(self, rows: Iterable[Row]) -> None:
        """All of them, in their order."""
        for kind, *cells in rows:
            if kind == "M":
                self._model(*cells)
            elif kind == "T":
                self._texts[cells[0]] = cells[1]
            elif (how := self._kinds.get(kind)) is not None:
                how(self, self._offset + cells[0] / 1000, *cells[1:])

    def _model(self, number: int, endpoint: str, name: str, device: str, slots: int, mib: Mib) -> None:
        model = Model(endpoint, name, device, slots, mib)
        for known in self._history.models:
            if (known.endpoint, known.name) == (endpoint, name):
                model = known
                break
        else:
            self._history.models.append(model)
        self._models[number] = model

    def _budget(self, at: Seconds, device: str, mib: Mib) -> None:
        self._history.budgets.setdefault(device, []).append((at, mib))

    def _occupied(self, at: Seconds, device: str, mib: Mib) -> None:
        self._history.others.setdefault(device, []).append((at, mib))

    def _loading(self, at: Seconds, model: int, mib: Mib) -> None:
        stay = Stay(self._models[model], at, sizes=[(at, mib)])
        self._here[model] = stay
        self._history.stays.append(stay)

    def _loaded(self, at: Seconds, model: int, mib: Mib) -> None:
        if model not in self._here:  # adopted: it was there before
            self._loading(at, model, mib)
        stay = self._here[model]
        stay.ready = at
        stay.sizes.append((at, mib))

    def _not_loaded(self, at: Seconds, model: int, text: int) -> None:
        if (stay := self._here.pop(model, None)) is not None:
            stay.ended, stay.failed = at, self._texts[text]

    def _unloading(self, at: Seconds, model: int, text: int) -> None:
        if (stay := self._here.get(model)) is not None:
            stay.leaving, stay.why = at, self._texts[text]

    def _unloaded(self, at: Seconds, model: int, text: int = 0) -> None:
        if (stay := self._here.pop(model, None)) is not None:
            stay.ended = at
            stay.why = self._texts.get(text, stay.why)

    def _kept(self, _at: Seconds, model: int, _text: int) -> None:
        if (stay := self._here.get(model)) is not None:
            stay.leaving = None

    def _asked(
        self, at: Seconds, number: int, model: int, stage: str = "", agent: str = "", item: str = "", call: int = 0
    ) -> None:
        request = Request(number, self._session, self._models[model], stage, agent, item, call, at)
        self._requests[number] = request
        self._history.requests.append(request)

    def _waits(self, at: Seconds, number: int, text: int) -> None:
        self._requests[number].whys.append((at, self._texts[text]))

    def _granted(self, at: Seconds, number: int) -> None:
        self._requests[number].granted = at

    def _released(self, at: Seconds, number: int) -> None:
        self._end(number, at, "done")

    def _cancelled(self, at: Seconds, number: int) -> None:
        self._end(number, at, "left")

    def _rejected(self, at: Seconds, number: int, text: int) -> None:
        self._end(number, at, "rejected")
        self._requests[number].whys.append((at, self._texts[text]))

    def _end(self, number: int, at: Seconds, how: str) -> None:
        self._requests[number].ended, self._requests[number].how = at, how

    def _began(self, at: Seconds, stage: str) -> None:
        self._spans[stage] = span = StageSpan(stage, at)
        self._history.stages.append(span)

    def _ended(self, at: Seconds, stage: str, status: str) -> None:
        if (span := self._spans.get(stage)) is not None:
            span.ended, span.status = at, status

    def _remark(self, at: Seconds, words: str) -> None:
        self._history.remarks.append((at, words))

    _kinds: ClassVar[Mapping[str, Callable[..., None]]] = {
        "b": _budget,
        "o": _occupied,
        "l": _loading,
        "L": _loaded,
        "f": _not_loaded,
        "d": _not_loaded,
        "u": _unloading,
        "U": _unloaded,
        "n": _kept,
        "v": _unloaded,
        "q": _asked,
        "w": _waits,
        "g": _granted,
        "r": _released,
        "c": _cancelled,
        "x": _rejected,
        "s": _began,
        "e": _ended,
        "y": _remark,
    }
