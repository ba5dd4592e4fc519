"""How many stages may run side by side: by Dilworth, all less a maximum matching of who waits for whom, also through others.

Pure. Who waits for whom through others is never written out, which would take the square of the stages: the matching is a
flow along the needs themselves, that passes through the stages between the two that it matches.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["width"]

_Place: TypeAlias = tuple[str, bool]
"""Where a flow is: at a stage's begin (True), or at its end (False)."""


def width(needs: Mapping[str, Sequence[str]]) -> int:
    """The size of the largest set of stages of which none waits for another. `needs` are in an order in which they may run."""
    flow = _Flow(needs)
    for name in needs:
        flow.follow(name)
    while flow.improve():
        pass
    return len(needs) - len(flow.followed)


class _Flow:
    """`followed` are the stages that are matched with one that waits for them, `taken` those they are matched with.

    `passing` counts the matches whose way leads from a stage to one that needs it, or through a stage (from it to itself).
    """

    def __init__(self, needs: Mapping[str, Sequence[str]]) -> None:
        self._needs = needs
        self._followers: dict[str, list[str]] = {name: [] for name in needs}
        for name, those in needs.items():
            for need in those:
                self._followers[need].append(name)
        self.followed: set[str] = set()
        self._taken: set[str] = set()
        self._passing: Counter[tuple[str, str]] = Counter()
        self._spent: set[str] = set()  # stages that are followed themselves, as all that they wait for are

    def follow(self, name: str) -> None:
        """Match a stage with the first one that it waits for and nobody follows, going back from it; stages in their order."""
        path, left = [name], [iter(self._needs[name])]
        while path:
            need = next((need for need in left[-1] if need not in self._spent), None)
            if need is None:
                left.pop()
                self._spent.add(path.pop())
            elif need in self.followed:
                path.append(need)
                left.append(iter(self._needs[need]))
            else:
                between = [(stage, begin) for stage in path[:0:-1] for begin in (True, False)]
                self._match([(need, False), *between, (name, True)])
                return
        self._spent.remove(name)

    def improve(self) -> bool:
        """Match more stages, for which others may be matched anew; False where that is not possible."""
        seen: set[_Place] = set()
        before = len(self.followed)
        for name in self._needs:
            if name not in self.followed and (path := self._path(name, seen)):
                self._match(path)
                seen.difference_update(path)  # others may pass there as well
        return len(self.followed) > before

    def _path(self, name: str, seen: set[_Place]) -> list[_Place]:
        """A way from a stage's end to the begin of one that follows nobody; empty where there is none past what was `seen`."""
        path: list[_Place] = [(name, False)]
        left = [self._moves(name, begin=False)]
        seen.add(path[0])
        while path:
            there = next((there for there in left[-1] if there not in seen), None)
            if there is None:
                path.pop()
                left.pop()
                continue
            seen.add(there)
            path.append(there)
            stage, begin = there
            if begin and stage not in self._taken:
                return path
            left.append(self._moves(stage, begin=begin))
        return []

    def _moves(self, name: str, *, begin: bool) -> Iterator[_Place]:
        """On along the needs, or back along what passes already."""
        if begin:
            yield name, False
            yield from ((need, False) for need in self._needs[name] if self._passing[need, name])
            return
        yield from ((follower, True) for follower in self._followers[name])
        if self._passing[name, name]:
            yield name, True

    def _match(self, path: Sequence[_Place]) -> None:
        self.followed.add(path[0][0])
        self._taken.add(path[-1][0])
        for (here, begin), (there, _) in pairwise(path):
            on = begin == (here == there)
            self._passing[(there, here) if begin else (here, there)] += 1 if on else -1
