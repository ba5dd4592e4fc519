"""What happened to memory and queues while a run went on, as short rows: Timeline notes it, the journal keeps it.

Pure. The dispatcher tells it every event of the core; it keeps what people will ask about: residencies, budgets, what others
take, and how long each request waited for what. A row is a JSON array that begins with its kind and, but for M and T, its
moment in milliseconds since the timeline began:

    ["M", model, endpoint, name, device, slots, mib]     a number for a model
    ["T", text, words]                                   a number for words that come again
    ["b", t, device, mib]      ["o", t, device, mib]     the budget; what others take
    ["l", t, model, mib]       ["L", t, model, mib]      a load began; it is resident
    ["f", t, model, text]      ["d", t, model, text]     the load failed; it was deferred
    ["u", t, model, text]      ["U", t, model]           an unload began; the memory is free
    ["n", t, model, text]      ["v", t, model, text]     the unload failed; the residency vanished
    ["q", t, request, model, stage, agent, item, call]   a request asked for a slot
    ["w", t, request, text]                              why it waits, where that is new
    ["g", t, request]          ["r", t, request]         it was granted; its call is over
    ["c", t, request]          ["x", t, request, text]   it left before; it was rejected
    ["s", t, stage]            ["e", t, stage, status]   a stage began; it ended
    ["y", t, words]                                      a remark
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vwt_agents.core import (
    BudgetSet,
    Cancelled,
    Grant,
    Load,
    LoadDeferred,
    Loaded,
    LoadFailed,
    Occupied,
    Registered,
    Reject,
    Released,
    Submitted,
    Unload,
    Unloaded,
    UnloadFailed,
    Vanished,
    explain,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.core import Action, Event, ModelKey, State
    from vwt_agents.types import RequestId, Seconds

__all__ = ["PLAN", "TIMELINE", "Row", "Timeline"]

Row: TypeAlias = list[Any]

TIMELINE: Final = "timeline"
"""The name of the journal's entries that hold rows."""
PLAN: Final = "plan"
"""The name of the journal's entry that holds graph and routes of a run."""

_EXPLAINED: Final = 32
"""So many of those that wait are asked why when memory has changed hands: of a long queue the first say it all."""
_WORDS: Final = 300


class Timeline:
    """Rows of what happened since `began` (a moment of the dispatcher's clock); `take` hands over what is new."""

    __slots__ = ("_began", "_models", "_rows", "_stages", "_texts", "_told")

    def __init__(self, began: Seconds) -> None:
        self._began = began
        self._rows: list[Row] = []
        self._models: dict[ModelKey, int] = {}
        self._texts: dict[str, int] = {}
        self._told: dict[RequestId, int] = {}
        self._stages: dict[str, str] = {}

    def take(self) -> list[Row]:
        """The rows since the last time."""
        rows, self._rows = self._rows, []
        return rows

    def put_back(self, rows: list[Row]) -> None:
        """Rows that could not be kept, to be taken again."""
        self._rows[:0] = rows

    def asked(self, request: RequestId, key: ModelKey, labels: Mapping[str, str], call: int, now: Seconds) -> None:
        """A request is about to be submitted; `labels` say for whom, `call` is the number of the call it is for, or 0."""
        row = ["q", self._ms(now), request, self._models.get(key, 0), labels.get("stage", ""), labels.get("agent", "")]
        row += [labels.get("item", ""), call]
        while not row[-1]:  # most have no item, and many no number
            row.pop()
        self._rows.append(row)

    def happened(self, event: Event, actions: Sequence[Action], state: State, now: Seconds) -> None:
        """The core was told `event`, answered `actions` and is in `state` now."""
        at, add = self._ms(now), self._rows.append
        if (row := self._of_event(event, state, at)) is not None:
            add(row)
        for action in actions:
            add(self._of_action(action, state, at))
        if isinstance(event, Submitted) and event.request in state.waiting:
            self._explain(event.request, state, at)
        elif self._told and isinstance(event, Loaded | LoadFailed | LoadDeferred | Unloaded | Vanished | Occupied):
            for request in list(self._told)[:_EXPLAINED]:
                self._explain(request, state, at)

    def stage(self, name: str, status: str, began: Seconds | None, ended: Seconds | None) -> None:
        """Where a stage stands; what is known already is not noted again."""
        if began is None or self._stages.get(name) == status:
            return
        if name not in self._stages:
            self._rows.append(["s", self._ms(began), name])
        self._stages[name] = status
        if ended is not None:
            self._rows.append(["e", self._ms(ended), name, status])

    def remark(self, line: str, now: Seconds) -> None:
        """A line that was said to whoever watches the run."""
        self._rows.append(["y", self._ms(now), line[:_WORDS]])

    def _of_event(self, event: Event, state: State, at: int) -> Row | None:  # noqa: C901 - a table of cases
        match event:
            case Registered(spec=spec):
                number = self._models.setdefault(spec.key, len(self._models) + 1)
                return ["M", number, *spec.key, spec.device, spec.slots, spec.footprint]
            case BudgetSet(device=device, mib=mib):
                return ["b", at, device, mib]
            case Occupied(device=device, mib=mib):
                return ["o", at, device, mib]
            case Loaded(key=key) if (residency := state.residencies.get(key)) is not None:
                return ["L", at, self._models[key], residency.footprint]
            case LoadFailed(key=key, reason=why) if key in self._models:
                return ["f", at, self._models[key], self._text(why)]
            case LoadDeferred(key=key, reason=why) if key in self._models:
                return ["d", at, self._models[key], self._text(why)]
            case Unloaded(key=key) if key in self._models:
                return ["U", at, self._models[key]]
            case UnloadFailed(key=key, reason=why) if key in self._models:
                return ["n", at, self._models[key], self._text(why)]
            case Vanished(key=key, reason=why) if key in self._models and key not in state.residencies:
                return ["v", at, self._models[key], self._text(why)]
            case Released(request=request):
                return ["r", at, request]
            case Cancelled(request=request):
                self._told.pop(request, None)
                return ["c", at, request]
            case _:
                return None

    def _of_action(self, action: Action, state: State, at: int) -> Row:
        match action:
            case Load(key=key):
                return ["l", at, self._models[key], state.residencies[key].footprint]
            case Unload(key=key, why=why):
                return ["u", at, self._models[key], self._text(why)]
            case Grant(request=request):
                self._told.pop(request, None)
                return ["g", at, request]
            case Reject(request=request, reason=why):
                self._told.pop(request, None)
                return ["x", at, request, self._text(why)]

    def _explain(self, request: RequestId, state: State, at: int) -> None:
        text = self._text(explain(state, request))
        if self._told.get(request) != text:
            self._told[request] = text
            self._rows.append(["w", at, request, text])

    def _text(self, words: str) -> int:
        """The number of these words; the first time, a row that says them."""
        words = words[:_WORDS]
        number = self._texts.get(words)
        if number is None:
            number = self._texts[words] = len(self._texts) + 1
            self._rows.append(["T", number, words])
        return number

    def _ms(self, now: Seconds) -> int:
        return round((now - self._began) * 1000)
