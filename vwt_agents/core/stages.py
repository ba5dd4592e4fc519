"""A step on its way: what it has done, and what that lets one believe of when it asks next and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from vwt_agents.core.specs import ModelKey
    from vwt_agents.core.steps import Step, Use
    from vwt_agents.types import RequestId, Seconds

SwapCost: TypeAlias = "Callable[[ModelKey, ModelKey], Seconds]"

__all__ = ["Call", "Expected", "Stage", "SwapCost"]

LEARN: Final = 0.5
"""The weight of what a step did last in what it is believed to do next."""

LIKELY: Final = 0.5
"""A request is expected when at least this many are believed to be still to come."""


class Expected(NamedTuple):
    """A request that is to come: when, from which run (by age) and step. A tuple, because lists of them are sorted."""

    at: Seconds
    order: int
    step: str

    def away(self, now: Seconds) -> Seconds:
        """Seconds until it comes; one that is overdue by x is believed to be x away still."""
        return abs(self.at - now)


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a step that runs: for which model, since when, and until when as believed."""

    key: ModelKey
    began: Seconds
    ends_at: Seconds


@dataclass(slots=True)
class Stage:
    """A step on its way. `pace` and `think` are what was believed of it, corrected by what it then did; `counted` is the
    work it adds to what is announced for each model.

    `free_since`: it has asked before and has no request under way since then. `place` is its own among the run's steps.
    """

    step: Step
    place: int
    before: tuple[Stage, ...]
    tail: Seconds = 0.0
    enters: ModelKey | None = None
    followers: list[Stage] = field(default_factory=list)
    made: dict[ModelKey, int] = field(default_factory=dict)
    pace: dict[ModelKey, Seconds] = field(default_factory=dict)
    counted: dict[ModelKey, Seconds] = field(default_factory=dict)
    queued: set[RequestId] = field(default_factory=set)
    running: dict[RequestId, Call] = field(default_factory=dict)
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

    def left(self, use: Use) -> Seconds:
        """Seconds of a use that it will still ask for, as believed."""
        return 0.0 if self.ended else max(0.0, use.calls - self.made.get(use.key, 0)) * use.seconds

    def ask(self, request: RequestId, key: ModelKey, now: Seconds) -> None:
        """It has asked; what lay between this and its last request is how long it thinks."""
        self.began = now if self.began is None else self.began
        if self.free_since is not None:
            self.think += LEARN * (now - self.free_since - self.think)
            self.free_since = None
        self.made[key] = self.made.get(key, 0) + 1
        self.queued.add(request)

    def call(self, request: RequestId, key: ModelKey, ends_at: Seconds, now: Seconds) -> None:
        """Its request runs."""
        self.queued.discard(request)
        self.running[request] = Call(key, now, ends_at)

    def leave(self, request: RequestId, now: Seconds) -> None:
        """Its request has ended, or left the queue; what it took is what the next are believed to take."""
        self.queued.discard(request)
        call = self.running.pop(request, None)
        if call is not None and call.key in self.pace:
            self.pace[call.key] += LEARN * (now - call.began - self.pace[call.key])
        if not self.queued and not self.running:
            self.free_since = now

    def belief(self, now: Seconds) -> tuple[Seconds | None, Seconds | None, Use | None]:
        """When it ends, when it asks next, and for what; None where that is not believed to be soon."""
        use, think = self.next_use(), self.think
        if self.queued:
            return None, None, None
        if self.running:
            free = max(call.ends_at for call in self.running.values())
            return (free, None, None) if use is None else (None, free + think, use)
        if self.began is not None:
            if self.made:  # between two requests, or after the last
                return (now, None, None) if use is None else (None, now + think, use)
            start = self.began
        else:
            starts = [each.ends_at for each in self.before]
            if any(moment is None for moment in starts):
                return None, None, None
            start = max((moment for moment in starts if moment is not None), default=now)
        return (start + think, None, None) if use is None else (None, start + think, use)
