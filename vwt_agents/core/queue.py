"""The requests that wait for one model. Owns their order; never decides whether one is granted.

Four orders are kept at once, each as a heap whose dead entries are thrown out when they come up: adding, removing and
finding a next one are O(log n), however many wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.types import RequestId, Seconds

__all__ = ["Order", "Queue", "Waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits: since when, and the moment from which its model is due.

    `lane` is the class it is ordered by. `rank` is its place in line, the least first: class, level, its run's size and
    age, and less than 0 by the believed time from its start to the end of its run. `prefix` names the text its prompt begins
    with, `deadline` is the moment from which nobody wants its answer.
    """

    request: RequestId
    key: ModelKey
    run: str
    step: str
    lane: RequestClass
    since: Seconds
    due: Seconds
    late: Seconds
    rank: tuple[int, int, int, int, Seconds] = (0, 0, 0, 0, 0.0)
    seconds: Seconds = 0.0
    prefix: str = ""
    deadline: Seconds | None = None

    @property
    def tail(self) -> Seconds:
        """The believed time from its start to the end of its run."""
        return -self.rank[4]


_Key: TypeAlias = "tuple[Any, ...]"
"""What requests are ordered by, and last their number. There are four for each, of what the request itself holds."""


class Order:
    """The waiting requests by one key, the least first. An entry is dead once its request has left, or has come back
    with another key.
    """

    __slots__ = ("_heap", "_key")

    def __init__(self, key: Callable[[Waiting], _Key]) -> None:
        self._key = key
        self._heap: list[_Key] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, waiting: Waiting, alive: Mapping[RequestId, Waiting]) -> None:
        """Let a request stand in line; `alive` are all that do."""
        if len(self._heap) > 64 + 2 * len(alive):  # the dead outnumber the living: O(1) a removal, taken over them all
            self._heap = [entry for entry in self._heap if entry[-1] in alive]
            heapify(self._heap)
        heappush(self._heap, self._key(waiting))

    def first(self, alive: Mapping[RequestId, Waiting]) -> Waiting | None:
        """The first of those alive; None without any."""
        while self._heap:
            waiting = alive.get(self._heap[0][-1])
            if waiting is not None and self._key(waiting) == self._heap[0]:
                return waiting
            heappop(self._heap)
        return None


class Queue:
    """The requests waiting for one model: in program order, by the moment they are due or late, and by their tails."""

    __slots__ = ("_alive", "_by_due", "_by_late", "_by_rank", "_by_tail", "_prefixes", "work")

    def __init__(self) -> None:
        self._alive: dict[RequestId, Waiting] = {}
        self._by_rank = Order(lambda waiting: (waiting.rank, waiting.request))
        self._by_due = Order(lambda waiting: (waiting.due, waiting.request))
        self._by_late = Order(lambda waiting: (waiting.late, waiting.request))
        self._by_tail = Order(lambda waiting: (waiting.rank[0], waiting.rank[4], waiting.request))
        self._prefixes: dict[str, dict[RequestId, Waiting]] = {}
        self.work: Seconds = 0.0

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._alive.values())

    def add(self, waiting: Waiting) -> None:
        """Let a request wait."""
        self._alive[waiting.request] = waiting
        for order in (self._by_rank, self._by_due, self._by_late, self._by_tail):
            order.add(waiting, self._alive)
        if waiting.prefix:
            self._prefixes.setdefault(waiting.prefix, {})[waiting.request] = waiting
        self.work += waiting.seconds

    def remove(self, waiting: Waiting) -> None:
        """Take a request out, wherever it stands."""
        del self._alive[waiting.request]
        self.work = self.work - waiting.seconds if self._alive else 0.0
        if waiting.prefix:
            same = self._prefixes[waiting.prefix]
            del same[waiting.request]
            if not same:
                del self._prefixes[waiting.prefix]

    def kept(self) -> int:
        """The entries its orders hold, dead ones included: what it takes."""
        return sum(len(order) for order in (self._by_rank, self._by_due, self._by_late, self._by_tail))

    def first(self) -> Waiting | None:
        """The next in program order."""
        return self._by_rank.first(self._alive)

    def soonest_due(self) -> Waiting | None:
        """The one due first."""
        return self._by_due.first(self._alive)

    def soonest_late(self) -> Waiting | None:
        """The one that is, or will be, late first."""
        return self._by_late.first(self._alive)

    def longest(self) -> Waiting | None:
        """Of the first class, the one with the longest way to the end of its run."""
        return self._by_tail.first(self._alive)

    def sharing(self, prefix: str) -> Waiting | None:
        """The first that came of those whose prompts begin with that text."""
        return next(iter(self._prefixes.get(prefix, {}).values()), None)
