"""How the stages of a pipeline have behaved in its past runs, learned from their journals: calls, seconds, thought, loads.

Pure: entries in, means out; the last runs count most. Owns no opinion on what follows (lookahead.py) and keeps nothing:
the journal is the memory. A stage never seen has no habit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from vwt_agents.entries import read_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vwt_agents.entries import Entry
    from vwt_agents.messages import Usage
    from vwt_agents.types import Seconds

__all__ = ["Habit", "Habits", "learn"]

NEWEST: Final = 0.5
"""The weight of a run against all before it."""


@dataclass(slots=True)
class Habit:
    """How a stage has used its agents, by agent name: how many calls it made, and the seconds each held its slot.

    `think` is the seconds it spent without any call under way, in all.
    """

    calls: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, Seconds] = field(default_factory=dict)
    think: Seconds = 0.0


@dataclass(slots=True)
class Habits:
    """The habits of a pipeline's stages by name, and by (endpoint, model) the seconds its loads took."""

    stages: dict[str, Habit] = field(default_factory=dict)
    loads: dict[tuple[str, str], Seconds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Call:
    agent: str
    where: tuple[str, str]
    began: Seconds
    ended: Seconds
    usage: Usage

    @property
    def held(self) -> Seconds:
        return max(0.0, self.ended - self.began - self.usage.wait_s)


def learn(runs: Iterable[Sequence[Entry]]) -> Habits:
    """The habits that show in these runs' entries, the oldest run first. Answers from a replay teach nothing."""
    habits = Habits()
    for entries in runs:
        calls: dict[str, list[_Call]] = defaultdict(list)
        for call, stage in _calls(entries):
            calls[stage].append(call)
        for entry in entries:
            if entry.kind == "stage" and entry.status == "done" and entry.seconds is not None:
                _learn_stage(habits, entry.name, entry.seconds, calls[entry.name])
        waits: dict[tuple[str, str], Seconds] = {}
        for call in (call for some in calls.values() for call in some if call.usage.load_s > 0):
            waits[call.where] = max(waits.get(call.where, 0.0), call.usage.load_s)
        for where, seconds in waits.items():
            habits.loads[where] = _blend(habits.loads.get(where), seconds)
    return habits


def _calls(entries: Sequence[Entry]) -> Iterator[tuple[_Call, str]]:
    for entry in entries:
        if entry.kind != "call" or entry.status != "done" or entry.seconds is None or entry.started_at is None:
            continue
        request, answer = read_call(entry)
        if isinstance(answer, str):
            continue
        began = entry.started_at.timestamp()
        agent, where = request.labels.get("agent", ""), (request.endpoint, request.model)
        yield _Call(agent, where, began, began + entry.seconds, answer.usage), entry.name


def _learn_stage(habits: Habits, name: str, seconds: Seconds, calls: Sequence[_Call]) -> None:
    known = name in habits.stages
    habit = habits.stages.setdefault(name, Habit())
    agents = {call.agent for call in calls} | habit.calls.keys()
    for agent in sorted(agents):
        held = [call.held for call in calls if call.agent == agent]
        habit.calls[agent] = _blend(habit.calls.get(agent, 0.0) if known else None, len(held))
        if held:
            habit.seconds[agent] = _blend(habit.seconds.get(agent), sum(held) / len(held))
    thought = max(0.0, seconds - _covered(calls))
    habit.think = _blend(habit.think if known else None, thought)


def _covered(calls: Sequence[_Call]) -> Seconds:
    """The seconds during which at least one call was under way or waiting."""
    covered, reached = 0.0, -inf
    for call in sorted(calls, key=lambda call: call.began):
        covered += max(0.0, call.ended - max(call.began, reached))
        reached = max(reached, call.ended)
    return covered


def _blend(known: Seconds | None, seen: Seconds) -> Seconds:
    return seen if known is None else known * (1 - NEWEST) + seen * NEWEST
