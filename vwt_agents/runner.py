"""Walks a checked graph: each stage once what it needs is there, at most `max_agents` of them with agents at once.

Owns the stage values, the wiring of their arguments and the journal entries of stages. It picks no model and waits for no
memory: that is the caller's business. Loops and branches are the stage's own Python.

What a stage returned is durable before a stage that needs it begins. What can be known before a run is worked out when
the Runner is made, so that a stage costs little more than its body and its commit (`bench/overhead.py`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.agents import Agent, StageScope
from vwt_agents.board import Board, StageLine
from vwt_agents.core import Announced, RunEnded, StepBegan, StepEnded
from vwt_agents.crew import Crew
from vwt_agents.entries import Entry
from vwt_agents.errors import DefinitionError, Fault, StageFailed, VwtError
from vwt_agents.eventlog import bind_here, get_logger
from vwt_agents.journaling import JournalingCaller
from vwt_agents.limits import Spent
from vwt_agents.pipeline import Place
from vwt_agents.run import Run, RunFolder
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Literal

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

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class _Node(StageLine):
    """One stage on its way, as the board sees it, and: how many of the stages it needs have not ended yet, and the
    sha256 of its value's JSON.
    """

    stage: Stage = field(kw_only=True)
    lacks: int = field(kw_only=True)
    digest: bytes = b""


@dataclass(slots=True, eq=False)
class _Items:
    """The items of a stage that runs once for each, their results, and how many of those are still to come."""

    given: list[Any]
    results: list[Any]
    to_come: int


class Runner:
    """One run of one graph. `run(inputs)` gives every stage's value by name; a stage's failure ends the run as itself.

    Without a journal (None) nothing is kept, and the run cannot be resumed. `steps` are announced through `tell` before the
    first stage begins, and which of them begins and ends, so that the scheduler can look ahead; `priority` is the run's
    class. What the stages' calls cost is counted in `spent`, and a call beyond its limits fails its stage.
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
    ) -> None:
        self._priority: Priority = priority
        self._spent = spent if spent is not None else Spent()
        self._steps = steps
        self._tell = tell if steps else None
        self._known = {key: deque(answers) for key, answers in known.items()} if known else _NONE
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
        self._inputs: Mapping[str, Any] = {}
        self._input_digests: Mapping[str, bytes] = _NONE
        self._followers = graph.followers
        self._nodes = {
            stage.name: _Node(stage.name, stage.agents, stage.needs, stage=stage, lacks=len(set(stage.needs)))
            for stage in graph.stages
        }
        board.stages = self._nodes

    @property
    def values(self) -> dict[str, Any]:
        """What the stages that ended well gave, by stage name, in the graph's order."""
        return {name: self._values[name] for name in self._nodes if name in self._values}

    async def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every stage's value, once all have ended; the first stage that fails stops the others and is raised."""
        self._clock = asyncio.get_running_loop().time
        self._inputs = inputs
        if self._journal is not None and inputs:
            self._input_digests = {name: _digest(encode(value)) for name, value in inputs.items()}
        if self._tell is not None:
            self._tell(Announced(self._run_id, self._steps, self._priority))
        try:
            for node in self._nodes.values():
                if not node.lacks:
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

    # -- one stage --------------------------------------------------------------------------------------------------

    def _begin(self, node: _Node) -> None:
        stage = node.stage
        node.status, node.started = "running", self._clock()
        self._board.changed()
        log.info("stage.started", stage=stage.name)
        if (
            self._tell is not None and not stage.agents
        ):  # one with agents begins, for the scheduler, with its first call
            self._tell(StepBegan(self._run_id, stage.name))
        if stage.each is None:
            self._crew.add(self._stage, node, limited=bool(stage.agents))
        else:
            self._crew.add(self._open, node)

    async def _stage(self, node: _Node, items: _Items | None = None, index: int = 0) -> None:
        """The stage, or one of its items, to what follows from its end. One coroutine, because many wait within one."""
        stage = node.stage
        bind_here(stage=stage.name, **({} if items is None else {"item": str(index)}))
        try:
            try:
                value = self._called(node, items, index)
                if inspect.isawaitable(value):
                    value = await (value if stage.timeout is None else _in_time(stage, value))
            except SystemExit as error:
                where = _place(stage, error)
                raise StageFailed(f"stage {stage.name!r} called exit({error.code!r}) ({where})") from error
            if items is not None:
                items.results[index] = value
                items.to_come -= 1
                value = items.results
            if items is None or not items.to_come:
                await self._end(node, value)
        except Exception as error:  # noqa: BLE001 - it becomes the run's own failure
            await self._fail(node, error, "" if items is None else str(index))

    async def _open(self, node: _Node) -> None:
        """Begin a stage that runs once per item."""
        bind_here(stage=node.stage.name)
        try:
            given = self._items(node)
            if not given:
                await self._end(node, [])
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(node, error)
            return
        items = _Items(given, [None] * len(given), len(given))
        for index in range(len(given)):
            self._crew.add(self._stage, node, items, index, limited=bool(node.stage.agents))

    async def _end(self, node: _Node, value: Any) -> None:
        name = node.stage.name
        self._values[name] = value
        await self._ended(node, "done", value)
        log.info("stage.done", stage=name, seconds=node.seconds(self._clock()))
        if self._tell is not None:
            self._tell(StepEnded(self._run_id, name))
        for follower in map(self._nodes.__getitem__, self._followers[name]):
            follower.lacks -= 1
            if not follower.lacks:
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

    async def _ended(self, node: _Node, status: Literal["done", "failed"], value: Any) -> None:
        node.status, node.ended = status, self._clock()
        self._board.changed()
        if self._journal is None:
            return
        payload = encode(value)
        node.digest = _digest(payload) if self._followers[node.name] else b""
        await self._journal.append(
            Entry(
                run=self._run_id,
                kind="stage",
                name=node.name,
                fingerprint=self._fingerprint(node),
                status=status,
                seconds=node.seconds(node.ended),
                payload=payload,
            ),
            at_once=self._crew.alone,
        )

    def _fingerprint(self, node: _Node) -> str:
        """Of the stage's code, the values it needs and the inputs it is given: by their digests, however long they are."""
        stage = node.stage
        mark = sha256(stage.fingerprint().encode())
        for need in stage.needs:
            mark.update(self._nodes[need].digest)
        for param in stage.params:
            if param.role == "input":
                mark.update(self._input_digests[param.source])
        return mark.hexdigest()

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

    def _called(self, node: _Node, items: _Items | None, index: int) -> Any:
        """Its function's value, or what is to be awaited for it. No coroutine: nothing made here is held while it waits."""
        stage = node.stage
        values, inputs = self._values, self._inputs
        arguments = {param.name: param.value(values, inputs) for param in stage.fed}
        if items is not None and stage.each is not None:
            arguments[stage.each.parameter] = items.given[index]
        agents = self._introduce(node, "" if items is None else str(index), arguments) if stage.introduced else {}
        value = stage.func(**arguments)
        return _asked(stage, value, agents[stage.agent or stage.agents[0]]) if stage.kind == "ask" else value

    def _introduce(self, node: _Node, item: str, arguments: dict[str, Any]) -> dict[str, Agent]:
        """Hand the stage its agents and services, which know who asks; the agents by their names."""
        stage = node.stage
        routes = {name: self._plan.routes[stage.name, name] for name in stage.agents}
        larger = any(route.escalated is not None for route in routes.values())
        scope = StageScope(self._run_id, stage.name, self._seed, item, can_escalate=larger)
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
            return Run(self._run_id, scope, line=node, board=self._board, journal=self._journal, folder=self._folder)
        return self._services[name]


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


async def _in_time(stage: Stage, value: Awaitable[Any]) -> Any:
    with anyio.move_on_after(stage.timeout):
        return await value
    raise StageFailed(
        f"stage {stage.name!r} took longer than its limit of {stage.timeout:g} s ({stage.where})",
        hint="raise the stage's timeout=, or give it less to do",
    )


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
