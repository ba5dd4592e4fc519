"""What runs will ask for: the steps they announced, and from these the requests that are to come. Owns the look-ahead.

A step is *expected* when all it waits for has ended or runs and is believed to end: then the moment of its next request
is believed too, and listed under the request's model. Every belief is dated, none is trusted: a moment that has passed
by x is read as x still to go. Each event touches a step and those that follow it, never all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.types import Seconds

SwapCost: TypeAlias = "Callable[[ModelKey, ModelKey], Seconds]"

__all__ = ["Expected", "Program", "Programs", "Step", "Use"]

LEARN: Final = 0.5
"""The weight of what a step did last in what it is believed to do next."""

LIKELY: Final = 0.5
"""A request is expected when at least this many are believed to be still to come."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a step uses a model: how many requests it makes, as believed, and how many seconds each takes once granted."""

    key: ModelKey
    seconds: Seconds
    calls: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a run as the scheduler sees it.

    `think` is the believed time without a model: before its first request, between two of them, and in all for a step
    that uses none. `after` names the steps it waits for.
    """

    name: str
    uses: tuple[Use, ...] = ()
    think: Seconds = 0.0
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Expected:
    """A request that is to come: when, from which run (by age) and step."""

    at: Seconds
    order: int
    step: str

    def away(self, now: Seconds) -> Seconds:
        """Seconds until it comes; one that is overdue by x is believed to be x away still."""
        return abs(self.at - now)


@dataclass(frozen=True, slots=True)
class _Call:
    key: ModelKey
    began: Seconds
    ends_at: Seconds


@dataclass(slots=True)
class _Stage:
    """A step on its way. `pace` and `think` are what was believed of it, corrected by what it then did.

    `free_since`: it has asked before and has no request under way since then.
    """

    step: Step
    before: tuple[_Stage, ...]
    tail: Seconds = 0.0
    enters: ModelKey | None = None
    followers: list[_Stage] = field(default_factory=list)
    made: dict[ModelKey, int] = field(default_factory=dict)
    pace: dict[ModelKey, Seconds] = field(default_factory=dict)
    queued: int = 0
    running: dict[int, _Call] = field(default_factory=dict)
    think: Seconds = 0.0
    free_since: Seconds | None = None
    began: Seconds | None = None
    ended: bool = False
    ends_at: Seconds | None = None
    listed: tuple[ModelKey, Expected] | None = None

    def look_ahead(self, swap: SwapCost) -> None:
        """Sum up the longest way from its start to the end of its run, and the first model on it; followers first."""
        uses = self.step.uses
        last = uses[-1].key if uses else None
        for each in self.followers:
            onward = each.tail + (swap(last, each.enters) if last and each.enters else 0.0)
            if onward >= self.tail:
                self.tail, self.enters = onward, each.enters
        self.tail += self.step.think + sum(use.calls * use.seconds for use in uses)
        self.tail += sum(swap(one.key, other.key) for one, other in pairwise(uses))
        if uses:
            self.enters = uses[0].key

    def next_use(self) -> Use | None:
        """The use its next request is believed to be of."""
        for use in self.step.uses:
            if use.calls - self.made.get(use.key, 0) >= LIKELY:
                return use
        return None

    def left(self, key: ModelKey) -> Seconds:
        """Seconds of work on a model that it will still ask for, as believed."""
        return sum(
            max(0.0, use.calls - self.made.get(use.key, 0)) * use.seconds for use in self.step.uses if use.key == key
        )


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
    stages: dict[str, _Stage] = field(default_factory=dict)


class Programs:
    """All runs under way, and by model the requests they are expected to make."""

    def __init__(self) -> None:
        self._programs: dict[str, Program] = {}
        self._expected: dict[ModelKey, list[Expected]] = {}
        self._heading: dict[ModelKey, dict[int, int]] = {}
        self._work: dict[ModelKey, Seconds] = {}
        self._born = 0

    def program(self, run: str) -> Program:
        """The run of that name; one that announced nothing is as old as its first request."""
        if run not in self._programs:
            self._born += 1
            self._programs[run] = Program(run, self._born)
        return self._programs[run]

    def expected(self, key: ModelKey) -> Sequence[Expected]:
        """The requests to come for a model, by the moment believed."""
        return self._expected.get(key, ())

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
        program = self.program(run)
        program.klass = klass
        for step in steps:
            before = tuple(program.stages[name] for name in step.after)
            pace = {use.key: use.seconds for use in step.uses}
            stage = program.stages[step.name] = _Stage(step, before, pace=pace, think=step.think)
            for each in before:
                each.followers.append(stage)
            for use in step.uses:
                self._add(program, use.key, use.calls * use.seconds, 1)
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
        if (stage := self._stage(run, step)) and not stage.ended:
            program = self._programs[run]
            for use in stage.step.uses:
                self._add(program, use.key, -stage.left(use.key), -1)
            stage.ended, stage.ends_at = True, now
            self._unlist(stage)
            for follower in stage.followers:
                self._refresh(program, follower, now)

    def forget(self, run: str) -> None:
        """A run is over."""
        program = self._programs.pop(run, None)
        for stage in program.stages.values() if program else ():
            if not stage.ended:
                self._unlist(stage)
                for use in stage.step.uses:
                    self._add(program, use.key, -stage.left(use.key), -1)  # type: ignore[arg-type]

    def submitted(self, run: str, step: str, key: ModelKey, seconds: Seconds, now: Seconds) -> None:
        """A step has asked."""
        program = self.program(run)
        program.asked += seconds
        program.left += seconds
        if stage := self._stage(run, step):
            stage.began = now if stage.began is None else stage.began
            if stage.free_since is not None:
                stage.think += LEARN * (now - stage.free_since - stage.think)
                stage.free_since = None
            left = stage.left(key)
            stage.made[key] = stage.made.get(key, 0) + 1
            self._add(program, key, stage.left(key) - left, 0)
            stage.queued += 1
            self._refresh(program, stage, now)

    def granted(self, run: str, step: str, request: int, key: ModelKey, ends_at: Seconds, now: Seconds) -> None:
        """A step's request runs, and is believed to end then."""
        if stage := self._stage(run, step):
            stage.queued -= 1
            stage.running[request] = _Call(key, now, ends_at)
            self._refresh(self._programs[run], stage, now)

    def withdrawn(self, run: str, step: str, request: int, seconds: Seconds, now: Seconds) -> None:
        """A step's request has ended, or left the queue; `seconds` is how long it was believed to take."""
        if program := self._programs.get(run):
            program.left = max(0.0, program.left - seconds)
        if stage := self._stage(run, step):
            call = stage.running.pop(request, None)
            if call is None:
                stage.queued -= 1
            elif call.key in stage.pace:
                stage.pace[call.key] += LEARN * (now - call.began - stage.pace[call.key])
            if not stage.queued and not stage.running:
                stage.free_since = now
            self._refresh(self._programs[run], stage, now)

    # -- beliefs ----------------------------------------------------------------------------------------------------

    def _stage(self, run: str, step: str) -> _Stage | None:
        program = self._programs.get(run)
        return program.stages.get(step) if program else None

    def _add(self, program: Program, key: ModelKey, seconds: Seconds, steps: int) -> None:
        self._work[key] = self._work.get(key, 0.0) + seconds
        program.left += seconds
        if steps:
            heading = self._heading.setdefault(key, {})
            heading[program.order] = heading.get(program.order, 0) + steps
            if heading[program.order] <= 0:
                del heading[program.order]

    def _refresh(self, program: Program, stage: _Stage, now: Seconds) -> None:
        """Believe anew when a step asks next and when it ends, and what follows from that for those after it."""
        if stage.ended:
            return
        ends_at, asks_at, use = self._belief(stage, now)
        if use is None or asks_at is None:
            self._unlist(stage)
        else:
            self._list(stage, use.key, Expected(asks_at, program.order, stage.step.name))
        if ends_at != stage.ends_at:
            stage.ends_at = ends_at
            for follower in stage.followers:
                self._refresh(program, follower, now)

    @staticmethod
    def _belief(stage: _Stage, now: Seconds) -> tuple[Seconds | None, Seconds | None, Use | None]:
        """When a step ends, when it asks next, and for what; None where that is not believed to be soon."""
        use, think = stage.next_use(), stage.think
        if stage.queued:
            return None, None, None
        if stage.running:
            free = max(call.ends_at for call in stage.running.values())
            return (free, None, None) if use is None else (None, free + think, use)
        if stage.began is not None:
            if stage.made:  # between two requests, or after the last
                return (now, None, None) if use is None else (None, now + think, use)
            start = stage.began
        else:
            starts = [each.ends_at for each in stage.before]
            if any(moment is None for moment in starts):
                return None, None, None
            start = max((moment for moment in starts if moment is not None), default=now)
        return (start + think, None, None) if use is None else (None, start + think, use)

    def _list(self, stage: _Stage, key: ModelKey, expected: Expected) -> None:
        if stage.listed != (key, expected):
            self._unlist(stage)
            insort(self._expected.setdefault(key, []), expected)
            stage.listed = key, expected

    def _unlist(self, stage: _Stage) -> None:
        if stage.listed is not None:
            key, expected = stage.listed
            listed = self._expected[key]
            del listed[bisect_left(listed, expected)]
            if not listed:
                del self._expected[key]
            stage.listed = None
