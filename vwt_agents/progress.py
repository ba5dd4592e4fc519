"""How the stages of a run get on, told to all who have to know: board, log, scheduler, and journal.

Owns what is said of a stage that begins, is kept, is tried again, is stood in for, ends or fails, and in which order.
Decides none of that: the runner does. What a stage gave is durable when `ended` returns.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from vwt_agents.core import Announced, RunEnded, StepBegan, StepEnded
from vwt_agents.errors import StageFailed, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.stage_failures import called_by

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vwt_agents.board import Board, StageStatus
    from vwt_agents.core import Step
    from vwt_agents.core.events import RunEvent
    from vwt_agents.messages import Priority
    from vwt_agents.recall import Recall, Remembered
    from vwt_agents.types import Seconds
    from vwt_agents.walk import Node, Walk

__all__ = ["Progress"]

log = get_logger(__name__)


class Progress:
    """Of one run. Without `recall` nothing is written down; without `steps` the scheduler is told nothing."""

    __slots__ = ("_board", "_loop", "_origins", "_priority", "_recall", "_run_id", "_steps", "_tell", "_walk")

    def __init__(
        self,
        run_id: str,
        walk: Walk,
        *,
        board: Board,
        recall: Recall | None,
        steps: tuple[Step, ...],
        tell: Callable[[RunEvent], None] | None,
        priority: Priority,
    ) -> None:
        self._run_id = run_id
        self._walk = walk
        self._board = board
        self._recall = recall
        self._steps = steps
        self._tell = tell if steps else None
        self._priority: Priority = priority
        self._origins: dict[str, Remembered] | None = (
            None  # of the stages that another run did, and nobody has written down yet
        )
        board.stages = walk.nodes

    # -- the run ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """From now on stages have times, those of the running loop."""
        self._loop = asyncio.get_running_loop()

    def announce(self) -> None:
        """Tell the scheduler which steps are to come: those of stages that are not kept; none waits for one that is."""
        if self._tell is None:
            return
        done = {name for name, node in self._walk.nodes.items() if node.status == "kept"}
        steps = tuple(
            replace(step, after=tuple(name for name in step.after if name not in done)) if done else step
            for step in self._steps
            if step.name not in done
        )
        self._tell(Announced(self._run_id, steps, self._priority))

    def close(self) -> None:
        """The run has ended: what is still running has been stopped."""
        for node in self._walk.nodes.values():
            if node.status == "running":
                node.status, node.ended = "stopped", self._loop.time()
        if self._tell is not None:
            self._tell(RunEnded(self._run_id))

    # -- stages that need not be done ---------------------------------------------------------------------------------

    def changed(self, node: Node, why: str) -> None:
        """What the stage gave before does not count any more."""
        log.info("stage.changed", stage=node.name, why=why)
        self._board.say(f"{node.name} is done again: {why}")

    def kept(self, node: Node, found: Remembered) -> None:
        """The stage was done before, by this run or, if it was forked, by another."""
        node.status = "kept"
        node.started = node.ended = self._loop.time()
        if found.run:
            self.came_from(node, found)
        elif self._recall is not None:
            self._recall.recount(node)
        self._board.changed()
        log.info("stage.kept", stage=node.name)

    def cached(self, node: Node, found: Remembered) -> None:
        """The stage's result is there, of another run."""
        self.came_from(node, found)
        log.info("stage.cached", run_of=found.run)

    def came_from(self, node: Node, found: Remembered) -> None:
        """Another run did it; to be written down by `tell_origins`."""
        node.note = f"from run {found.run}"
        self._origins = {**(self._origins or {}), node.name: found}

    @property
    def untold(self) -> bool:
        """Whether there is something for `tell_origins` to write."""
        return self._origins is not None

    async def tell_origins(self) -> None:
        """Write down which results are those of other runs, if any is that was not before."""
        if self._origins and self._recall is not None:
            told, self._origins = self._origins, None
            await self._recall.tell_origins(told)

    # -- stages that are done -----------------------------------------------------------------------------------------

    def began(self, node: Node) -> None:
        """The stage is the runner's now; one with agents begins, for the scheduler, with its first call."""
        node.status, node.started = "running", self._loop.time()
        self._board.changed()
        log.info("stage.started", stage=node.name)
        if self._tell is not None and not node.stage.agents:
            self._tell(StepBegan(self._run_id, node.name))

    def left_out(self, node: Node, why: str) -> None:
        """The stage cannot be begun, because the run does without one that it needs."""
        node.note, node.started = why, self._loop.time()
        self._board.say(f"{node.name}: skipped, because {why}")

    async def retried(self, node: Node, item: str, failure: VwtError, wait: Seconds) -> None:
        """A try has failed, and another is made after so many seconds."""
        node.retries += 1
        log.warning("stage.retried", error=failure.message, wait=round(wait, 3))
        self._board.say(f"{called_by(node.stage, item)} is tried again in {wait:.1f} s: {failure.message}")
        await self._event("stage.retried", node, item, error=failure.message, wait=round(wait, 3))

    async def forgiven(self, node: Node, item: str, failure: VwtError, outcome: str) -> None:
        """The stage, or an item of it, has failed, and the run goes on: outcome `fallback` or `skipped`."""
        node.note = failure.message if not item else f"item {item}: {failure.message}"
        log.warning("stage.forgiven", outcome=outcome, error=failure.message, exc_info=failure.__cause__)
        self._board.say(f"{called_by(node.stage, item)}: {outcome}, because {failure.message}")
        if item:
            node.stood_in = "partial"
            await self._event(f"item.{outcome}", node, item, error=failure.message)
        elif outcome == "fallback":
            node.stood_in = "fallback"

    async def ended(self, node: Node, status: StageStatus, value: Any, *, at_once: bool) -> None:
        """The stage has ended well, or the run does without it. `at_once`: nobody gains when it makes room for others."""
        seconds = self._mark_ended(node, status)
        if self._recall is not None:
            await self._write(self._recall, node, status, value, seconds, at_once=at_once)
        log.info("stage.done", stage=node.name, seconds=seconds, status=status)
        if self._tell is not None:
            self._tell(StepEnded(self._run_id, node.name))

    async def failed(self, node: Node, failure: VwtError, *, at_once: bool) -> None:
        """The stage has failed, and so has the run; a journal that cannot be written must not hide what it would have held."""
        foreign = failure.__cause__ if isinstance(failure, StageFailed) else None
        if foreign is not None:
            log.error("stage.failed", exc_info=foreign, error=failure.message)
        else:
            log.warning("stage.failed", error=failure.message)
        seconds = self._mark_ended(node, "failed")
        if self._recall is None:
            return
        with anyio.CancelScope(shield=True):
            try:
                said = {"error": failure.message}
                await self._write(self._recall, node, "failed", said, seconds, at_once=at_once)
            except VwtError as unwritten:
                log.warning("stage.failed", error=unwritten.message)

    def _mark_ended(self, node: Node, status: StageStatus) -> Seconds:
        """Let everybody see that it has ended; the seconds it took."""
        node.status, node.ended = status, self._loop.time()
        self._board.changed()
        return node.seconds(node.ended)

    def _write(
        self, recall: Recall, node: Node, status: StageStatus, value: Any, seconds: Seconds, *, at_once: bool
    ) -> Coroutine[Any, Any, None]:
        if status == "skipped":
            value = {"why": node.note}
        needed = self._walk.is_needed(node)
        return recall.ended(node.stage, status, value, seconds, at_once=at_once, needed=needed)

    async def _event(self, name: str, node: Node, item: str, **said: Any) -> None:
        if self._recall is not None:
            await self._recall.event(name, node.stage, item, **said)
