"""Lists, dicts and other changeable containers that both sandboxes hold: each side has its own, and changes are passed on.

Runs in both sandboxes. One side works while the other waits, so it is enough that each message begins with what its sender
did to what both hold: `items = s.items; s.push(1)` then sees the item, and `s.items.append(1)` reaches the object. Knows
numbers and looks; how a container travels is `wire`'s.
"""

from __future__ import annotations

import sys
from operator import is_
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = ["Held"]

_MOST: Final = 1_000_000
_BY_US: Final = 2
"""References to a container that nobody but the table holds, as `getrefcount` counts them."""


class _Entry:
    """One container, and its items when both sides last agreed about them."""

    __slots__ = ("container", "given", "items")

    def __init__(self, container: Any, items: list[Any], *, given: bool) -> None:
        self.container = container
        self.items = items
        self.given = given


class Held:
    """The containers by number: one side counts up from 1, the other down from -1."""

    def __init__(self, step: int, look: Callable[[Any], list[Any]]) -> None:
        self.step = step
        self.look = look
        self.entries: dict[int, _Entry] = {}
        self.numbers: dict[int, int] = {}
        self.last = 0
        self.given = 0
        self.fresh: list[int] = []

    def number(self, container: Any) -> int | None:
        """Its number, if both have it."""
        return self.numbers.get(id(container))

    def give(self, container: Any) -> int:
        """A number for one that this side is about to send; OverflowError when there are too many."""
        if self.given >= _MOST:  # those of the other side do not count: it must not be able to use up this side's
            raise OverflowError(f"more than {_MOST} containers that the other side still has")
        self.given += 1
        self.last += self.step
        self._put(self.last, container, given=True)
        self.fresh.append(self.last)
        return self.last

    def take(self, number: int, container: Any) -> None:
        """Enter one that the other side has sent, still empty; ValueError for a number that is not its to give."""
        if type(number) is not int or number * self.step >= 0 or number in self.entries:
            raise ValueError(f"{number!r} is no number for a new container")
        self._put(number, container, given=False)

    def _put(self, number: int, container: Any, *, given: bool) -> None:
        self.entries[number] = _Entry(container, self.look(container), given=given)
        self.numbers[id(container)] = number

    def agree(self, number: int) -> None:
        """Both sides have the same in it now."""
        entry = self.entries[number]
        entry.items = self.look(entry.container)

    def changed(self) -> list[int]:
        """Those that have other items than both sides agreed on. Compares by identity: no `__eq__` has a say."""
        return [number for number, entry in self.entries.items() if not _same(entry.items, self.look(entry.container))]

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget these: the other side does not hold them any more."""
        for number in numbers:
            entry = self.entries.pop(number, None)
            if entry is not None:
                del self.numbers[id(entry.container)]
                self.given -= entry.given

    def dropped(self, keep: Collection[int] = ()) -> list[int]:
        """Forget, and name, those that nothing on this side refers to any more."""
        gone = []
        for number in list(self.entries):
            if number not in keep and sys.getrefcount(self.entries[number].container) <= _BY_US:
                self.drop([number])
                gone.append(number)
        return gone

    def sent(self) -> None:
        """What was given out has arrived."""
        self.fresh.clear()

    def take_back(self) -> None:
        """What was given out will never arrive."""
        self.drop(self.fresh)
        self.fresh.clear()


def _same(before: list[Any], now: list[Any]) -> bool:
    return len(before) == len(now) and all(map(is_, before, now))
