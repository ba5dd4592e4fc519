"""One stage's turn, or one item's: its time limits, its tries, and what it asks a person.

Owns which failures are worth another try and which are anybody's to forgive, how long the pauses are, and that time and
seats stand still for a turn that waits for a person.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.errors import (
    JournalError,
    LimitReached,
    ModelMissing,
    NotApproved,
    Rejected,
    SandboxUnavailable,
    StageFailed,
    Unwritable,
    UsageError,
    VwtError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from vwt_agents.approval import Approval
    from vwt_agents.approvals import Approvals
    from vwt_agents.board import StageLine
    from vwt_agents.graph import Stage
    from vwt_agents.types import Seconds

__all__ = ["Turn", "forgivable", "pause"]

_UNFORGIVABLE: Final = (UsageError, LimitReached, JournalError, Unwritable)
"""What is no failure of the stage: no policy of a stage is about it."""

_HOPELESS: Final = (*_UNFORGIVABLE, NotApproved, Rejected, ModelMissing, SandboxUnavailable)
"""What the next try would end with again."""

_MARK: Final = 12  # hex digits
_LONGEST: Final[Seconds] = 300.0


class Turn:
    """A turn, as what its body asks comes back to it. `retry` counts the tries that have failed; `mark` names the code and the
    values of its stage.
    """

    __slots__ = ("_approvals", "_aside", "_asked", "_limits", "_line", "_mark", "_still", "_waiting", "item", "retry")

    def __init__(
        self,
        line: StageLine,
        item: str,
        approvals: Approvals | None,
        aside: Callable[[], AbstractContextManager[None]] | None,
        mark: Callable[[], str] | None = None,
    ) -> None:
        self._mark = mark
        self._line = line
        self._approvals = approvals
        self._aside = aside
        self._limits: list[anyio.CancelScope] | None = None
        self._asked = 0
        self._waiting = 0
        self._still: ExitStack | None = None
        self.item = item
        self.retry = 0

    async def ask(self, question: str, *, default: bool, patience: Seconds | None) -> Approval:
        """What a person says; the same questions of another try, or of a resumed run, have the answers they had."""
        if self._approvals is None:
            raise UsageError(f"stage {self._line.name!r} asks a person, and this run has nobody to ask")
        self._asked += 1
        return await self._ask(self._asked, question, default=default, patience=patience)

    async def permission(self, question: str) -> None:
        """Ask whether the stage may begin; NotApproved where it may not."""
        assert self._approvals is not None
        answer = await self._ask(0, question, default=False, patience=None)
        if not answer:
            note = f": {answer.note}" if answer.note else ""
            raise NotApproved(
                f"stage {self._line.name!r} was not approved by {answer.by}{note}",
                hint="`runs approve RUN STAGE` and then `runs resume RUN` goes on after all",
            )

    async def _ask(self, number: int, question: str, *, default: bool, patience: Seconds | None) -> Approval:
        assert self._approvals is not None
        key = f"{self._line.name}[{self.item}]#{number}" if self.item else f"{self._line.name}#{number}"
        if self._mark is not None:  # a yes is for what was shown: other code or values are another question
            key = f"{key} of {self._mark()[:_MARK]}"
        with self._standing_still():
            return await self._approvals.ask(key, self._line, question, default=default, patience=patience)

    @contextmanager
    def limited(self, seconds: Seconds | None) -> Iterator[anyio.CancelScope]:
        """Within so many seconds, those not counted in which a person was waited for."""
        deadline = math.inf if seconds is None else anyio.current_time() + seconds
        with anyio.CancelScope(deadline=deadline) as scope:
            if self._limits is None:
                self._limits = []
            self._limits.append(scope)
            try:
                yield scope
            finally:
                self._limits.remove(scope)

    @contextmanager
    def _standing_still(self) -> Iterator[None]:
        """From the first question that is open to the last: a body may ask several at once."""
        self._waiting += 1
        if self._still is None:
            self._still = ExitStack()
            self._still.enter_context(self._without_limits())
            self._still.enter_context(self.away())
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                still, self._still = self._still, None
                still.close()

    @contextmanager
    def _without_limits(self) -> Iterator[None]:
        limits = [(scope, scope.deadline) for scope in self._limits or ()]
        began = anyio.current_time()
        for scope, _ in limits:
            scope.deadline = math.inf
        try:
            yield
        finally:
            passed = anyio.current_time() - began
            for scope, deadline in limits:
                scope.deadline = deadline + passed

    @contextmanager
    def away(self) -> Iterator[None]:
        """While it waits for no model: its seat is another's."""
        if self._aside is None:
            yield
            return
        with self._aside():
            yield

    async def tried(
        self,
        stage: Stage,
        body: Callable[[], Awaitable[Any]],
        *,
        failure: Callable[[Exception], VwtError],
        failed: Callable[[VwtError, Seconds], Awaitable[None]],
        seed: int,
    ) -> Any:
        """What the body gives, in as many tries as the stage's policy has; its last failure is raised.

        `failure` makes an error ours; `failed` is told of each that is tried again, with the pause before that.
        """
        policy = stage.policy
        with self.limited(policy.deadline):
            while True:
                try:
                    return await body()
                except Exception as error:
                    caught = failure(error)
                    if self.retry >= policy.retries or isinstance(caught, _HOPELESS):
                        raise caught from error
                self.retry += 1
                wait = pause(policy.backoff, self.retry, f"{seed}/{stage.name}/{self.item}")
                await failed(caught, wait)
                self._asked = 0
                with self.away():
                    await anyio.sleep(wait)
        tries = f" ({self.retry + 1} tries)" if self.retry else ""
        raise StageFailed(
            f"stage {stage.name!r} was not done within its deadline of {policy.deadline:g} s{tries} ({stage.where})",
            hint="raise the stage's deadline=, or give it less to do",
        )


def forgivable(error: VwtError) -> bool:
    """Whether a stage's `on_error` is about it."""
    return not isinstance(error, _UNFORGIVABLE)


def pause(backoff: Seconds, retry: int, seed: str) -> Seconds:
    """The seconds before a retry, numbered from 1: they double, give or take a quarter by chance, the same for one seed."""
    chance = int.from_bytes(sha256(f"{seed}/{retry}".encode()).digest()[:4], "big") / 2**32
    return min(backoff * 2.0 ** min(retry - 1, 60), _LONGEST) * (0.75 + chance / 2)
