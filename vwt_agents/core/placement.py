"""What fits where, who leaves, who is next: the policy, as pure functions of the state.

Owns preferences only. It may be asked as often as one likes and changes nothing; what must always hold (the budget, no
victim with a lease, one load at a time) is enforced by `Scheduler` against any policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vwt_agents.core.specs import ModelKey
    from vwt_agents.core.state import Model, Residency, State
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = [
    "NOTHING",
    "Cost",
    "Placement",
    "Policy",
    "bring",
    "cheapest",
    "clearances",
    "eviction_cost",
    "fewest",
    "movable",
    "shortage",
    "unwanted",
]

Cost = tuple[float, ...]

EXACT: Final = 6
"""Up to this many candidates all sets of victims are compared; of more, the cheapest go until it is enough."""


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


NOTHING: Final = Placement()


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
    return model.spec.footprint - state.room(model.spec.device)


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


def clearances(need: Mib, candidates: Sequence[Residency]) -> Iterator[tuple[Residency, ...]]:
    """Every set of candidates that frees `need`, none of them needlessly; the empty one where nothing is needed."""
    for count in range(len(candidates) + 1):
        for victims in combinations(candidates, count):
            freed = sum(victim.footprint for victim in victims)
            if freed >= need and not any(freed - victim.footprint >= need for victim in victims):
                yield victims


def cheapest(
    need: Mib, candidates: Sequence[Residency], cost: Callable[[Sequence[Residency]], Cost]
) -> tuple[Residency, ...] | None:
    """The set of candidates that frees `need` at the least cost, none of them needlessly; None if all do not."""
    if len(candidates) > EXACT:
        return fewest(need, sorted(candidates, key=lambda each: (cost((each,)), each.key)))

    def price(victims: Sequence[Residency]) -> tuple[Cost, tuple[ModelKey, ...]]:
        return cost(victims), tuple(sorted(victim.key for victim in victims))

    return min(clearances(need, candidates), key=price, default=None)


def eviction_cost(state: State, victims: Sequence[Residency]) -> Cost:
    """What it costs to let them go: their reloads, the sooner they are needed the more; then the longest unused."""
    reload = sum(state.models[v.key].load_s / (1.0 + state.programs.next_use(v.key, state.now)) for v in victims)
    return (reload, max((v.last_used for v in victims), default=0.0))


def bring(state: State, model: Model, victims: tuple[Residency, ...]) -> Placement:
    """Let the victims go and load the model, once it fits."""
    return Placement(
        target=model.spec.key,
        load=state.headroom(model.spec.device) >= model.spec.footprint,
        unload=tuple(victim.key for victim in victims),
        why=f"room for {model.spec.key}",
    )


def movable(state: State, device: str) -> list[Residency]:
    """Who could leave, the least missed first: unwanted, draining already, idle, busy; each the longest unused first."""

    def rank(residency: Residency) -> tuple[bool, bool, bool, Seconds, ModelKey]:
        wanted = not unwanted(state, residency)
        return (wanted, not residency.draining, not residency.idle, residency.last_used, residency.key)

    there = (r for r in state.on(device) if r.phase == "resident" and r.stays_until <= state.now)
    return sorted(there, key=rank)


def unwanted(state: State, residency: Residency) -> bool:
    """It is idle and nobody waits for it."""
    return residency.idle and not state.models[residency.key].queue
