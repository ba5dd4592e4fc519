"""Cancellation: whether one is meant for who gets it, or was only raised there.

A CancelledError has two senders. A scope or a task that is cancelled sends one to be obeyed; and whoever awaits a task that
was cancelled by somebody gets one too, though nobody told him to stop. Task groups take the second for the first, and what
raised it is gone without a word. Owns how the two are told apart, and what a turn did to its own task: cancelled it, or left
scopes open in it, which no scope around them could be left with.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FROM_WITHIN",
    "STEPS",
    "Steps",
    "cancelled_itself",
    "close_left_open",
    "closing",
    "forget_spent",
    "here",
    "take_back",
    "take_left_open",
    "told_to_stop",
    "untouched",
]


class Steps:
    """The steps of one turn in the task that does them: how often they have asked for that very task to be cancelled.

    `base` are all requests that the task had when the turn began, `before` when the step at work did, `own` those of the steps
    before it. `closing`: the turn is being thrown away. `scope` is the innermost cancel scope around the turn; `left_open`: it
    had left others open.
    """

    __slots__ = ("_state", "base", "before", "closing", "left_open", "own", "scope", "task")

    def __init__(self, task: asyncio.Task[Any], state: Any, scope: anyio.CancelScope | None) -> None:
        self.task = task
        self._state = state
        self.base = self.before = task.cancelling()
        self.own = 0
        self.closing = False
        self.scope = scope
        self.left_open = False

    def asked(self) -> int:
        """How often, so far; to be called within a step."""
        return self.own + max(0, self.task.cancelling() - self.before)

    def innermost(self) -> anyio.CancelScope | None:
        """The scope that the task has entered last of those it is in; None where it is in none, or anyio does not tell."""
        if self._state is None:  # anyio hears of a task with the first scope in it, which may be the turn's own
            self._state = _states().get(self.task)
        return self._state.cancel_scope if self._state is not None else None


STEPS: Final[ContextVar[Steps | None]] = ContextVar("steps", default=None)
"""Set by who does a turn, in the turn's context."""


FROM_WITHIN: Final[ContextVar[Callable[[], str] | None]] = ContextVar("from_within", default=None)
"""Set by who owns the event loop: what user's code did to it, asked for by who was cancelled with all that runs there; empty
for an end that was asked for from outside. Who is cancelled in a loop of another's cannot know."""


def untouched() -> bool:
    """Whether the turn has done nothing to its task, as nearly all do not: neither cancelled it nor left a scope open in it."""
    steps = STEPS.get()
    return steps is None or not (
        steps.own or steps.left_open or steps.task.cancelling() or steps.innermost() is not steps.scope
    )


def told_to_stop() -> bool:
    """Whether the current task is to end: a scope around it was cancelled, or it was itself, and not by its own turn."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    task, steps = asyncio.current_task(), STEPS.get()
    if task is None:
        return False
    own = steps.asked() if steps is not None and steps.task is task else 0
    return task.cancelling() > own


def cancelled_itself() -> bool:
    """Whether the turn has cancelled the task it is done in."""
    steps = STEPS.get()
    return steps is not None and steps.asked() > 0


def closing() -> bool:
    """Whether the turn is being thrown away, so that it may await nothing any more."""
    steps = STEPS.get()
    return steps is not None and steps.closing


async def take_back() -> None:
    """Undo that the turn cancelled its own task, or the turns after it would be cancelled."""
    steps = STEPS.get()
    if steps is None:
        return
    for _ in range(min(steps.asked(), steps.task.cancelling())):
        steps.task.uncancel()
    steps.own, steps.before = 0, steps.task.cancelling()
    try:
        await asyncio.sleep(0)  # before Python 3.13 the exception may still be on its way
    except asyncio.CancelledError:
        if told_to_stop():
            raise


def forget_spent() -> None:
    """Undo requests to cancel the turn's task that it has had, and has ended without a cancellation all the same; not those
    of a scope around it.

    asyncio.TaskGroup cancels the task it is in when one of its own fails, and before Python 3.13 it does not always undo that:
    no scope around the turn would stop at its own cancellation any more.
    """
    steps = STEPS.get()
    if steps is None or steps.task.cancelling() <= steps.base or asyncio.current_task() is not steps.task:
        return
    if anyio.current_effective_deadline() == -math.inf:
        return
    for _ in range(steps.task.cancelling() - steps.base - steps.asked()):
        steps.task.uncancel()
        steps.before -= 1


def close_left_open(outer: anyio.CancelScope | None = None) -> None:
    """Cancel and close the scopes that the turn has left open within `outer`, a scope of its runner's, or within any; to be
    called where it has opened none that is still to be left.
    """
    steps = STEPS.get()
    if steps is None or asyncio.current_task() is not steps.task:
        return
    until = steps.scope if outer is None else outer
    inner = steps.innermost()
    if inner is until or not _is_within(inner, until):
        return
    while inner is not None and inner is not until:
        inner.cancel()  # what still runs in it has nobody who waits for it
        inner.__exit__(None, None, None)
        inner = steps.innermost()
    steps.left_open = True


def take_left_open() -> bool:
    """Whether the turn had left scopes open since this was last asked."""
    steps = STEPS.get()
    if steps is None or not steps.left_open:
        return False
    steps.left_open = False
    return True


def here() -> tuple[asyncio.Task[Any], Any, anyio.CancelScope | None]:
    """The current task, what anyio knows of it, and the scope that turns done in it begin and end in: of what their Steps
    are made. Looked up once for all turns of a task, because the look-up is by a weak reference.
    """
    task = asyncio.current_task()
    assert task is not None
    state = _states().get(task)
    return task, state, state.cancel_scope if state is not None else None


def _is_within(inner: Any, outer: anyio.CancelScope | None) -> bool:
    while inner is not None and inner is not outer:
        inner = getattr(inner, "_parent_scope", None)  # as below
    return inner is outer


@cache
def _states() -> Mapping[asyncio.Task[Any], Any]:
    """What anyio knows of each task. It has no public way to ask for it; one that keeps it elsewhere is asked for nothing."""
    from anyio._backends import _asyncio

    return getattr(_asyncio, "_task_states", {})
