"""Walks a checked graph: each stage as a coroutine once what it needs is there, at most `max_agents` of them with agents.

Owns the stage values, the wiring of their arguments and the journal entries of stages and calls. It picks no model and waits
for no memory: that is the caller's business. Loops and branches are the stage's own Python.
"""

from __future__ import annotations

import inspect
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from vwt_agents.agents import Agent, StageScope, side_by_side
from vwt_agents.board import Board, CallLine, StageLine
from vwt_agents.entries import Entry, call_entry, fingerprint, request_fingerprint
from vwt_agents.errors import DefinitionError, Fault, StageFailed, VwtError
from vwt_agents.eventlog import bound, get_logger
from vwt_agents.messages import Chunk
from vwt_agents.pipeline import Place
from vwt_agents.run import Run, RunFolder
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vwt_agents.config import Settings
    from vwt_agents.graph import Graph, Stage
    from vwt_agents.journal import Journal
    from vwt_agents.messages import Caller, OnChunk, Request, Response
    from vwt_agents.routing import Plan

__all__ = ["JournalingCaller", "Runner"]

log = get_logger(__name__)


class JournalingCaller:
    """A Caller that answers from the run's journal where it can, and journals every answer that had to be asked for."""

    def __init__(
        self,
        caller: Caller,
        journal: Journal,
        run_id: str,
        line: StageLine,
        board: Board,
        known: Mapping[str, deque[Response]],
    ) -> None:
        self._known = known
        self._caller = caller
        self._journal = journal
        self._run = run_id
        self._line = line
        self._board = board

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The journaled answer to this very request, or a new one; durable before it is returned.

        A request that was made several times has several answers; each is used once, in their order.
        """
        known = self._known.get(request_fingerprint(request)) if self._known else None
        if known:
            response = known.popleft()
            if on_chunk is not None and response.text:
                on_chunk(Chunk(response.text))
            self._count(request, response)
            return response
        started, now = anyio.current_time(), datetime.now(UTC)
        line = CallLine(request.labels.get("agent", ""), request.model)
        self._line.in_flight[id(line)] = line
        try:
            response = await self._caller.call(request, _counting(line, on_chunk))
        except VwtError as error:
            await self._keep(request, error.message, started, now)
            raise
        finally:
            del self._line.in_flight[id(line)]
        self._count(request, response)
        await self._keep(request, response, started, now)
        return response

    async def _keep(self, request: Request, answer: Response | str, started: float, now: datetime) -> None:
        seconds = anyio.current_time() - started
        key = request.labels.get("item", "")
        entry = call_entry(self._run, request, answer, name=self._line.name, key=key, started_at=now, seconds=seconds)
        await self._journal.append(entry)

    def _count(self, request: Request, response: Response) -> None:
        line, usage = self._line, response.usage
        line.calls += 1
        if request.model not in line.models:
            line.models.append(request.model)
        if request.endpoint not in line.endpoints:
            line.endpoints.append(request.endpoint)
        if response.replayed:
            line.replayed += 1
        line.prompt_tokens += usage.prompt_tokens
        line.output_tokens += usage.output_tokens
        line.cached_tokens += usage.cached_tokens or 0
        line.wait_s += usage.wait_s
        line.load_s += usage.load_s
        line.output_s += usage.output_s
        self._board.changed()


def _counting(line: CallLine, on_chunk: OnChunk | None) -> OnChunk:
    def count(chunk: Any) -> None:
        if line.first is None:
            line.first = anyio.current_time()
        line.pieces += 1
        if on_chunk is not None:
            on_chunk(chunk)

    return count


@dataclass(slots=True)
class _Node:
    stage: Stage
    line: StageLine
    done: anyio.Event = field(default_factory=anyio.Event)
    encoded: str = ""  # its value as JSON, once for the journal and all who need it


class Runner:
    """One run of one graph. `run(inputs)` gives every stage's value by name; a stage's failure ends the run as itself."""

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        settings: Settings,
        *,
        run_id: str,
        caller: Caller,
        journal: Journal,
        folder: RunFolder,
        services: Mapping[str, Any],
        board: Board,
        seed: int = 0,
        known: Mapping[str, Sequence[Response]] | None = None,
    ) -> None:
        self._known = {key: deque(answers) for key, answers in (known or {}).items()}
        self._graph = graph
        self._plan = plan
        self._settings = settings
        self._run_id = run_id
        self._caller = caller
        self._journal = journal
        self._folder = folder
        self._services = services
        self._board = board
        self._seed = seed
        self._limiter = anyio.CapacityLimiter(settings.scheduler.max_agents)
        self._failure: VwtError | None = None
        self._values: dict[str, Any] = {}
        self._inputs: dict[str, str] = {}
        self._nodes = {
            stage.name: _Node(stage, StageLine(stage.name, stage.agents, stage.needs)) for stage in graph.stages
        }
        board.stages = {name: node.line for name, node in self._nodes.items()}

    @property
    def values(self) -> dict[str, Any]:
        """What the stages that ended well gave, by stage name, in the graph's order."""
        return {name: self._values[name] for name in self._nodes if name in self._values}

    async def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every stage's value, once all have ended; the first stage that fails stops the others and is raised."""
        self._inputs = {name: encode(value) for name, value in inputs.items()}
        async with anyio.create_task_group() as tasks:
            for node in self._nodes.values():
                tasks.start_soon(self._run_node, node, inputs, tasks.cancel_scope)
        if self._failure is not None:
            raise self._failure
        return self.values

    async def _run_node(self, node: _Node, inputs: Mapping[str, Any], scope: anyio.CancelScope) -> None:
        for need in node.stage.needs:
            await self._nodes[need].done.wait()
        line, stage = node.line, node.stage
        line.status, line.started = "running", anyio.current_time()
        self._board.changed()
        try:
            with bound(stage=stage.name):
                log.info("stage.started")
                value = await self._value(node, inputs)
                node.encoded = encode(value)
                self._values[stage.name] = value
                await self._ended(node, "done", node.encoded)
                log.info("stage.done", seconds=line.seconds(anyio.current_time()))
        except Exception as error:  # noqa: BLE001 - it becomes the run's own failure
            failure = _failure(stage, error)
            self._failure = self._failure or failure
            scope.cancel()
            await self._told(node, failure)
        except BaseException:
            if line.status == "running":
                line.status, line.ended = "stopped", anyio.current_time()
            raise
        else:
            node.done.set()

    async def _told(self, node: _Node, failure: VwtError) -> None:
        """Write a failure down; a journal that cannot be written must not hide what it would have held."""
        foreign = failure.__cause__ if isinstance(failure, StageFailed) else None
        with bound(stage=node.stage.name):
            if foreign is not None:
                log.error("stage.failed", exc_info=foreign, error=failure.message)
            else:
                log.warning("stage.failed", error=failure.message)
        with anyio.CancelScope(shield=True):
            try:
                await self._ended(node, "failed", encode({"error": failure.message}))
            except VwtError as error:
                log.warning("stage.failed", stage=node.stage.name, error=error.message)

    async def _ended(self, node: _Node, status: Any, payload: str) -> None:
        line = node.line
        line.status, line.ended = status, anyio.current_time()
        self._board.changed()
        await self._journal.append(
            Entry(
                run=self._run_id,
                kind="stage",
                name=line.name,
                fingerprint=self._fingerprint(node.stage),
                status=status,
                seconds=line.seconds(line.ended),
                payload=payload,
            )
        )

    def _fingerprint(self, stage: Stage) -> str:
        inputs = {param.source: self._inputs[param.source] for param in stage.params if param.role == "input"}
        return fingerprint(stage.fingerprint(), [self._nodes[need].encoded for need in stage.needs], inputs)

    # -- one stage --------------------------------------------------------------------------------------------------

    async def _value(self, node: _Node, inputs: Mapping[str, Any]) -> Any:
        stage = node.stage
        each = stage.each
        if each is None:
            return await self._once(node, inputs, "", {})
        fed = next(param for param in stage.params if param.name == each.parameter)
        items = fed.value(self._values, inputs)
        if isinstance(items, str | bytes) or not hasattr(items, "__iter__"):
            what = f"{each.source!r} gave {type(items).__name__}, which has no items"
            raise DefinitionError([Fault(stage.where, f"stage {stage.name!r}: each={each.source!r}, but {what}")])
        listed = list(items)

        async def one(index: int) -> Any:
            try:
                return await self._once(node, inputs, str(index), {each.parameter: listed[index]})
            except Exception as error:  # noqa: BLE001 - handed on as the item's own failure
                failure = _failure(stage, error, str(index))
                raise failure from failure.__cause__

        return await side_by_side(one, len(listed))

    async def _once(self, node: _Node, inputs: Mapping[str, Any], item: str, bound_items: Mapping[str, Any]) -> Any:
        stage = node.stage
        routes = [self._plan.routes[stage.name, name] for name in stage.agents]
        larger = any(route.escalated is not None for route in routes)
        scope = StageScope(self._run_id, stage.name, self._seed, item, can_escalate=larger)
        caller = JournalingCaller(self._caller, self._journal, self._run_id, node.line, self._board, self._known)
        arguments = dict(bound_items)
        agents = {name: self._agent(stage, name, caller, scope) for name in stage.agents}
        for param in stage.params:
            if param.name in arguments:
                continue
            if param.role == "agent":
                arguments[param.name] = agents[param.source]
            elif param.role == "service":
                arguments[param.name] = self._service(param.source, node, scope)
            else:
                arguments[param.name] = param.value(self._values, inputs)
        if not stage.agents:
            return await self._body(stage, arguments, agents)
        async with self._limiter:
            return await self._body(stage, arguments, agents)

    async def _body(self, stage: Stage, arguments: Mapping[str, Any], agents: Mapping[str, Agent]) -> Any:
        try:
            with anyio.move_on_after(stage.timeout):
                value = stage.func(**arguments)
                if inspect.isawaitable(value):
                    value = await value
                if stage.kind == "ask":
                    value = await agents[stage.agent or stage.agents[0]].ask(value, stage.returns)
                return value
        except SystemExit as error:
            raise StageFailed(f"stage {stage.name!r} called exit({error.code!r}) ({_place(stage, error)})") from error
        raise StageFailed(
            f"stage {stage.name!r} took longer than its limit of {stage.timeout or 0:g} s ({stage.where})",
            hint="raise the stage's timeout=, or give it less to do",
        )

    def _agent(self, stage: Stage, name: str, caller: Caller, scope: StageScope) -> Agent:
        return Agent(self._settings.agents[name], self._plan.routes[stage.name, name], caller=caller, scope=scope)

    def _service(self, name: str, node: _Node, scope: StageScope) -> Any:
        if name == "Run":
            return Run(
                self._run_id, scope, line=node.line, board=self._board, journal=self._journal, folder=self._folder
            )
        return self._services[name]


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
