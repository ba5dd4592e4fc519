"""Walks a checked graph: each stage once what it needs is there, at most `max_agents` of them with agents at once.

Owns the stage values, the wiring of their arguments, and which stages need not be done: the run's own journal or another
run's has them. It picks no model and waits for no memory: that is the caller's business. Loops and branches are the stage's
own Python.

What a stage returned is durable before a stage that needs it begins. Whether an old result still counts is decided by its
fingerprint: the stage's code, the values it needs and its inputs, so what follows from a change is done again by itself.
What can be known before a run is worked out when
the Runner is made, so that a stage costs little more than its body and its commit (`bench/overhead.py`).
"""

from __future__ import annotations

import asyncio
import inspect
import types
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

import anyio

from vwt_agents.agents import Agent, StageScope
from vwt_agents.approval import ASKING
from vwt_agents.approvals import Approvals
from vwt_agents.board import Board, StageLine, StageStatus
from vwt_agents.core import Announced, RunEnded, StepBegan, StepEnded
from vwt_agents.crew import Crew
from vwt_agents.errors import DefinitionError, Fault, NotApproved, StageFailed, VwtError
from vwt_agents.eventlog import bind_here, get_logger
from vwt_agents.journaling import JournalingCaller
from vwt_agents.limits import Spent
from vwt_agents.past import Past
from vwt_agents.pipeline import Fallback, Place
from vwt_agents.recall import Changed, Recall, Remembered
from vwt_agents.run import Run, RunFolder
from vwt_agents.tries import Turn, forgivable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from vwt_agents.config import Settings
    from vwt_agents.core import Step
    from vwt_agents.core.events import RunEvent
    from vwt_agents.graph import Graph, Stage
    from vwt_agents.journal import Journal
    from vwt_agents.messages import Caller, Priority, Response
    from vwt_agents.routing import Plan
    from vwt_agents.types import Seconds

__all__ = ["Runner"]

log = get_logger(__name__)

_LEFT_OUT: Final = object()
"""Stands for the result of a stage, or of an item, that the run does without."""

_NO_PAST: Final = Past()


@dataclass(slots=True, eq=False)
class _Node(StageLine):
    """One stage on its way, as the board sees it, and how many of the stages it needs have not ended yet."""

    stage: Stage = field(kw_only=True)
    lacks: int = field(kw_only=True)
    stood_in: StageStatus | None = None


@dataclass(slots=True, eq=False)
class _Items:
    """The items of a stage that runs once for each, their results, and how many of those are still to come."""

    given: list[Any]
    results: list[Any]
    to_come: int

    def take(self, index: int, result: Any) -> bool:
        """Whether it was the last to come."""
        self.results[index] = result
        self.to_come -= 1
        return not self.to_come

    def taken(self) -> list[Any]:
        """Those that were not left out, in their order."""
        return [result for result in self.results if result is not _LEFT_OUT]


class Runner:
    """One run of one graph. `run(inputs)` gives every stage's value by name; a stage's failure ends the run as itself.

    Without a journal (None) nothing is kept, and the run cannot be resumed. `steps` are announced through `tell` before the
    first stage begins, and which of them begins and ends, so that the scheduler can look ahead; `priority` is the run's
    class. What the stages' calls cost is counted in `spent`, and a call beyond its limits fails its stage.

    `past` is what the run has done before, of which nothing is done again that still counts; `digests` are those of the
    models by (endpoint, model), for the results that other runs may use; with `use_cache` False, none of theirs is used.
    """

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
        self._spent = spent if spent is not None else Spent()
        self._steps = steps
        self._tell = tell if steps else None
        self._past = past if past is not None else _NO_PAST
        self._known = {key: deque(answers) for key, answers in known.items()} if known else self._past.known
        self._plan = plan
        self._settings = settings
        self._run_id = run_id
        self._caller = caller
        self._journal = journal
        self._folder = folder
        self._services = services
        self._board = board
        self._seed = seed
        self._crew = Crew(settings.scheduler.max_agents)
        self._clock: Callable[[], Seconds] = anyio.current_time
        self._failure: VwtError | None = None
        self._values: dict[str, Any] = {}
        self._skipped = False  # whether any stage was
        self._origins: dict[str, Remembered] = {}  # of the stages that another run did, and nobody has written down yet
        self._inputs: Mapping[str, Any] = {}
        self._approvals = approvals
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
                digests=digests if digests is not None else {},
                use_cache=use_cache,
            )
        self._followers = graph.followers
        self._nodes = {
            stage.name: _Node(stage.name, stage.agents, stage.needs, stage=stage, lacks=len(set(stage.needs)))
            for stage in graph.stages
        }
        board.stages = self._nodes

    @property
    def values(self) -> dict[str, Any]:
        """What the stages that ended well gave, by stage name, in the graph's order; those that were skipped gave nothing."""
        there = (name for name, node in self._nodes.items() if name in self._values and node.status != "skipped")
        return {name: self._values[name] for name in there}

    async def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every stage's value, once all have ended; the first stage that fails stops the others and is raised."""
        self._clock = asyncio.get_running_loop().time
        self._inputs = inputs
        if self._recall is not None:
            self._recall.begin(inputs)
        begun = self._advance([node for node in self._nodes.values() if not node.lacks])
        await self._tell_origins()
        if self._tell is not None:
            self._tell(Announced(self._run_id, self._steps_to_come(), self._priority))
        try:
            for node in begun:
                self._begin(node)
            await self._crew.run()
        finally:
            self._mark_stopped()
            if self._tell is not None:
                self._tell(RunEnded(self._run_id))
        if self._failure is not None:
            raise self._failure
        return self.values

    def _mark_stopped(self) -> None:
        for node in self._nodes.values():
            if node.status == "running":
                node.status, node.ended = "stopped", self._clock()

    def _steps_to_come(self) -> tuple[Step, ...]:
        """The steps of the stages that are not done yet; none of them waits for one that is."""
        done = {name for name, node in self._nodes.items() if node.status == "kept"}
        return tuple(
            replace(step, after=tuple(name for name in step.after if name not in done)) if done else step
            for step in self._steps
            if step.name not in done
        )

    # -- which stages -----------------------------------------------------------------------------------------------

    def _advance(self, ready: list[_Node]) -> list[_Node]:
        """Of the stages that lack nothing any more, and of those that follow from them, the ones that have to be begun."""
        to_begin: list[_Node] = []
        while ready:
            node = ready.pop(0)
            if self._is_kept(node):
                ready += self._freed(node)
            else:
                to_begin.append(node)
        return to_begin

    def _freed(self, node: _Node) -> list[_Node]:
        """The stages that lacked nothing but this one's end."""
        followers = [self._nodes[name] for name in self._followers[node.name]]
        for follower in followers:
            follower.lacks -= 1
        return [follower for follower in followers if not follower.lacks]

    def _is_kept(self, node: _Node) -> bool:
        """Whether it need not be done: the run has done it before, from the same code and values."""
        found = self._recall.kept(node.stage) if self._recall is not None else None
        if found is None or self._recall is None:
            return False
        if isinstance(found, Changed):
            log.info("stage.changed", stage=node.name, why=found.why)
            self._board.say(f"{node.name} is done again: {found.why}")
            return False
        node.status = "kept"
        node.started = node.ended = self._clock()
        self._values[node.name] = found.value
        if found.run:
            self._from_another_run(node, found)
        else:
            self._recall.recount(node)
        self._board.changed()
        log.info("stage.kept", stage=node.name)
        return True

    def _from_another_run(self, node: _Node, found: Remembered) -> None:
        node.note = f"from run {found.run}"
        self._origins[node.name] = found

    async def _tell_origins(self) -> None:
        if self._origins and self._recall is not None:
            told, self._origins = self._origins, {}
            await self._recall.tell_origins(told)

    def _lost(self, node: _Node) -> list[str]:
        """The skipped stages that it cannot do without: a parameter that may be None is None instead."""
        return [
            need
            for param in node.stage.params
            for need in param.stages
            if self._nodes[need].status == "skipped"
            and (param not in node.stage.fed or not _optional(param.annotation))
        ]

    # -- one stage --------------------------------------------------------------------------------------------------

    def _begin(self, node: _Node) -> None:
        stage = node.stage
        if self._skipped and (lost := self._lost(node)):
            self._crew.add(self._leave_out, node, f"it needs {', '.join(dict.fromkeys(lost))}, which was skipped")
            return
        node.status, node.started = "running", self._clock()
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

    async def _stage(self, node: _Node, items: _Items | None = None, index: int = 0) -> None:
        """The stage, or one of its items, to what follows from its end. One coroutine, because many wait within one."""
        stage = node.stage
        bind_here(stage=stage.name, **({} if items is None else {"item": str(index)}))
        turn = self._turn(node, "" if items is None else str(index))
        ASKING.set(turn)
        try:
            if stage.policy.forgiving:
                value = await self._forgiven(turn, node, items, index)
            else:
                try:
                    value = self._called(turn, node, items, index)
                    if inspect.isawaitable(value):
                        value = await (value if stage.timeout is None else _in_time(turn, stage, value))
                except SystemExit as error:
                    raise _left(stage, error) from error
            if items is None:
                await self._end(node, value)
            elif items.take(index, value):
                await self._end(node, items.taken())
        except Exception as error:  # noqa: BLE001 - it becomes the run's own failure
            await self._fail(node, error, turn.item)

    async def _forgiven(self, turn: Turn, node: _Node, items: _Items | None, index: int) -> Any:
        """What the stage gives within its policy; _LEFT_OUT where the run is to do without."""
        stage = node.stage

        async def body() -> Any:
            try:
                value = self._called(turn, node, items, index)
                if inspect.isawaitable(value):
                    value = await _in_time(turn, stage, value)
            except SystemExit as error:
                raise _left(stage, error) from error
            return value

        async def failed(failure: VwtError, wait: Seconds) -> None:
            node.retries += 1
            log.warning("stage.retried", error=failure.message, wait=round(wait, 3))
            self._board.say(f"{_called_by(stage, turn.item)} is tried again in {wait:.1f} s: {failure.message}")
            await self._event("stage.retried", node, turn.item, error=failure.message, wait=round(wait, 3))

        try:
            return await turn.tried(
                stage,
                body,
                failure=lambda error: _failure(stage, error, turn.item),
                failed=failed,
                seed=self._seed,
            )
        except VwtError as failure:
            on_error = stage.policy.on_error
            if on_error == "fail" or not forgivable(failure):
                raise
            return await self._stand_in(node, on_error, failure, turn.item)

    async def _stand_in(self, node: _Node, on_error: Fallback | str, failure: VwtError, item: str) -> Any:
        """What a stage that failed gives all the same."""
        word = "fallback" if isinstance(on_error, Fallback) else "skipped"
        node.note = failure.message if not item else f"item {item}: {failure.message}"
        log.warning("stage.forgiven", outcome=word, error=failure.message, exc_info=failure.__cause__)
        self._board.say(f"{_called_by(node.stage, item)}: {word}, because {failure.message}")
        if item:
            node.stood_in = "partial"
            await self._event(f"item.{word}", node, item, error=failure.message)
        elif isinstance(on_error, Fallback):
            node.stood_in = "fallback"
        return on_error.value if isinstance(on_error, Fallback) else _LEFT_OUT

    async def _open(self, node: _Node) -> None:
        """Begin a stage that may be there already, that a person has to approve, or that runs once per item."""
        stage = node.stage
        bind_here(stage=stage.name)
        try:
            if stage.policy.cache and await self._is_cached(node):
                return
            if stage.policy.approve is not None:
                await self._turn(node, "", seated=False).permission(stage.policy.approve)
            given = self._items(node) if stage.each is not None else [None]
            if not given:
                await self._end(node, [])
        except Exception as error:  # noqa: BLE001 - as above
            await self._refuse(node, error)
            return
        if stage.each is None:
            self._crew.add(self._stage, node, limited=bool(stage.agents))
            return
        items = _Items(given, [None] * len(given), len(given))
        for index in range(len(given)):
            self._crew.add(self._stage, node, items, index, limited=bool(stage.agents))

    async def _is_cached(self, node: _Node) -> bool:
        found = await self._recall.cached(node.stage) if self._recall is not None else None
        if found is None:
            return False
        self._from_another_run(node, found)
        log.info("stage.cached", run_of=found.run)
        await self._end(node, found.value, "cached")
        return True

    async def _refuse(self, node: _Node, error: Exception) -> None:
        """What becomes of a stage that could not begin."""
        on_error = node.stage.policy.on_error
        if not isinstance(error, NotApproved) or on_error == "fail":
            await self._fail(node, error)
            return
        try:
            value = await self._stand_in(node, on_error, error, "")
            if node.stage.each is not None and value is not _LEFT_OUT:
                value = [value for _ in self._items(node)]
            await self._end(node, value)
        except Exception as unwritten:  # noqa: BLE001 - as above
            await self._fail(node, unwritten)

    async def _leave_out(self, node: _Node, why: str) -> None:
        """End a stage that cannot be begun, because the run does without one that it needs."""
        node.note, node.started = why, self._clock()
        self._board.say(f"{node.name}: skipped, because {why}")
        try:
            await self._end(node, _LEFT_OUT)
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(node, error)

    async def _end(self, node: _Node, value: Any, status: StageStatus = "done") -> None:
        name = node.stage.name
        if value is _LEFT_OUT:
            status, value = "skipped", None
            self._skipped = True
        elif node.stood_in is not None:
            status = node.stood_in
        self._values[name] = value
        await self._ended(node, status, value)
        log.info("stage.done", stage=name, seconds=node.seconds(self._clock()), status=status)
        if self._tell is not None:
            self._tell(StepEnded(self._run_id, name))
        followers = self._advance(self._freed(node))
        await self._tell_origins()
        for follower in followers:
            self._begin(follower)

    async def _fail(self, node: _Node, error: Exception, item: str = "") -> None:
        """End the run, and write down why; a journal that cannot be written must not hide what it would have held."""
        failure = _failure(node.stage, error, item)
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
                await self._ended(node, "failed", {"error": failure.message})
            except VwtError as unwritten:
                log.warning("stage.failed", error=unwritten.message)

    async def _ended(self, node: _Node, status: StageStatus, value: Any) -> None:
        node.status, node.ended = status, self._clock()
        self._board.changed()
        if self._recall is None:
            return
        if status == "skipped":
            value = {"why": node.note}
        seconds, needed = node.seconds(node.ended), bool(self._followers[node.name])
        await self._recall.ended(node.stage, status, value, seconds, at_once=self._crew.alone, needed=needed)

    async def _event(self, name: str, node: _Node, item: str, **said: Any) -> None:
        if self._recall is not None:
            await self._recall.event(name, node.stage, item, **said)

    def _turn(self, node: _Node, item: str, *, seated: bool = True) -> Turn:
        if self._approvals is None:
            self._approvals = Approvals(self._run_id, self._journal, self._board, past=self._past.approvals)
        aside = self._crew.aside if seated and node.stage.agents else None
        return Turn(node, item, self._approvals, aside, self._mark(node.stage))

    def _mark(self, stage: Stage) -> Callable[[], str] | None:
        return partial(self._recall.mark, stage) if self._recall is not None else None

    # -- its body ---------------------------------------------------------------------------------------------------

    def _items(self, node: _Node) -> list[Any]:
        stage, each = node.stage, node.stage.each
        assert each is not None
        fed = next(param for param in stage.params if param.name == each.parameter)
        items = fed.value(self._values, self._inputs)
        if isinstance(items, str | bytes) or not hasattr(items, "__iter__"):
            what = f"{each.source!r} gave {type(items).__name__}, which has no items"
            raise DefinitionError([Fault(stage.where, f"stage {stage.name!r}: each={each.source!r}, but {what}")])
        return list(items)

    def _called(self, turn: Turn, node: _Node, items: _Items | None, index: int) -> Any:
        """Its function's value, or what is to be awaited for it. No coroutine: nothing made here is held while it waits."""
        node.begun = True
        stage = node.stage
        values, inputs = self._values, self._inputs
        arguments = {param.name: param.value(values, inputs) for param in stage.fed}
        if self._skipped:
            lost = (param for param in stage.fed if any(self._nodes[need].status == "skipped" for need in param.stages))
            arguments.update((param.name, None) for param in lost)
        if items is not None and stage.each is not None:
            arguments[stage.each.parameter] = items.given[index]
        agents = self._introduce(node, turn, arguments) if stage.introduced else {}
        value = stage.func(**arguments)
        return _asked(stage, value, agents[stage.agent or stage.agents[0]]) if stage.kind == "ask" else value

    def _introduce(self, node: _Node, turn: Turn, arguments: dict[str, Any]) -> dict[str, Agent]:
        """Hand the stage its agents and services, which know who asks; the agents by their names."""
        stage = node.stage
        routes = {name: self._plan.routes[stage.name, name] for name in stage.agents}
        larger = any(route.escalated is not None for route in routes.values())
        scope = StageScope(self._run_id, stage.name, self._seed, turn.item, can_escalate=larger, retry=turn.retry)
        caller = JournalingCaller(
            self._caller, self._journal, self._run_id, node, self._board, self._known, spent=self._spent
        )
        agents = {
            name: Agent(self._settings.agents[name], route, caller=caller, scope=scope)
            for name, route in routes.items()
        }
        for param in stage.params:
            if param.role == "agent":
                arguments[param.name] = agents[param.source]
            elif param.role == "service":
                arguments[param.name] = self._service(param.source, node, scope)
        return agents

    def _service(self, name: str, node: _Node, scope: StageScope) -> Any:
        if name == "Run":
            return Run(
                self._run_id,
                scope,
                line=node,
                board=self._board,
                journal=self._journal,
                folder=self._folder,
                past=self._past,
                mark=self._mark(node.stage),
            )
        return self._services[name]


async def _in_time(turn: Turn, stage: Stage, value: Awaitable[Any]) -> Any:
    with turn.limited(stage.timeout):
        return await value
    raise StageFailed(
        f"stage {stage.name!r} took longer than its limit of {stage.timeout:g} s ({stage.where})",
        hint="raise the stage's timeout=, or give it less to do",
    )


def _left(stage: Stage, error: SystemExit) -> StageFailed:
    return StageFailed(f"stage {stage.name!r} called exit({error.code!r}) ({_place(stage, error)})")


def _called_by(stage: Stage, item: str) -> str:
    return f"{stage.name}, item {item}" if item else stage.name


def _optional(annotation: Any) -> bool:
    """Whether a parameter of this type is content with None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation in (None, types.NoneType) or types.NoneType in get_args(annotation)


async def _asked(stage: Stage, prompt: Any, agent: Agent) -> Any:
    if inspect.isawaitable(prompt):
        prompt = await prompt
    return await agent.ask(prompt, stage.returns)


def _failure(stage: Stage, error: Exception, item: str = "") -> VwtError:
    """An error of ours as it is; any other as StageFailed. Of a group of errors, the first of ours, else the first."""
    leaves = list(_leaves(error))
    ours = next((leaf for leaf in leaves if isinstance(leaf, VwtError)), None)
    if ours is not None:
        return ours
    first = leaves[0]
    said = f"{type(first).__name__}: {first}" if str(first) else type(first).__name__
    more = f" (and {len(leaves) - 1} more)" if len(leaves) > 1 else ""
    which = f"stage {stage.name!r}" + (f", item {item}," if item else "")
    failure = StageFailed(
        f"{which} raised {said}{more} ({_place(stage, first)})", hint="the whole traceback is in the run's log.jsonl"
    )
    failure.__cause__ = error
    return failure


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _place(stage: Stage, error: BaseException) -> str:
    """The last line of the stage's own file on the way to the error."""
    import traceback

    file = inspect.unwrap(stage.func).__code__.co_filename
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return str(Place(file, lines[-1])) if lines else stage.where
