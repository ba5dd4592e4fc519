"""Runs a checked graph: each stage once what it needs is there, at most `max_agents` of them with agents at once.

Owns when a stage begins and what becomes of it, and which need not be done: the run's own journal or another run's has
them. What comes next is `walk`'s business, what a stage is called with `wiring`'s. It picks no model and waits for no
memory: that is the caller's. Loops and branches are the stage's own Python.

What a stage returned is durable before a stage that needs it begins. Whether an old result still counts is decided by its
fingerprint: the stage's code, the values it needs and its inputs, so what follows from a change is done again by itself.
What can be known before a run is worked out when the Runner is made, so that a stage costs little more than its body and
its commit (`bench/overhead.py`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.approval import ASKING
from vwt_agents.approvals import Approvals
from vwt_agents.board import ENDED_WELL
from vwt_agents.cancellation import close_left_open
from vwt_agents.core import Announced, RunEnded, StepBegan, StepEnded
from vwt_agents.crew import Crew
from vwt_agents.errors import NotApproved, StageFailed, VwtError
from vwt_agents.eventlog import bind_here, get_logger
from vwt_agents.limits import Spent
from vwt_agents.past import Past
from vwt_agents.pipeline import Fallback
from vwt_agents.recall import Changed, Recall, Remembered
from vwt_agents.stage_failures import called_by, check_result, failure_of, mine, too_slow
from vwt_agents.tries import Turn, forgivable
from vwt_agents.walk import LEFT_OUT, Node, Walk
from vwt_agents.wiring import Items, Wiring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from vwt_agents.board import Board, StageStatus
    from vwt_agents.config import Settings
    from vwt_agents.core import Step
    from vwt_agents.core.events import RunEvent
    from vwt_agents.graph import Graph, Stage
    from vwt_agents.journal import Journal
    from vwt_agents.messages import Caller, Priority, Response
    from vwt_agents.routing import Plan
    from vwt_agents.run import RunFolder
    from vwt_agents.types import Seconds

__all__ = ["Runner"]

log = get_logger(__name__)

_NO_PAST: Final = Past()
_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Runner:
    """One run of one graph. `run(inputs)` gives every stage's value by name; a stage's failure ends the run as itself.

    Without a journal (None) nothing is kept, and the run cannot be resumed. `steps` are announced through `tell` before the
    first stage begins, and which of them begins and ends, so that the scheduler can look ahead; `priority` is the run's
    class. What the stages' calls cost is counted in `spent`, and a call beyond its limits fails its stage.

    `past` is what the run has done before, of which nothing is done again that still counts; `digests` are those of the
    models by (endpoint, model), for the results that other runs may use; with `use_cache` False, none of theirs is used.
    """

    __slots__ = (
        "_approvals",
        "_board",
        "_crew",
        "_failure",
        "_journal",
        "_loop",
        "_origins",
        "_past",
        "_priority",
        "_recall",
        "_run_id",
        "_seed",
        "_steps",
        "_tell",
        "_walk",
        "_wiring",
    )

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        settings: Settings,
        *,
        run_id: str,
        caller: Caller,
        journal: Journal | None,
        folder: RunFolder,
        services: Mapping[str, Any],
        board: Board,
        seed: int = 0,
        known: Mapping[str, Sequence[Response]] | None = None,
        steps: tuple[Step, ...] = (),
        tell: Callable[[RunEvent], None] | None = None,
        priority: Priority = "batch",
        spent: Spent | None = None,
        past: Past | None = None,
        approvals: Approvals | None = None,
        digests: Mapping[tuple[str, str], str] | None = None,
        use_cache: bool = True,
    ) -> None:
        self._priority: Priority = priority
        self._steps = steps
        self._tell = tell if steps else None
        self._past = past if past is not None else _NO_PAST
        answers = {key: deque(given) for key, given in known.items()} if known else self._past.known
        self._run_id = run_id
        self._journal = journal
        self._board = board
        self._seed = seed
        self._crew = Crew(settings.scheduler.max_agents)
        self._failure: VwtError | None = None
        self._origins: dict[str, Remembered] | None = (
            None  # of the stages that another run did, and nobody has written down yet
        )
        self._approvals = approvals
        self._walk = Walk(graph)
        self._recall: Recall | None = None
        if journal is not None:
            self._recall = Recall(
                run_id,
                journal,
                folder,
                plan=plan,
                settings=settings,
                past=self._past,
                seed=seed,
                digests=digests if digests is not None else _NOTHING,
                use_cache=use_cache,
            )
        self._wiring = Wiring(
            walk=self._walk,
            plan=plan,
            settings=settings,
            run_id=run_id,
            caller=caller,
            journal=journal,
            folder=folder,
            services=services,
            board=board,
            seed=seed,
            known=answers,
            spent=spent if spent is not None else Spent(),
            past=self._past,
            inputs=_NOTHING,
            recall=self._recall,
        )
        board.stages = self._walk.nodes

    @property
    def values(self) -> dict[str, Any]:
        """What the stages that ended well gave, by stage name, in the graph's order; those that were skipped gave nothing."""
        return self._walk.given()

    async def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every stage's value, once all have ended; the first stage that fails stops the others and is raised."""
        self._loop = asyncio.get_running_loop()
        self._wiring.inputs = inputs
        if self._recall is not None:
            self._recall.begin(inputs)
        begun = self._advance(self._walk.first())
        await self._tell_origins()
        if self._tell is not None:
            self._tell(Announced(self._run_id, self._steps_to_come(), self._priority))
        try:
            for node in begun:
                self._begin(node)
            del begun  # all the time that the run takes, nobody needs it
            await self._crew.run()
        finally:
            self._mark_stopped()
            if self._tell is not None:
                self._tell(RunEnded(self._run_id))
        if self._failure is not None:
            raise self._failure
        self._check_all_ended()
        return self.values

    def _check_all_ended(self) -> None:
        """StageFailed for a stage that is gone without an end: the run must not be called good without it."""
        lost = [node for node in self._walk.nodes.values() if node.status not in ENDED_WELL]
        if lost:
            names = ", ".join(repr(node.name) for node in lost)
            raise StageFailed(f"of stages {names} neither a result nor a failure is known ({lost[0].stage.where})")

    def _mark_stopped(self) -> None:
        for node in self._walk.nodes.values():
            if node.status == "running":
                node.status, node.ended = "stopped", self._loop.time()

    def _steps_to_come(self) -> tuple[Step, ...]:
        """The steps of the stages that are not done yet; none of them waits for one that is."""
        done = {name for name, node in self._walk.nodes.items() if node.status == "kept"}
        return tuple(
            replace(step, after=tuple(name for name in step.after if name not in done)) if done else step
            for step in self._steps
            if step.name not in done
        )

    # -- which stages -----------------------------------------------------------------------------------------------

    def _advance(self, ready: list[Node]) -> list[Node]:
        """Of the stages that lack nothing any more, and of those that follow from them, the ones that have to be begun."""
        to_begin: list[Node] = []
        while ready:
            node = ready.pop(0)
            if self._is_kept(node):
                ready += self._walk.freed(node)
            else:
                to_begin.append(node)
        return to_begin

    def _is_kept(self, node: Node) -> bool:
        """Whether it need not be done: the run has done it before, from the same code and values."""
        found = self._recall.kept(node.stage) if self._recall is not None else None
        if found is None or self._recall is None:
            return False
        if isinstance(found, Changed):
            log.info("stage.changed", stage=node.name, why=found.why)
            self._board.say(f"{node.name} is done again: {found.why}")
            return False
        node.status = "kept"
        node.started = node.ended = self._loop.time()
        self._walk.values[node.name] = found.value
        if found.run:
            self._from_another_run(node, found)
        else:
            self._recall.recount(node)
        self._board.changed()
        log.info("stage.kept", stage=node.name)
        return True

    def _from_another_run(self, node: Node, found: Remembered) -> None:
        node.note = f"from run {found.run}"
        self._origins = {**(self._origins or {}), node.name: found}

    async def _tell_origins(self) -> None:
        if self._origins and self._recall is not None:
            told, self._origins = self._origins, None
            await self._recall.tell_origins(told)

    # -- one stage --------------------------------------------------------------------------------------------------

    def _begin(self, node: Node) -> None:
        stage = node.stage
        if lost := self._walk.lost(node):
            self._crew.add(self._leave_out, node, f"it needs {', '.join(dict.fromkeys(lost))}, which was skipped")
            return
        node.status, node.started = "running", self._loop.time()
        self._board.changed()
        log.info("stage.started", stage=stage.name)
        if (
            self._tell is not None and not stage.agents
        ):  # one with agents begins, for the scheduler, with its first call
            self._tell(StepBegan(self._run_id, stage.name))
        if stage.each is None and stage.policy.approve is None and not stage.policy.cache:
            self._crew.add(self._stage, node, limited=bool(stage.agents))
        else:
            self._crew.add(self._open, node)

    async def _stage(self, node: Node, items: Items | None = None, index: int = 0) -> None:
        """The stage, or one of its items, to what follows from its end. One coroutine, because many wait within one."""
        stage = node.stage
        if items is None:
            bind_here(stage=stage.name)
        else:
            bind_here(stage=stage.name, item=str(index))
        turn = Turn(self, node, "" if items is None else str(index), seated=bool(stage.agents))
        ASKING.set(turn)
        try:
            if stage.policy.forgiving:
                value = await self._forgiven(turn, node, items, index)
            else:
                value = self._wiring.called(turn, node, items, index)
                if inspect.isawaitable(value):
                    value = await (value if stage.timeout is None else _in_time(turn, stage, value))
                close_left_open()
                check_result(stage, value)
            if items is None:
                await self._end(node, value)
            elif items.take(index, value):
                await self._end(node, items.taken())
        except BaseException as error:  # noqa: BLE001 - it becomes the run's own failure
            close_left_open()
            await self._fail(node, await mine(stage, error, turn.item), turn.item)

    async def _forgiven(self, turn: Turn, node: Node, items: Items | None, index: int) -> Any:
        """What the stage gives within its policy; LEFT_OUT where the run is to do without."""
        stage = node.stage

        async def body() -> Any:
            try:
                value = self._wiring.called(turn, node, items, index)
                if inspect.isawaitable(value):
                    value = await _in_time(turn, stage, value)
                check_result(stage, value)
            except BaseException as error:
                failure = await mine(stage, error, turn.item)
                if failure is error:
                    raise
                raise failure from error
            return value

        async def failed(failure: VwtError, wait: Seconds) -> None:
            node.retries += 1
            log.warning("stage.retried", error=failure.message, wait=round(wait, 3))
            self._board.say(f"{called_by(stage, turn.item)} is tried again in {wait:.1f} s: {failure.message}")
            await self._event("stage.retried", node, turn.item, error=failure.message, wait=round(wait, 3))

        try:
            return await turn.tried(
                stage,
                body,
                failure=lambda error: failure_of(stage, error, turn.item),
                failed=failed,
                seed=self._seed,
            )
        except VwtError as failure:
            on_error = stage.policy.on_error
            if on_error == "fail" or not forgivable(failure):
                raise
            return await self._stand_in(node, on_error, failure, turn.item)

    async def _stand_in(self, node: Node, on_error: Fallback | str, failure: VwtError, item: str) -> Any:
        """What a stage that failed gives all the same."""
        word = "fallback" if isinstance(on_error, Fallback) else "skipped"
        node.note = failure.message if not item else f"item {item}: {failure.message}"
        log.warning("stage.forgiven", outcome=word, error=failure.message, exc_info=failure.__cause__)
        self._board.say(f"{called_by(node.stage, item)}: {word}, because {failure.message}")
        if item:
            node.stood_in = "partial"
            await self._event(f"item.{word}", node, item, error=failure.message)
        elif isinstance(on_error, Fallback):
            node.stood_in = "fallback"
        return on_error.value if isinstance(on_error, Fallback) else LEFT_OUT

    async def _open(self, node: Node) -> None:
        """Begin a stage that may be there already, that a person has to approve, or that runs once per item."""
        stage = node.stage
        bind_here(stage=stage.name)
        try:
            if stage.policy.cache and await self._is_cached(node):
                return
            if stage.policy.approve is not None:
                await Turn(self, node, "", seated=False).permission(stage.policy.approve)
            given = self._wiring.items(node.stage) if stage.each is not None else [None]
            if not given:
                await self._end(node, [])
        except BaseException as error:  # noqa: BLE001 - as above
            await self._refuse(node, await mine(stage, error))
            return
        if stage.each is None:
            self._crew.add(self._stage, node, limited=bool(stage.agents))
            return
        items = Items.of(given)
        for index in range(len(given)):
            self._crew.add(self._stage, node, items, index, limited=bool(stage.agents))

    async def _is_cached(self, node: Node) -> bool:
        found = await self._recall.cached(node.stage) if self._recall is not None else None
        if found is None:
            return False
        self._from_another_run(node, found)
        log.info("stage.cached", run_of=found.run)
        await self._end(node, found.value, "cached")
        return True

    async def _refuse(self, node: Node, error: Exception) -> None:
        """What becomes of a stage that could not begin."""
        on_error = node.stage.policy.on_error
        if not isinstance(error, NotApproved) or on_error == "fail":
            await self._fail(node, error)
            return
        try:
            value = await self._stand_in(node, on_error, error, "")
            if node.stage.each is not None and value is not LEFT_OUT:
                value = [value for _ in self._wiring.items(node.stage)]
            await self._end(node, value)
        except Exception as unwritten:  # noqa: BLE001 - as above
            await self._fail(node, unwritten)

    async def _leave_out(self, node: Node, why: str) -> None:
        """End a stage that cannot be begun, because the run does without one that it needs."""
        node.note, node.started = why, self._loop.time()
        self._board.say(f"{node.name}: skipped, because {why}")
        try:
            await self._end(node, LEFT_OUT)
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(node, error)

    async def _end(self, node: Node, value: Any, status: StageStatus = "done") -> None:
        name = node.stage.name
        if value is LEFT_OUT:
            status, value = "skipped", None
            self._walk.skipped = True
        elif node.stood_in is not None:
            status = node.stood_in
        self._walk.values[name] = value
        seconds = self._mark_ended(node, status)
        if self._recall is not None:
            await self._write_end(node, status, value, seconds)
        log.info("stage.done", stage=name, seconds=seconds, status=status)
        if self._tell is not None:
            self._tell(StepEnded(self._run_id, name))
        followers = self._advance(self._walk.freed(node))
        if self._origins:
            await self._tell_origins()
        for follower in followers:
            self._begin(follower)

    async def _fail(self, node: Node, error: Exception, item: str = "") -> None:
        """End the run, and write down why; a journal that cannot be written must not hide what it would have held."""
        failure = failure_of(node.stage, error, item)
        self._failure = self._failure or failure
        self._crew.stop()
        if node.status == "failed":  # by another of its items
            return
        foreign = failure.__cause__ if isinstance(failure, StageFailed) else None
        if foreign is not None:
            log.error("stage.failed", exc_info=foreign, error=failure.message)
        else:
            log.warning("stage.failed", error=failure.message)
        with anyio.CancelScope(shield=True):
            try:
                seconds = self._mark_ended(node, "failed")
                await self._write_end(node, "failed", {"error": failure.message}, seconds)
            except VwtError as unwritten:
                log.warning("stage.failed", error=unwritten.message)

    def _mark_ended(self, node: Node, status: StageStatus) -> Seconds:
        """Let everybody see that it has ended; the seconds it took."""
        node.status, node.ended = status, self._loop.time()
        self._board.changed()
        return node.seconds(node.ended)

    async def _write_end(self, node: Node, status: StageStatus, value: Any, seconds: Seconds) -> None:
        if self._recall is None:
            return
        if status == "skipped":
            value = {"why": node.note}
        needed = self._walk.is_needed(node)
        await self._recall.ended(node.stage, status, value, seconds, at_once=self._crew.alone, needed=needed)

    async def _event(self, name: str, node: Node, item: str, **said: Any) -> None:
        if self._recall is not None:
            await self._recall.event(name, node.stage, item, **said)

    # -- what its turns ask for ---------------------------------------------------------------------------------------

    @property
    def approvals(self) -> Approvals:
        """Who asks a person; made by the first that asks, because most runs ask nobody."""
        if self._approvals is None:
            self._approvals = Approvals(self._run_id, self._journal, self._board, past=self._past.approvals)
        return self._approvals

    def aside(self) -> AbstractContextManager[None]:
        """The seat of the turn that asks is another's within the block."""
        return self._crew.aside()

    def mark(self, stage: Stage) -> str:
        """What the code and the values of a stage are known by; empty without a journal."""
        return self._recall.mark(stage) if self._recall is not None else ""


async def _in_time(turn: Turn, stage: Stage, value: Awaitable[Any]) -> Any:
    with turn.limited(stage.timeout):
        return await value
    raise too_slow(stage)
