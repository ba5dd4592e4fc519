"""Runs a checked graph: each stage once what it needs is there, at most `max_agents` of them with agents at once.

Owns when a stage begins and what becomes of it, and which need not be done: the run's own journal or another run's has
them. What comes next is `walk`'s business, what a stage is called with `wiring`'s, who is told of it `progress`'s. It picks
no model and waits for no memory: that is the caller's. Loops and branches are the stage's own Python.

What a stage returned is durable before a stage that needs it begins. Whether an old result still counts is decided by its
fingerprint: the stage's code, the values it needs and its inputs, so what follows from a change is done again by itself.
What can be known before a run is worked out when the Runner is made, so that a stage costs little more than its body and
its commit (`bench/overhead.py`).
"""

from __future__ import annotations

import inspect
from collections import deque
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.approval import ASKING
from vwt_agents.approvals import Approvals
from vwt_agents.cancellation import close_left_open, untouched
from vwt_agents.crew import Crew
from vwt_agents.errors import NotApproved, VwtError
from vwt_agents.eventlog import bind_here
from vwt_agents.limits import Spent
from vwt_agents.past import Past
from vwt_agents.pipeline import Fallback
from vwt_agents.progress import Progress
from vwt_agents.recall import Changed, Recall
from vwt_agents.stage_failures import check_result, check_turn, failure_of, mine
from vwt_agents.tries import Turn, forgivable
from vwt_agents.walk import LEFT_OUT, Node, Walk
from vwt_agents.wiring import Items, Wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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

__all__ = ["Runner"]

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

    __slots__ = ("_approvals", "_crew", "_failure", "_progress", "_recall", "_walk", "_wiring")

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
        past = past if past is not None else _NO_PAST
        answers = {key: deque(given) for key, given in known.items()} if known else past.known
        self._crew = Crew(settings.scheduler.max_agents)
        self._failure: VwtError | None = None
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
                past=past,
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
            past=past,
            inputs=_NOTHING,
            recall=self._recall,
        )
        self._progress = Progress(
            run_id, self._walk, board=board, recall=self._recall, steps=steps, tell=tell, priority=priority
        )

    @property
    def values(self) -> dict[str, Any]:
        """What the stages that ended well gave, by stage name, in the graph's order; those that were skipped gave nothing."""
        return self._walk.given()

    async def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every stage's value, once all have ended; the first stage that fails stops the others and is raised."""
        self._progress.open()
        self._wiring.inputs = inputs
        if self._recall is not None:
            self._recall.begin(inputs)
        begun = self._advance(self._walk.first())
        await self._progress.tell_origins()
        self._progress.announce()
        try:
            for node in begun:
                self._begin(node)
            del begun  # all the time that the run takes, nobody needs it
            await self._crew.run()
        finally:
            self._progress.close()
        if self._failure is not None:
            raise self._failure
        self._walk.check_all_ended()
        return self.values

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
        if found is None:
            return False
        if isinstance(found, Changed):
            self._progress.changed(node, found.why)
            return False
        self._walk.values[node.name] = found.value
        self._progress.kept(node, found)
        return True

    # -- one stage --------------------------------------------------------------------------------------------------

    def _begin(self, node: Node) -> None:
        stage = node.stage
        if lost := self._walk.lost(node):
            self._crew.add(self._leave_out, node, f"it needs {', '.join(dict.fromkeys(lost))}, which was skipped")
            return
        self._progress.began(node)
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
                    value = await (value if stage.timeout is None else turn.in_time(stage, value))
                if not untouched():
                    close_left_open()
                    check_turn(stage)
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
                    value = await turn.in_time(stage, value)
                check_turn(stage)
                check_result(stage, value)
            except BaseException as error:
                failure = await mine(stage, error, turn.item)
                if failure is error:
                    raise
                raise failure from error
            return value

        try:
            return await turn.tried(
                stage, body, failed=partial(self._progress.retried, node, turn.item), seed=self._wiring.seed
            )
        except VwtError as failure:
            on_error = stage.policy.on_error
            if on_error == "fail" or not forgivable(failure):
                raise
            return await self._stand_in(node, on_error, failure, turn.item)

    async def _stand_in(self, node: Node, on_error: Fallback | str, failure: VwtError, item: str) -> Any:
        """What a stage that failed gives all the same."""
        fallback = on_error if isinstance(on_error, Fallback) else None
        await self._progress.forgiven(node, item, failure, "skipped" if fallback is None else "fallback")
        return LEFT_OUT if fallback is None else fallback.value

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
        self._progress.cached(node, found)
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
        self._progress.left_out(node, why)
        try:
            await self._end(node, LEFT_OUT)
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(node, error)

    async def _end(self, node: Node, value: Any, status: StageStatus = "done") -> None:
        if value is LEFT_OUT:
            status, value = "skipped", None
            self._walk.skipped = True
        elif node.stood_in is not None:
            status = node.stood_in
        self._walk.values[node.name] = value
        await self._progress.ended(node, status, value, at_once=self._crew.alone)
        followers = self._advance(self._walk.freed(node))
        if self._progress.untold:
            await self._progress.tell_origins()
        for follower in followers:
            self._begin(follower)

    async def _fail(self, node: Node, error: Exception, item: str = "") -> None:
        """End the run, and write down why."""
        failure = failure_of(node.stage, error, item)
        self._failure = self._failure or failure
        self._crew.stop()
        if node.status != "failed":  # else by another of its items
            await self._progress.failed(node, failure, at_once=self._crew.alone)

    # -- what its turns ask for ---------------------------------------------------------------------------------------

    @property
    def approvals(self) -> Approvals:
        """Who asks a person; made by the first that asks, because most runs ask nobody."""
        if self._approvals is None:
            run = self._wiring
            self._approvals = Approvals(run.run_id, run.journal, run.board, past=run.past.approvals)
        return self._approvals

    def aside(self) -> AbstractContextManager[None]:
        """The seat of the turn that asks is another's within the block."""
        return self._crew.aside()

    def mark(self, stage: Stage) -> str:
        """What the code and the values of a stage are known by; empty without a journal."""
        return self._recall.mark(stage) if self._recall is not None else ""
