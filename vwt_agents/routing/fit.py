"""The slots and context of all models that share a device, chosen together so that they fit its budget. Pure.

Owns the order of sacrifice: context first, then slots, and only then that the models are resident side by side. The
choice is exact: of everything that fits, the most slots where the agents are, and of that the most context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.config import EndpointSettings
    from vwt_agents.routing.offers import ModelOffer, Need
    from vwt_agents.types import Mib

__all__ = ["Demand", "Fit", "Size", "choose"]

_CONTEXT_STEPS: Final = 8
_CONTEXT_UNIT: Final = 256

_Score: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Size:
    """A model at one context (tokens a slot) and one number of slots."""

    num_ctx: int
    slots: int
    need: Need


@dataclass(frozen=True, slots=True)
class Demand:
    """What a run wants of one model: up to `num_ctx` tokens a slot, never fewer than `floor`, and up to `slots`.

    `agents` is how many of the run's agents it serves: slots are worth more where they are.
    """

    endpoint: EndpointSettings
    model: ModelOffer
    num_ctx: int
    floor: int
    slots: int
    agents: int

    def size(self, num_ctx: int, slots: int) -> Size:
        """The model at that context and number of slots."""
        return Size(num_ctx, slots, self.model.need(self.endpoint, num_ctx=num_ctx, slots=slots))

    @property
    def wish(self) -> Size:
        """All of what is wanted."""
        return self.size(self.num_ctx, self.slots)

    def sizes(self) -> list[Size]:
        """Every size to choose from; it does not depend on a budget, so a larger budget only ever adds to what fits.

        Ollama allots all of its server's slots to every model, so there fewer of them save nothing.
        """
        fewest = self.slots if self.endpoint.kind == "ollama" else 1
        return [self.size(num_ctx, slots) for num_ctx in self._contexts() for slots in range(fewest, self.slots + 1)]

    def least(self) -> Mib:
        """The fewest MiB it can be served with."""
        return min(size.need.mib for size in self.sizes())

    def _contexts(self) -> list[int]:
        """From the floor to the wish, in a few steps of whole units."""
        units = -(-(self.num_ctx - self.floor) // (_CONTEXT_STEPS * _CONTEXT_UNIT))
        return [*range(self.floor, self.num_ctx, max(1, units) * _CONTEXT_UNIT), self.num_ctx]


@dataclass(frozen=True, slots=True)
class Fit:
    """A size for each demand, in their order.

    `side_by_side`: all of them are within the budget together. Otherwise each is within it alone, and they swap.
    """

    sizes: tuple[Size, ...]
    side_by_side: bool

    @property
    def mib(self) -> Mib:
        """What all of them take together."""
        return sum(size.need.mib for size in self.sizes)


def choose(demands: Sequence[Demand], budget: Mib) -> Fit | None:
    """The best sizes for models that share `budget`; None if one of them does not fit it even alone.

    Better is, in this order: side by side; more slots, each counted as often as its model has agents; slots spread more
    evenly; more context, counted likewise; context spread more evenly. What is then still equal takes less memory, or has
    more for the models that come first.
    """
    together = _together(demands, budget)
    if together is not None:
        return Fit(together, side_by_side=True)
    alone = [_together([demand], budget) for demand in demands]
    if any(sizes is None for sizes in alone):
        return None
    return Fit(tuple(sizes[0] for sizes in alone if sizes is not None), side_by_side=False)


_Partial: TypeAlias = tuple["Mib", _Score, tuple["Size", ...]]
"""Sizes for the first few demands: the MiB they take, how bad they are (scores negated), and the sizes."""


def _together(demands: Sequence[Demand], budget: Mib) -> tuple[Size, ...] | None:
    """The best sizes whose sum is within the budget.

    Scores add up, so of two partial choices the one that takes no less and is no better can never be part of the best:
    only the others are kept from model to model, which keeps an exact search small.
    """
    front: list[_Partial] = [(0, (0, 0, 0, 0), ())]
    for demand in demands:
        grown: list[_Partial] = []
        for size in demand.sizes():
            mib = size.need.mib
            slots, even = -demand.agents * size.slots, size.slots**2
            context, level = -demand.agents * size.num_ctx, size.num_ctx**2
            grown += [
                (taken + mib, (a + slots, b + even, c + context, d + level), (*sizes, size))
                for taken, (a, b, c, d), sizes in front
                if taken + mib <= budget
            ]
        grown.sort(key=_smallest_then_best)
        front = []
        for partial in grown:
            if not front or partial[1] < front[-1][1]:
                front.append(partial)
    return front[-1][2] if front else None


def _smallest_then_best(partial: _Partial) -> tuple[Mib, _Score]:
    return partial[0], partial[1]
