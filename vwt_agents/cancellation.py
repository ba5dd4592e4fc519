"""Cancellation: whether one is meant for who gets it, or was only raised there.

A CancelledError has two senders. A scope or a task that is cancelled sends one to be obeyed; and whoever awaits a task that
was cancelled by somebody gets one too, though nobody told him to stop. Task groups take the second for the first, and what
raised it is gone without a word. Owns how the two are told apart, and what a turn did to its own task.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from typing import Any, Final

import anyio

__all__ = ["STEPS", "Steps", "cancelled_itself", "closing", "take_back", "told_to_stop"]


class Steps:
    """The steps of one turn in the task that does them: how often they have asked for that very task to be cancelled.

    `before` are all requests that the task had when the step at work began, `own` those of the steps before it. `closing`: the
    turn is being thrown away.
    """

    __slots__ = ("before", "closing", "own", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.before = task.cancelling()
        self.own = 0
        self.closing = False

    def asked(self) -> int:
        """How often, so far; to be called within a step."""
        return self.own + max(0, self.task.cancelling() - self.before)


STEPS: Final[ContextVar[Steps | None]] = ContextVar("steps", default=None)
"""Set by who does a turn, in the turn's context."""


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
