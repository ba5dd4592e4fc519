"""Approval: what a person said to a question that a stage asked, and how a stage comes to ask.

Owns the answer as data and the way from a stage's body to whoever runs it. Who is asked, and how, is not known here.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from vwt_agents.errors import UsageError
from vwt_agents.types import Seconds, parse_duration

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ASKING", "Approval", "Asking", "approve"]


@dataclass(frozen=True, slots=True)
class Approval:
    """The answer: whether it was yes (also as its truth), whose it was (a person, or what stood in for one), when.

    `at` is UTC.
    """

    approved: bool
    by: str
    at: datetime
    note: str = ""

    def __bool__(self) -> bool:
        return self.approved


class Asking(Protocol):
    """Asks a person for the stage that is running."""

    async def ask(self, question: str, *, default: bool, patience: Seconds | None) -> Approval:
        """The answer; `default` when none came within `patience`."""
        ...


ASKING: Final[ContextVar[Asking]] = ContextVar("asking")
"""Set by the runner around each stage's body."""


async def approve(
    question: str,
    *,
    default: bool = False,
    timeout: str | Seconds | None = None,  # noqa: ASYNC109 - it has a value when it is over
) -> Approval:
    """Ask a person and wait for the answer; `default` stands when nobody has answered within `timeout`."""
    asking = ASKING.get(None)
    if asking is None:
        raise UsageError("approve was called outside a stage", hint="await it in the body of a stage of a run")
    seconds = None if timeout is None else parse_duration(timeout)
    return await asking.ask(question, default=default, patience=seconds)
