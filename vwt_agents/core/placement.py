"""What fits where, who leaves, who is next: the policy, as pure functions of the state.

Owns preferences only. It may be asked as often as one likes and changes nothing; what must always hold (the budget, no
victim with a lease, one load at a time) is enforced by `Scheduler` against any policy.

`Exhaustive` serves what is resident for as long as anyone waits for it. A model in the way leaves when it is idle with
nobody waiting. Only for a *due* model, one whose first request has waited its class's `max_wait`, are residencies
drained that are still wanted. Once a model is due, nothing else is loaded on its device before it except what was due
earlier, and a model that has just left queues behind those due already, so due models take turns: each waits for at
most one visit of every other one. A visit grants at least once and lasts `term` times its load, so that taking turns
never becomes loading only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vwt_agents.core.queue import Waiting
    from vwt_agents.core.specs import ModelKey
    from vwt_agents.core.state import Model, Residency, State
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["Exhaustive", "Placement", "Policy", "fewest", "shortage"]


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do on one device now.

    `load`: the target fits, load it. `unload`: these leave, for the reason `why`. `drain`: these get no new leases
    until the next placement says otherwise. An empty placement leaves everything as it is and drains nothing.
    """

    target: ModelKey | None = None
    load: bool = False
    unload: tuple[ModelKey, ...] = ()
    why: str = ""
    drain: frozenset[ModelKey] = frozenset()


class Policy(Protocol):
    """The seam: whoever answers these four questions decides how good the schedule is, never whether it is safe."""

    def expired(self, state: State, device: str) -> tuple[ModelKey, ...]:
        """The idle residencies whose keep-alive has passed."""
        ...

    def placement(self, state: State, device: str) -> Placement:
        """What to load, unload and drain on a device."""
        ...

    def next_grant(self, state: State) -> RequestId | None:
        """The waiting request that gets the next free agent; its model must be grantable."""
        ...

    def wake_at(self, state: State) -> Seconds | None:
        """The next moment, later than now, at which an answer above may change by time alone."""
        ...


def shortage(state: State, model: Model) -> Mib:
    """What is missing for a model once the unloads under way are done; 0 or less when it will fit."""
    return model.spec.footprint - state.headroom(model.spec.device) - state.leaving(model.spec.device)


def fewest(need: Mib, candidates: Sequence[Residency]) -> tuple[Residency, ...] | None:
    """Those of the candidates, the first preferred, that together free `need`, none of them needlessly; None if all do
    not.
    """
    chosen: list[Residency] = []
    freed = 0
    for residency in candidates:
        if freed < need:
            chosen.append(residency)
            freed += residency.footprint
    if freed < need:
        return None
    for residency in chosen[::-1]:
        if freed - residency.footprint >= need:
            chosen.remove(residency)
            freed -= residency.footprint
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Serve what is resident until nobody waits for it or another model is due; see the head of this file.

    `term`: a wanted residency stays at least this many times its own load before it is drained for a due model.
    """

    term: float = 2.0

    def expired(self, state: State, device: str) -> tuple[ModelKey, ...]:
        """The idle residencies nobody waits for whose keep-alive has passed."""
        return tuple(
            r.key for r in state.on(device) if self._unwanted(state, r) and self._expiry(state, r) <= state.now
        )

    def placement(self, state: State, device: str) -> Placement:
        """1. Over budget: back within it. 2. A load under way: nothing. 3. The due model. 4. The oldest that finds
        room.
        """
        excess = -state.headroom(device) - state.leaving(device)
        if excess > 0:
            return self._shed(state, device, excess)
        if any(residency.phase == "loading" for residency in state.on(device)):
            return Placement()
        due = self._first_due(state, device)
        if due is not None:
            return self._make_way(state, due)
        idle = [residency for residency in self._movable(state, device) if self._unwanted(state, residency)]
        for model in sorted(state.cold(device), key=_age):
            victims = fewest(shortage(state, model), idle)
            if victims is not None:
                return self._bring(state, model, victims)
        return Placement()

    def next_grant(self, state: State) -> RequestId | None:
        """The request due first among those whose model has a free slot, while an agent is free."""
        if len(state.leases) >= state.max_agents:
            return None
        heads = (state.models[key].queue.next() for key, residency in state.residencies.items() if residency.grantable)
        first = min(
            (head for head in heads if head is not None), key=lambda head: (head.due, head.request), default=None
        )
        return None if first is None else first.request

    def wake_at(self, state: State) -> Seconds | None:
        """The next moment a model becomes due, a keep-alive passes, a term ends or an unload may be tried again."""
        return min((moment for moment in self._moments(state) if state.now < moment < inf), default=None)

    def _moments(self, state: State) -> Iterator[Seconds]:
        for device in state.devices:
            contested = False
            for model in state.cold(device):
                contested = True
                yield _next(model).due
            for residency in state.on(device):
                yield residency.stays_until
                if contested:
                    yield self._term_end(state, residency)
                if self._unwanted(state, residency):
                    yield self._expiry(state, residency)

    def _shed(self, state: State, device: str, excess: Mib) -> Placement:
        """The idle leave at once; only what is still missing then is drained out of the busy, until it is within."""
        movable = self._movable(state, device)
        idle = [residency for residency in movable if residency.idle]
        leaving = fewest(excess, idle)
        if leaving is None:
            leaving = tuple(idle)
        busy = [residency for residency in movable if not residency.idle]
        missing = excess - sum(residency.footprint for residency in leaving)
        drained = fewest(missing, busy)
        if drained is None:
            drained = tuple(busy)
        return Placement(
            unload=tuple(residency.key for residency in leaving),
            why=f"over budget: {state.used(device)} MiB in use, budget of {device} is {state.budget(device)} MiB",
            drain=frozenset(residency.key for residency in drained),
        )

    def _make_way(self, state: State, due: Model) -> Placement:
        """Nothing but the due model is loaded; victims go together, once all are idle, so that none goes in vain."""
        candidates = [r for r in self._movable(state, due.spec.device) if self._yields(state, r)]
        need = shortage(state, due)
        victims = fewest(need, [residency for residency in candidates if self._unwanted(state, residency)])
        if victims is None:
            victims = fewest(need, candidates)
        if victims is None:
            return Placement(target=due.spec.key)
        if all(victim.idle for victim in victims):
            return self._bring(state, due, victims)
        return Placement(target=due.spec.key, drain=frozenset(victim.key for victim in victims))

    def _bring(self, state: State, model: Model, victims: tuple[Residency, ...]) -> Placement:
        return Placement(
            target=model.spec.key,
            load=state.headroom(model.spec.device) >= model.spec.footprint,
            unload=tuple(victim.key for victim in victims),
            why=f"room for {model.spec.key}",
        )

    def _movable(self, state: State, device: str) -> list[Residency]:
        """Who could leave, the least missed first: unwanted, draining already, idle, busy; each the longest unused
        first.
        """

        def rank(residency: Residency) -> tuple[bool, bool, bool, Seconds, ModelKey]:
            unwanted = self._unwanted(state, residency)
            return (not unwanted, not residency.draining, not residency.idle, residency.last_used, residency.key)

        there = (r for r in state.on(device) if r.phase == "resident" and r.stays_until <= state.now)
        return sorted(there, key=rank)

    def _yields(self, state: State, residency: Residency) -> bool:
        """It may be drained for a due model: nobody waits for it, or its visit has been long enough."""
        had_its_visit = residency.granted > 0 and self._term_end(state, residency) <= state.now
        return residency.draining or had_its_visit or not state.models[residency.key].queue

    def _term_end(self, state: State, residency: Residency) -> Seconds:
        return residency.since + self.term * state.models[residency.key].load_s

    @staticmethod
    def _unwanted(state: State, residency: Residency) -> bool:
        return residency.idle and not state.models[residency.key].queue

    @staticmethod
    def _expiry(state: State, residency: Residency) -> Seconds:
        keep_alive = state.models[residency.key].spec.keep_alive
        expiry = inf if keep_alive is None else residency.last_used + keep_alive
        return max(expiry, residency.stays_until)

    @staticmethod
    def _first_due(state: State, device: str) -> Model | None:
        due = [model for model in state.cold(device) if _next(model).due <= state.now]
        return min(due, key=_turn, default=None)


def _next(model: Model) -> Waiting:
    head = model.queue.next()
    assert head is not None, model.spec.key
    return head


def _turn(model: Model) -> tuple[Seconds, int]:
    """A due model's place in line: by its due moment, but not ahead of anyone who was due when it last left."""
    return (max(_next(model).due, model.left_at), model.left_order)


def _age(model: Model) -> tuple[Seconds, RequestId]:
    oldest = model.queue.oldest()
    assert oldest is not None, model.spec.key
    return (oldest.since, oldest.request)
