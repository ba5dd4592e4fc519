"""What runs will ask for: the steps they announced, and from these the requests that are to come. Owns the look-ahead.

A step is *expected* when all it waits for has ended or runs and is believed to end: then the moment of its next request
is believed too, and listed under the request's model. Every belief is dated, none is trusted: a moment that has passed
by x is read as x still to go. Each event touches a step and those that follow it, never all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.core.stages import Expected, Stage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.core.stages import SwapCost
    from vwt_agents.core.steps import Step
    from vwt_agents.types import RequestId, Seconds

__all__ = ["Program", "Programs"]

MANY: Final = 1024
"""Runs that are remembered before idle ones are looked for."""

UNANNOUNCED: Final[Mapping[str, Stage]] = MappingProxyType({})
"""The stages of a run that has not said what it will do."""


@dataclass(slots=True)
class Program:
    """A run; `order` is its place among all runs by age.

    In seconds of slot time: `asked` is what its requests came to so far, `left` what is to be done of them and to come.
    """

    run: str
    order: int
    klass: RequestClass = "batch"
    asked: Seconds = 0.0
    left: Seconds = 0.0
    under_way: int = 0
    stages: Mapping[str, Stage] = field(default_factory=lambda: UNANNOUNCED)


class Programs:
    """All runs under way, and by model the requests they are expected to make."""

    def __init__(self) -> None:
        self._programs: dict[str, Program] = {}
        self._expected: dict[ModelKey, list[Expected]] = {}
        self._heading: dict[ModelKey, dict[int, int]] = {}
        self._work: dict[ModelKey, Seconds] = {}
        self._born = 0
        self._crowded = MANY

    def __len__(self) -> int:
        return len(self._programs)

    def program(self, run: str) -> Program:
        """The run of that name; one that announced nothing is as old as its first request."""
        program = self._programs.get(run)
        if program is None:
            if len(self._programs) >= self._crowded:
                self._forget_idle()
            self._born += 1
            program = self._programs[run] = Program(run, self._born)
        return program

    def under_way(self) -> Collection[Program]:
        """Every run known."""
        return self._programs.values()

    def _forget_idle(self) -> None:
        """Runs that announced nothing do not say when they are over: once there are many, those with no request go."""
        self._programs = {name: each for name, each in self._programs.items() if each.stages or each.under_way}
        self._crowded = max(MANY, 2 * len(self._programs))

    def expected(self, key: ModelKey) -> Sequence[Expected]:
        """The requests to come for a model, by the moment believed."""
        return self._expected.get(key, ())

    def coming(self, key: ModelKey, now: Seconds) -> Seconds | None:
        """When the next request for a model is believed to come; where all are overdue, when the last should have."""
        listed = self._expected.get(key)
        if not listed:
            return None
        return listed[min(bisect_left(listed, (now,)), len(listed) - 1)].at

    @property
    def awaited(self) -> Collection[ModelKey]:
        """The models some request is expected for."""
        return self._expected.keys()

    def heading(self, key: ModelKey, since: Seconds) -> int:
        """How many runs have work for a model that they have not asked for yet, less those that have been expected to ask
        for anything since before that moment: they hang.
        """
        hanging: set[int] = set()
        for listed in self._expected.values():
            for each in listed:
                if each.at >= since:
                    break
                hanging.add(each.order)
        return len(self._heading.get(key, {}).keys() - hanging)

    def work(self, key: ModelKey) -> Seconds:
        """Seconds of work for a model that runs have announced and not asked for yet."""
        return max(0.0, self._work.get(key, 0.0))

    def next_use(self, key: ModelKey, now: Seconds) -> Seconds:
        """Seconds until the next expected request for a model; infinite when none is."""
        return min((each.away(now) for each in self.expected(key)[:8]), default=inf)

    def tail(self, run: str, step: str) -> Seconds:
        """Seconds from the start of a step to the end of its run, as believed; 0 where nothing was announced."""
        program = self._programs.get(run)
        stage = program.stages.get(step) if program else None
        return stage.tail if stage else 0.0

    def seconds(self, run: str, step: str, key: ModelKey) -> Seconds | None:
        """How long a request of a step for a model is believed to take; None where nothing was announced."""
        program = self._programs.get(run)
        stage = program.stages.get(step) if program else None
        return stage.pace.get(key) if stage else None

    # -- what happened ----------------------------------------------------------------------------------------------

    def announce(self, run: str, steps: Sequence[Step], klass: RequestClass, swap: SwapCost, now: Seconds) -> None:
        """A run says what it will do, once and before its first request. Steps are given after those they wait for.

        `swap` is what going from one model to another takes: nothing where both fit side by side.
        """
        names: set[str] = set()
        for step in steps:
            if step.name in names or not names.issuperset(step.after):
                raise ValueError(f"run {run}: step {step.name!r} is announced twice, or before one that it waits for")
            names.add(step.name)
        program = self.program(run)
        self._clear(program)
        stages: dict[str, Stage] = {}
        program.stages, program.klass = stages, klass
        for place, step in enumerate(steps):
            before = tuple(stages[name] for name in step.after)
            pace = {use.key: use.seconds for use in step.uses}
            stage = stages[step.name] = Stage(step, place, before, pace=pace, think=step.think)
            for each in before:
                each.followers.append(stage)
            self._count(program, stage)
            for use in step.uses:
                heading = self._heading.setdefault(use.key, {})
                heading[program.order] = heading.get(program.order, 0) + 1
        for step in reversed(steps):
            program.stages[step.name].look_ahead(swap)
        for step in steps:
            if not step.after:
                self._refresh(program, program.stages[step.name], now)

    def begin(self, run: str, step: str, now: Seconds) -> None:
        """A step has begun."""
        if stage := self._stage(run, step):
            stage.began = now
            self._refresh(self._programs[run], stage, now)

    def end(self, run: str, step: str, now: Seconds) -> None:
        """A step has ended; what it announced and did not ask for will not come."""
        stage = self._stage(run, step)
        if stage is not None and not stage.ended:
            program = self._programs[run]
            self._close(program, stage)
            stage.ends_at = now
            for follower in stage.followers:
                self._refresh(program, follower, now)

    def forget(self, run: str) -> None:
        """A run is over."""
        if program := self._programs.pop(run, None):
            self._clear(program)

    def _clear(self, program: Program) -> None:
        for stage in program.stages.values():
            if not stage.ended:
                self._close(program, stage)
        program.stages = UNANNOUNCED

    def _close(self, program: Program, stage: Stage) -> None:
        stage.ended = True
        self._unlist(stage)
        self._count(program, stage)
        for use in stage.step.uses:
            heading = self._heading[use.key]
            heading[program.order] -= 1
            if not heading[program.order]:
                del heading[program.order]
            if not heading:
                self._work[use.key] = 0.0  # exactly: what is left over of many sums is nobody's work

    def submitted(self, run: str, step: str, request: RequestId, key: ModelKey, seconds: Seconds, now: Seconds) -> None:
        """A step has asked."""
        program = self.program(run)
        program.asked += seconds
        program.left += seconds
        program.under_way += 1
        if stage := self._stage(run, step):
            stage.ask(request, key, now)
            self._count(program, stage)
            self._refresh(program, stage, now)

    def granted(self, run: str, step: str, request: RequestId, key: ModelKey, ends_at: Seconds, now: Seconds) -> None:
        """A step's request runs, and is believed to end then."""
        if stage := self._stage(run, step):
            stage.call(request, key, ends_at, now)
            self._refresh(self._programs[run], stage, now)

    def withdrawn(self, run: str, step: str, request: RequestId, seconds: Seconds, now: Seconds) -> None:
        """A step's request has ended, or left the queue; `seconds` is how long it was believed to take."""
        program = self._programs.get(run)
        if program is None:
            return
        program.left = max(0.0, program.left - seconds)
        program.under_way = max(0, program.under_way - 1)
        if stage := self._stage(run, step):
            stage.leave(request, now)
            self._refresh(program, stage, now)

    # -- beliefs ----------------------------------------------------------------------------------------------------

    def _stage(self, run: str, step: str) -> Stage | None:
        program = self._programs.get(run)
        return program.stages.get(step) if program else None

    def _count(self, program: Program, stage: Stage) -> None:
        """Let what is announced for each model be what the step will still ask for."""
        for use in stage.step.uses:
            left = stage.left(use)
            more = left - stage.counted.get(use.key, 0.0)
            stage.counted[use.key] = left
            self._work[use.key] = self._work.get(use.key, 0.0) + more
            program.left = max(0.0, program.left + more)

    def _refresh(self, program: Program, stage: Stage, now: Seconds) -> None:
        """Believe anew when a step asks next and when it ends, and what follows from that for those after it.

        In the order of the steps, so that each is looked at once, after all it waits for.
        """
        doubtful = [(stage.place, stage.step.name)]
        while doubtful:
            first = heappop(doubtful)
            each = program.stages[first[1]]
            if each.ended or (doubtful and doubtful[0] == first):
                continue
            ends_at, asks_at, use = each.belief(now)
            if use is None or asks_at is None:
                self._unlist(each)
            else:
                self._list(each, use.key, Expected(asks_at, program.order, each.step.name))
            if ends_at != each.ends_at:
                each.ends_at = ends_at
                for follower in each.followers:
                    heappush(doubtful, (follower.place, follower.step.name))

    def _list(self, stage: Stage, key: ModelKey, expected: Expected) -> None:
        if stage.listed != (key, expected):
            self._unlist(stage)
            insort(self._expected.setdefault(key, []), expected)
            stage.listed = key, expected

    def _unlist(self, stage: Stage) -> None:
        if stage.listed is not None:
            key, expected = stage.listed
            listed = self._expected[key]
            del listed[bisect_left(listed, expected)]
            if not listed:
                del self._expected[key]
            stage.listed = None
