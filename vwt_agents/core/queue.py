"""The requests that wait for one model. Owns their order; never decides whether one is granted.

A lane is one class's requests in order of arrival, so the one due first is always at its head: adding, removing and
finding the next are O(1), however many wait.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vwt_agents.core.specs import REQUEST_CLASSES, ModelKey, RequestClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vwt_agents.types import RequestId, Seconds

__all__ = ["Queue", "Waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits: since when, and the moment from which its model is due. `lane` is the class it is ordered
    by.
    """

    request: RequestId
    key: ModelKey
    run: str
    tier: str
    klass: RequestClass
    lane: RequestClass
    since: Seconds
    due: Seconds


class Queue:
    """The requests waiting for one model, by lane."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[RequestClass, OrderedDict[RequestId, Waiting]] = {c: OrderedDict() for c in REQUEST_CLASSES}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __iter__(self) -> Iterator[Waiting]:
        for lane in self._lanes.values():
            yield from lane.values()

    def add(self, waiting: Waiting) -> None:
        """Put a request at the end of its lane."""
        self._lanes[waiting.lane][waiting.request] = waiting

    def remove(self, waiting: Waiting) -> None:
        """Take a request out, wherever it stands."""
        del self._lanes[waiting.lane][waiting.request]

    def next(self) -> Waiting | None:
        """The request to be granted next: the one due first."""
        return min(self._heads(), key=lambda waiting: (waiting.due, waiting.request), default=None)

    def oldest(self) -> Waiting | None:
        """The request that has waited longest."""
        return min(self._heads(), key=lambda waiting: (waiting.since, waiting.request), default=None)

    def _heads(self) -> Iterator[Waiting]:
        return (next(iter(lane.values())) for lane in self._lanes.values() if lane)
