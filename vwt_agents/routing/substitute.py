"""Substitution: fewer models with more slots instead of many models with swaps, where the agents allow it. Pure.

Owns which agents move onto which model that the plan has already. Each agent's own list of what it accepts is the pool's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vwt_agents.routing.pool import Pick
    from vwt_agents.types import Mib

__all__ = ["Seat", "reseated"]

Key: TypeAlias = tuple[str, str]
_Cost: TypeAlias = tuple[bool, int, int, int, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Seat:
    """An agent of a tier on its model, and the models it accepts instead, by endpoint and name."""

    agent: str
    pick: Pick
    accepts: Mapping[Key, Pick]

    def on(self, key: Key) -> Pick | None:
        """Its pick when it sits on that model; None if it does not accept it."""
        return self.pick if key == self.pick.key else self.accepts.get(key)

    def regret(self, key: Key) -> int:
        """How badly that model suits it; 0 where it sits now."""
        return 0 if key == self.pick.key else 1 + self.accepts[key].rank


def reseated(seats: Sequence[Seat], budget: Mib) -> list[Pick]:
    """A pick for each seat, so that the models they need fit `budget` side by side, or fewer of them swap.

    Of all ways to do that, the one that moves the fewest agents; then those who suit their new model best; then the one
    that takes the least memory. Nobody moves to a model that no seat has now. Where nothing is gained, nobody moves.
    """
    keys = list(dict.fromkeys(seat.pick.key for seat in seats))
    best: tuple[_Cost, list[Key]] | None = None
    for count in range(1, len(keys) + 1):
        for kept in combinations(keys, count):
            floors = _floors(seats, kept)
            if best is not None and _bound(seats, kept, floors, budget) > best[0][:3]:
                continue
            for way in _ways(seats, kept, floors, budget, may_swap=best is None or best[0][0]):
                best = way if best is None else min(best, way)
    if best is None:
        return [seat.pick for seat in seats]
    return [pick for seat, key in zip(seats, best[1], strict=True) if (pick := seat.on(key)) is not None]


def _floors(seats: Sequence[Seat], kept: Sequence[Key]) -> dict[Key, dict[int, Mib]]:
    """What each model takes at least, by each context that an agent which may sit on it needs."""
    floors: dict[Key, dict[int, Mib]] = {key: {} for key in kept}
    for seat in seats:
        for key in kept:
            pick = seat.on(key)
            if pick is not None and pick.floor not in floors[key]:
                floors[key][pick.floor] = pick.least().mib
    return floors


def _bound(
    seats: Sequence[Seat], kept: Sequence[Key], floors: Mapping[Key, Mapping[int, Mib]], budget: Mib
) -> tuple[bool, int, int]:
    """What no way with these models can be better than, in the first three parts of a cost."""
    swaps = sum(min(by_context.values()) for by_context in floors.values()) > budget
    moved = {seat.agent for seat in seats if seat.pick.key not in kept}
    return swaps, len(kept) if swaps else 0, len(moved)


def _ways(
    seats: Sequence[Seat],
    kept: Sequence[Key],
    floors: Mapping[Key, Mapping[int, Mib]],
    budget: Mib,
    *,
    may_swap: bool,
) -> Iterator[tuple[_Cost, list[Key]]]:
    """Every way to serve all seats with exactly these models, with its cost; without `may_swap`, only side by side.

    What a model needs at least depends only on the largest context declared on it. So a way is a limit of context for
    each model; given those, each seat takes the best that is open to it, and the number of agents does not matter.
    """
    open_to = [_by_regret(seat, kept) for seat in seats]
    if not all(open_to):
        return
    for limits in product(*(sorted(floors[key]) for key in kept)):
        needs = [floors[key][limit] for key, limit in zip(kept, limits, strict=True)]
        if max(needs) > budget or (sum(needs) > budget and not may_swap):
            continue
        limit = dict(zip(kept, limits, strict=True))
        taken: list[Key] = []
        reached: dict[Key, int] = {}
        for choices in open_to:
            chosen = next(((key, floor) for key, floor in choices if floor <= limit[key]), None)
            if chosen is None:
                break
            taken.append(chosen[0])
            reached[chosen[0]] = max(reached.get(chosen[0], 0), chosen[1])
        # Limits that nobody comes up to are another way's limits: each way is found once, at what it really takes.
        if len(taken) < len(seats) or reached != limit:
            continue
        yield _cost(seats, taken, sum(needs), budget), taken


def _by_regret(seat: Seat, kept: Sequence[Key]) -> list[tuple[Key, int]]:
    """The models open to a seat, best first, each with the context it needs there."""
    choices = [(key, pick.floor) for key in kept if (pick := seat.on(key)) is not None]
    return sorted(choices, key=lambda choice: seat.regret(choice[0]))


def _cost(seats: Sequence[Seat], taken: Sequence[Key], needed: Mib, budget: Mib) -> _Cost:
    swaps = needed > budget
    regrets = tuple(seat.regret(key) for seat, key in zip(seats, taken, strict=True))
    moved = {seat.agent for seat, regret in zip(seats, regrets, strict=True) if regret}
    return swaps, len(set(taken)) if swaps else 0, len(moved), sum(regrets), needed, regrets
