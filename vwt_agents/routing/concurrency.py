"""How many model calls a graph's stages can have in flight at once. Pure; knows stages, not models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from vwt_agents.routing.plan import StageView

__all__ = ["Concurrency"]


class Concurrency:
    """The calls that stages of one graph can have in flight at once, when `limit` is the most there may be at all."""

    def __init__(self, stages: Sequence[StageView], limit: int) -> None:
        self._limit = limit
        self._single = {stage.name for stage in stages if stage.kind == "ask" and stage.each is None}
        self._before = _ancestors(stages)

    def of(self, stages: Set[str]) -> int:
        """The most calls that these stages can have in flight; at least 1.

        An `ask` makes one call at a time. The body of any other stage may sample, or ask several things side by side,
        and a stage with `each` runs for several items: only the limit bounds those.
        """
        if not stages <= self._single:
            return self._limit
        return max(1, min(self._limit, self._width(sorted(stages))))

    def _width(self, names: Sequence[str]) -> int:
        """The largest set of which none waits for another: by Dilworth, all less a maximum matching of who waits for whom."""
        follower: dict[str, str] = {}

        def match(name: str, seen: set[str]) -> bool:
            for earlier in names:
                if earlier in self._before[name] and earlier not in seen:
                    seen.add(earlier)
                    if earlier not in follower or match(follower[earlier], seen):
                        follower[earlier] = name
                        return True
            return False

        return len(names) - sum(match(name, set()) for name in names)


def _ancestors(stages: Sequence[StageView]) -> Mapping[str, frozenset[str]]:
    """Every stage that each waits for, at first hand or not. The stages are in an order in which they could run."""
    before: dict[str, frozenset[str]] = {}
    for stage in stages:
        before[stage.name] = frozenset(stage.needs).union(*(before[need] for need in stage.needs))
    return before
