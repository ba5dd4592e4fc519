"""Crew: does turns that are ready in as few tasks as they allow, each in a context of its own.

Owns the ready turns, the seats of those that are limited, and the tasks. Knows nothing of what a turn is about.

A task costs more than a short turn. So a worker goes on with the next ready turn when one has ended, and a second worker
is only called when a turn begins while others are ready: if that turn waits, the second one takes the next, and calls a
third. A chain of turns is thus done in the task that called `run`, and turns that never wait are done by two tasks.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.lowlevel

from vwt_agents.cancellation import STEPS, Steps, here

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator
    from contextvars import Context

    from anyio.abc import TaskGroup

__all__ = ["Crew"]

Turn: TypeAlias = "Callable[..., Coroutine[Any, Any, None]]"

_SLICE_S: Final = 0.005
"""How long turns that never wait may keep the event loop: then whatever else is ready there goes first."""


class Crew:
    """Turns and who does them. At most `limit` turns that were added as limited are at work at once.

    A turn that raises ends all the others, and `run` with what it raised, or with a group of it where several tasks were
    at work. Turns may add turns, which begin when that turn or another has ended; `run` returns when none is left.
    """

    __slots__ = ("_called", "_ready", "_seatless", "_seats", "_tasks", "_until", "_workers")

    def __init__(self, limit: int) -> None:
        self._seats = limit
        # Lists: they are short as a rule, and a deque takes 0.7 kB, of every run there is.
        self._ready: list[tuple[Turn, tuple[Any, ...], bool]] = []
        self._seatless: list[tuple[Turn, tuple[Any, ...]]] | None = None
        self._called = False
        self._workers = 0
        self._tasks: TaskGroup | None = None
        self._until = 0.0

    def add(self, turn: Turn, *args: Any, limited: bool = False) -> None:
        """Have `turn(*args)` done, after the turns that are ready already; a limited one once it has a seat."""
        if not limited:
            self._ready.append((turn, args, False))
        elif self._seats > 0:
            self._seats -= 1
            self._ready.append((turn, args, True))
        elif self._seatless is None:
            self._seatless = [(turn, args)]
        else:
            self._seatless.append((turn, args))

    async def run(self) -> None:
        """Do what was added, and what that adds; returns early when it is stopped."""
        self._until = monotonic() + _SLICE_S
        # A chain so far: there is nobody to share with, so no task group is needed.
        task, state, scope = here()
        while len(self._ready) == 1 and not self._seatless:
            turn, limited = self._next()
            await _within(copy_context(), turn, Steps(task, state, scope))
            if self._took_long(limited):
                await self._pause()
        if self._ready:
            async with anyio.create_task_group() as self._tasks:
                await self._work()

    @property
    def alone(self) -> bool:
        """Whether the turn at work is the only one there is, so that nobody gains when it makes room for others."""
        return self._workers <= 1 and not self._ready

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For a limited turn that waits for something else than a model: its seat is another's meanwhile.

        It does not wait for a seat afterwards, so that for a while one more than the limit may be at work.
        """
        self._stand_up()
        if self._ready:
            self._call()
        try:
            yield
        finally:
            self._seats -= 1

    def stop(self) -> None:
        """Cancel the turns at work and begin no other."""
        self._ready.clear()
        self._seatless = None
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _work(self) -> None:
        self._workers += 1
        task, state, scope = here()
        while self._ready:
            if len(self._ready) > 1:
                self._call()
            turn, limited = self._next()
            await _within(copy_context(), turn, Steps(task, state, scope))
            if self._took_long(limited):
                await self._pause()
        self._workers -= 1

    # A turn is begun by who works, not in a coroutine of its own: each that waits has one frame less, in time and memory.

    def _next(self) -> tuple[Coroutine[Any, Any, None], bool]:
        turn, args, limited = self._ready.pop(0)
        return turn(*args), limited

    def _took_long(self, limited: bool) -> bool:  # noqa: FBT001 - of the turn that has ended
        if limited:
            self._stand_up()
        return monotonic() > self._until

    async def _pause(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._until = monotonic() + _SLICE_S

    def _call(self) -> None:
        """Have another worker, if there is none on its way."""
        if not self._called and self._tasks is not None:
            self._called = True
            self._tasks.start_soon(self._join)

    async def _join(self) -> None:
        self._called = False
        await self._work()

    def _stand_up(self) -> None:
        if self._seatless and self._seats >= 0:
            self._ready.append((*self._seatless.pop(0), True))
        else:
            self._seats += 1


@types.coroutine
def _within(context: Context, coroutine: Coroutine[Any, Any, None], steps: Steps) -> Generator[Any, Any, None]:
    """Await the coroutine with `context` current in all its steps: what it sets is not seen by the task's next turn."""
    task = steps.task
    context.run(STEPS.set, steps)
    value: Any = None
    failed = False
    while True:
        steps.before = task.cancelling()
        try:
            awaited = context.run(coroutine.throw if failed else coroutine.send, value)
        except StopIteration:
            return
        steps.own = steps.asked()
        try:
            value = yield awaited
            failed = False
        except GeneratorExit:
            steps.closing = True
            context.run(coroutine.close)
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation, say: the coroutine's to handle
            value = error
            failed = True
