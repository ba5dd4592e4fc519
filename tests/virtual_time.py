"""An event loop whose time passes only when nothing else happens: an hour of waiting takes a millisecond, real sockets work.

Both ends of every connection live in this loop. Once no socket has anything to say, time jumps to the next timer; where
there is no timer either, nothing would ever happen again, and that is an error.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

_LOOKS = 3  # loopback delivers what was sent while it is sent, as a rule
_DEAD_S = 2.0


class StandsStill(AssertionError):
    """Everybody waits for somebody else."""


class _Selector(selectors.DefaultSelector):
    ahead = 0.0

    def select(self, timeout=None):
        events = super().select(0)
        if events or timeout == 0:
            return events
        for _ in range(_LOOKS):
            if events := super().select(0):
                return events
        if timeout is not None:
            self.ahead += timeout
            return []
        if events := super().select(_DEAD_S):
            return events
        raise StandsStill("no timer is set, and no socket has anything to say")


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._ahead = _Selector()
        self._start = 1000.0
        super().__init__(self._ahead)

    def time(self) -> float:
        return self._start + self._ahead.ahead


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine returns, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
