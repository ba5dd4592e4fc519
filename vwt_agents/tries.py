"""One stage's turn, or one item's: its time limits, its tries, and what it asks a person.

Owns which failures are worth another try and which are anybody's to forgive, how long the pauses are, and that time and
seats stand still for a turn that waits for a person.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from vwt_agents.cancellation import close_left_open
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
from vwt_agents.stage_failures import failure_of, too_slow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from vwt_agents.approval import Approval
    from vwt_agents.approvals import Approvals
    from vwt_agents.graph import Stage
    from vwt_agents.types import Seconds
    from vwt_agents.walk import Node

__all__ = ["Host", "Turn", "forgivable", "pause"]

_UNFORGIVABLE: Final = (UsageError, LimitReached, JournalError, Unwritable)
"""What is no failure of the stage: no policy of a stage is about it."""

_HOPELESS: Final = (*_UNFORGIVABLE, NotApproved, Rejected, ModelMissing, SandboxUnavailable)
"""What the next try would end with again."""

_MARK: Final = 12  # hex digits
_LONGEST: Final[Seconds] = 300.0


class Host(Protocol):
    """Who the turns of a run are with."""

    @property
    def approvals(self) -> Approvals:
        """Who asks a person for them."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """The seat of a turn that has one is another's within the block."""
        ...

    def mark(self, stage: Stage) -> str:
        """What the code and the values of a stage are known by; empty where nothing is kept."""
        ...


class Turn:
    """A turn, as what its body asks comes back to it. `retry` counts the tries that have failed; one that is `seated` holds
    one of the seats of those that may be at work. Small: one is held by each that waits.
    """

    __slots__ = ("_asked", "_host", "_limits", "_node", "_seated", "_still", "_waiting", "item", "retry")

    def __init__(self, host: Host, node: Node, item: str, *, seated: bool) -> None:
        self._host = host
        self._node = node
        self._seated = seated
        self._limits: list[anyio.CancelScope] | None = None
        self._asked = 0
        self._waiting = 0
        self._still: ExitStack | None = None
        self.item = item
        self.retry = 0

    async def ask(self, question: str, *, default: bool, patience: Seconds | None) -> Approval:
        """What a person says; the same questions of another try, or of a resumed run, have the answers they had."""
        self._asked += 1
        return await self._ask(self._asked, question, default=default, patience=patience)

    async def permission(self, question: str) -> None:
        """Ask whether the stage may begin; NotApproved where it may not."""
        answer = await self._ask(0, question, default=False, patience=None)
        if not answer:
            note = f": {answer.note}" if answer.note else ""
            raise NotApproved(
                f"stage {self._node.name!r} was not approved by {answer.by}{note}",
                hint="`runs approve RUN STAGE` and then `runs resume RUN` goes on after all",
            )

    async def _ask(self, number: int, question: str, *, default: bool, patience: Seconds | None) -> Approval:
        name = self._node.name
        key = f"{name}[{self.item}]#{number}" if self.item else f"{name}#{number}"
        # A yes is for what was shown: other code or values are another question.
        if mark := self._host.mark(self._node.stage):
            key = f"{key} of {mark[:_MARK]}"
        with self._standing_still():
            return await self._host.approvals.ask(key, self._node, question, default=default, patience=patience)

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
                close_left_open(scope)

    async def in_time(self, stage: Stage, value: Awaitable[Any]) -> Any:
        """What the value gives within the stage's `timeout`; StageFailed where that is over first."""
        with self.limited(stage.timeout):
            return await value
        raise too_slow(stage)

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
        if not self._seated:
            yield
            return
        with self._host.aside():
            yield

    async def tried(
        self,
        stage: Stage,
        body: Callable[[], Awaitable[Any]],
        *,
        failed: Callable[[VwtError, Seconds], Awaitable[None]],
        seed: int,
    ) -> Any:
        """What the body gives, in as many tries as the stage's policy has; its last failure is raised.

        `failed` is told of each that is tried again, with the pause before that.
        """
        policy = stage.policy
        with self.limited(policy.deadline):
            while True:
                try:
                    return await body()
                except Exception as error:
                    caught = failure_of(stage, error, self.item)
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
