"""The default policy: serve what is resident, swap when it pays, hold what is about to be asked for, and keep no one waiting.

Program-aware swap scheduling. Where a broker can only react, this knows what each run has announced (programs.py):

1. *Dispatch*: late requests first, then by class; in it the critical ones (much of the believed remaining time hangs on
   them), then the oldest run's, so that a run ends before the next begins and keeps its warm prefix.
2. *Room*: a model that is asked for and fits is loaded at once.
3. *Guard*: a model whose first request is nearly due gets its turn: the cheapest residencies make room for it once their
   visits were long enough (`overhead` bounds the share of time forced swaps take).
4. *Swap*: a model nobody asks for leaves for one that is asked for, unless it is *held*: requests for it are near enough
   that a reload would cost more than waiting for them. Who leaves: who is needed last and reloads cheapest.
5. *Prefetch*: with nothing else to do, the model that is needed next is loaded into free room.
6. *Foresight*: where 2, 4 or 5 have a choice and little enough is to come, the other moves (another model, other victims,
   waiting for a request that comes sooner than a swap takes, a model brought in over an idle one before it is asked for)
   are played to the end on what is believed (foresight.py); one that ends plainly better is made instead.

Which of several models is next: the one whose work sets the end of everything (its shadow price), then the one that most
requests and runs want for all the seconds known to be wanted of it: what is soon over with is over with first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Final

from vwt_agents.core.dispatch import first_in_line
from vwt_agents.core.foresight import better
from vwt_agents.core.guard import clear, first_due, turn, urgent_at, visit_end
from vwt_agents.core.others import make_way, spare
from vwt_agents.core.outlook import outlook, work
from vwt_agents.core.placement import (
    NOTHING,
    Cost,
    Placement,
    bring,
    cheapest,
    clearances,
    eviction_cost,
    fewest,
    movable,
    shortage,
    unwanted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.core.state import Model, Residency, State
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["ProgramAware"]


def _shares() -> dict[RequestClass, float]:
    return {"interactive": 0.5, "batch": 0.1}


FEW: Final = 4
"""Idle models that are thought of as victims where moves are compared."""


@dataclass(frozen=True, slots=True)
class ProgramAware:
    """See the head of this file.

    `overhead`: by class, the share of time that swaps forced by waiting requests may take. `hold`: how much of a swap
    and its way back an idle model may be held for. `critical`: the share of the believed remaining time that must hang
    on a request for it to go first.
    """

    overhead: Mapping[RequestClass, float] = field(default_factory=_shares)
    hold: float = 0.5
    critical: float = 0.75

    # -- grants -----------------------------------------------------------------------------------------------------

    def next_grant(self, state: State) -> RequestId | None:
        """The first in line among the requests whose model has a free slot, while an agent is free."""
        return first_in_line(state, self.critical)

    # -- placements -------------------------------------------------------------------------------------------------

    def expired(self, state: State, device: str) -> tuple[ModelKey, ...]:
        """The idle residencies nobody waits for whose keep-alive has passed."""
        return tuple(r.key for r in state.on(device) if unwanted(state, r) and _expiry(state, r) <= state.now)

    def placement(self, state: State, device: str) -> Placement:
        """The first of the rules at the head of this file that has something to do."""
        room = state.room(device)
        pressed = state.pressure(device) or state.owed(device)
        if (room < 0 or pressed) and (way := self._make_way(state, device, room)) is not NOTHING:
            return self._beside(state, device, way)
        there = state.on(device)
        idle = False
        for residency in there:
            if residency.phase == "loading":
                return NOTHING
            idle = idle or unwanted(state, residency)
        cold = list(state.cold(device))
        if not cold and state.pressure(device):
            return NOTHING
        urgent = [model for model in cold if urgent_at(state, model, self.overhead) <= state.now]
        if urgent:
            return self._guard(state, min(urgent, key=lambda model: turn(state, model, self.overhead)))
        fits = [model for model in cold if model.spec.footprint <= room]
        if fits:
            ruled = bring(state, self._ranked(state, device, fits)[0], ())
            return self._foresee(state, device, ruled, fits) if len(fits) > 1 else ruled
        if not idle:
            return self._prefetch(state, device) if not cold else NOTHING
        ruled = self._swap(state, device, cold) if cold else self._prefetch(state, device)
        return self._foresee(state, device, ruled, cold or self._awaited(state, device))

    def _guard(self, state: State, due: Model) -> Placement:
        victims = self._free_victims(state, due)
        return clear(state, due, self.overhead) if victims is None else bring(state, due, victims)

    def _swap(self, state: State, device: str, cold: Sequence[Model]) -> Placement:
        for model in self._ranked(state, device, cold):
            victims = self._free_victims(state, model)
            if victims is not None:
                return bring(state, model, victims)
        return NOTHING

    def _foresee(self, state: State, device: str, ruled: Placement, models: Sequence[Model]) -> Placement:
        """What the rules say, unless another move is seen to end better. What was begun is not thought over."""
        if ruled.load and ruled.target == state.targets.get(device):
            return ruled
        there = movable(state, device)
        if len(there) < len(state.on(device)):
            return ruled
        idle = [each for each in there if unwanted(state, each)][:FEW]
        moves = [(model, victims) for model in models for victims in clearances(shortage(state, model), idle)]
        moves.sort(key=lambda move: (eviction_cost(state, move[1]), move[0].spec.key))
        leaving = [state.residencies[key] for key in ruled.unload]
        wait = any(self._near(state, each, state.models[ruled.target].load_s) for each in leaving if ruled.target)
        return better(state, device, ruled, moves, wait=wait)

    def _near(self, state: State, residency: Residency, load_s: Seconds) -> bool:
        return self._asked_again(state, residency, load_s) is not None

    def _asked_again(self, state: State, residency: Residency, load_s: Seconds) -> Seconds | None:
        """The next moment a model is believed to be asked for again, where that is sooner than a swap and its way back.

        One that is overdue is not waited for: that is for the hold to bound.
        """
        coming = state.programs.coming(residency.key, state.now)
        price = state.models[residency.key].load_s + load_s
        return coming if coming is not None and state.now < coming < state.now + price else None

    def _ranked(self, state: State, device: str, cold: Sequence[Model]) -> Sequence[Model]:
        """The models asked for, the one to be loaded first at the head; one that room was made for stays the first."""
        if len(cold) == 1:
            return cold
        price, _ = outlook(state, device)
        target = state.targets.get(device)

        def rank(model: Model) -> Cost:
            key = model.spec.key
            wanting = len(model.queue) + state.programs.heading(key, -inf)
            seconds = model.load_s + work(state, key) / min(model.spec.slots, wanting)
            rate = wanting / max(seconds, 0.001)
            return (key != target, -round(price.get(key, 0.0), 3), -rate, first_due(model).since)

        return sorted(cold, key=lambda model: (rank(model), model.spec.key))

    def _free_victims(self, state: State, model: Model) -> tuple[Residency, ...] | None:
        """Who leaves for a model that is asked for: idle, asked for by nobody, not held; None where that does not do."""
        idle = [
            r
            for r in movable(state, model.spec.device)
            if unwanted(state, r) and not self._held(state, r, model.load_s)
        ]
        return cheapest(shortage(state, model), idle, lambda victims: eviction_cost(state, victims))

    def _held(self, state: State, residency: Residency, load_s: Seconds) -> bool:
        return self._hold_end(state, residency, load_s) > state.now

    def _hold_end(self, state: State, residency: Residency, load_s: Seconds) -> Seconds:
        """Until when an idle model is kept for the requests to come: as long as k of them come within k shares of the
        swap's price, a share for each run that is heading for it (a later visit would serve these together).
        """
        key = residency.key
        price = self.hold * (state.models[key].load_s + load_s)
        heading = state.programs.heading(key, state.now - price)
        end = -inf
        for k, each in enumerate(state.programs.expected(key)[: max(heading, 1)], 1):
            window = price * k / max(k, heading)
            if each.away(state.now) < window:
                end = max(end, each.at + window)
        return end

    def _prefetch(self, state: State, device: str) -> Placement:
        """Nobody waits for a model that is out: bring in the one needed next, if there is free room for it.

        Never for a request that is overdue: it may not come at all, and its model was let go of for that. Nor one that
        failed: only who needs it may try again.
        """
        target = state.targets.get(device)
        fits = [model for model in self._awaited(state, device) if shortage(state, model) <= 0]

        def rank(model: Model) -> tuple[bool, Seconds | None, ModelKey]:
            key = model.spec.key
            return key != target, state.programs.coming(key, state.now), key

        return bring(state, min(fits, key=rank), ()) if fits else NOTHING

    def _awaited(self, state: State, device: str) -> list[Model]:
        """The models that are out and nobody waits for, but somebody is going to."""
        awaited = []
        for key in state.programs.awaited:
            model = state.models.get(key)
            if model is None or model.failed or model.queue or model.spec.device != device or key in state.residencies:
                continue
            if model.not_before > state.now or state.asked_back(key):
                continue
            coming = state.programs.coming(key, state.now)
            if coming is not None and coming > state.now:
                awaited.append(model)
        return awaited

    def _make_way(self, state: State, device: str, room: Mib) -> Placement:
        """What leaves because the budget is overdrawn, or for other processes and programs; nothing where nothing has to."""
        if (excess := -room - state.occupied(device)) > 0:
            return self._shed(state, device, excess)
        there = movable(state, device)
        idle = [r for r in there if unwanted(state, r) and not self._held(state, r, state.models[r.key].load_s)]
        return make_way(state, device, idle, there, lambda residency: self._yield_at(state, residency))

    def _beside(self, state: State, device: str, way: Placement) -> Placement:
        """What makes way, which may take long where it is in use, and what may be loaded into free room meanwhile."""
        if way.unload or any(each.phase == "loading" for each in state.on(device)):
            return way
        cold = list(state.cold(device))
        if urgent := [model for model in cold if urgent_at(state, model, self.overhead) <= state.now]:
            cold = [min(urgent, key=lambda model: turn(state, model, self.overhead))]
        room = spare(state, device, way.drain)
        fits = [model for model in cold if model.spec.footprint <= room]
        return replace(bring(state, self._ranked(state, device, fits)[0], ()), drain=way.drain) if fits else way

    def _yield_at(self, state: State, residency: Residency) -> Seconds:
        """The moment from which a residency may be drained for another process, whose requests count as batch."""
        return visit_end(state, residency, state.models[residency.key].load_s, self.overhead["batch"])

    def _shed(self, state: State, device: str, excess: Mib) -> Placement:
        """The idle leave at once; only what is still missing then is drained out of the busy, until it is within."""
        there = movable(state, device)
        idle = [residency for residency in there if residency.idle]
        leaving = fewest(excess, idle)
        if leaving is None:
            leaving = tuple(idle)
        busy = [residency for residency in there if not residency.idle]
        missing = excess - sum(residency.footprint for residency in leaving)
        drained = fewest(missing, busy)
        if drained is None:
            drained = tuple(busy)
        return Placement(
            unload=tuple(residency.key for residency in leaving),
            why=f"over budget: {state.used(device)} MiB in use, budget of {device} is {state.budget(device)} MiB",
            drain=frozenset(residency.key for residency in drained),
        )

    # -- time -------------------------------------------------------------------------------------------------------

    def wake_at(self, state: State) -> Seconds | None:
        """The next moment a model becomes due, a keep-alive passes, a visit or a hold ends, an unload is tried again."""
        return min((moment for moment in self._moments(state) if state.now < moment < inf), default=None)

    def _moments(self, state: State) -> Iterator[Seconds]:
        for device in state.devices:
            there = state.on(device)
            cold = list(state.cold(device))
            for model in cold:
                due_at = urgent_at(state, model, self.overhead)
                yield due_at
                for residency in there:
                    if due_at <= state.now:
                        yield visit_end(state, residency, model.load_s, self.overhead[first_due(model).lane])
                    if residency.idle:
                        held = self._hold_end(state, residency, model.load_s)
                        yield held if held > state.now else self._asked_again(state, residency, model.load_s) or inf
            for residency in there:
                yield residency.stays_until
                if unwanted(state, residency):
                    yield _expiry(state, residency)
                for pressure in (state.pressure(device), state.asked_back(residency.key)):
                    if pressure is not None:
                        yield pressure.due
                        yield self._yield_at(state, residency)
                        yield self._hold_end(state, residency, state.models[residency.key].load_s)


def _expiry(state: State, residency: Residency) -> Seconds:
    """When an idle model has not been used for its keep-alive, nor been expected to be."""
    keep_alive = state.models[residency.key].spec.keep_alive
    if keep_alive is None:
        return inf
    coming = state.programs.coming(residency.key, state.now)
    unused = residency.last_used if coming is None else max(residency.last_used, coming)
    return max(unused + keep_alive, residency.stays_until)
