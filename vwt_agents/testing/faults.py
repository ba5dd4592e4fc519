"""What can be wrong with a test server, and when: the faults by the path they wait at. Owns no behaviour, the server has it."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import Literal, TypeAlias

__all__ = ["Fault", "Faults", "Gates"]

Fault: TypeAlias = Literal["busy", "oom", "error", "cut", "short", "garbage", "hang", "reset"]
"""503, its queue is full; 500 out of memory, and every model is gone; the runner died (an error line after the first piece, or
500 at a load); the connection broken after the first piece; an end without `done`; a line that is no JSON; no answer at all;
the connection broken before the first byte."""


class Faults:
    """The next faults of each path, in order; each breaks one request."""

    def __init__(self) -> None:
        self._next: dict[str, deque[Fault]] = defaultdict(deque)

    def add(self, path: str, fault: Fault, times: int) -> None:
        """Break the next requests to a path."""
        self._next[path].extend([fault] * times)

    def take(self, path: str) -> Fault | None:
        """The fault of this request, which is used up by it."""
        return self._next[path].popleft() if self._next[path] else None

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self._next.clear()


class Gates:
    """Places where a test holds what comes by."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}
        self._reached: dict[str, asyncio.Event] = {}

    def hold(self, path: str) -> asyncio.Event:
        """A gate at a path, shut until it is set."""
        self._reached[path] = asyncio.Event()
        gate = self._gates[path] = asyncio.Event()
        return gate

    async def reached(self, path: str) -> None:
        """Return once someone stands at the gate; TimeoutError when nobody comes in 10 seconds."""
        await asyncio.wait_for(self._reached[path].wait(), 10)

    async def through(self, path: str) -> None:
        """Pass, or wait at the gate."""
        if (gate := self._gates.get(path)) is not None:
            self._reached[path].set()
            await gate.wait()
