"""Walks a checked graph: each stage as a coroutine once what it needs is there, at most `max_agents` of them with agents.

Owns the stage values, the wiring of their arguments and the journal entries of stages and calls. It picks no model and waits
for no memory: that is the caller's business. Loops and branches are the stage's own Python.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from vwt_agents.agents import Agent, StageScope
from vwt_agents.board import Board, CallLine, StageLine
from vwt_agents.entries import Entry, call_entry, fingerprint, request_fingerprint
from vwt_agents.errors import DefinitionError, Fault, StageFailed, VwtError
from vwt_agents.eventlog import bound, get_logger
from vwt_agents.run import Run, RunFolder
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        self, caller: Caller, journal: Journal, run_id: str, line: StageLine, board: Board, known: dict[str, Response]
    ) -> None:
        self._known = known
        self._caller = caller
        self._journal = journal
        self._run = run_id
        self._line = line
        self._board = board

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The journaled answer to this very request, or a new one; durable before it is returned."""
        known = self._known.pop(request_fingerprint(request), None)
        if known is not None:
            self._count(request, known)
            return known
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
    value: Any = None


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
        known: Mapping[str, Response] | None = None,
    ) -> None:
        self._known = dict(known or {})
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
        self._nodes = {
            stage.name: _Node(stage, StageLine(stage.name, stage.agents, stage.needs)) for stage in graph.stages
        }
        board.stages = {name: node.line for name, node in self._nodes.items()}

    @property
    def values(self) -> dict[str, Any]:
        """What the stages that ended well gave, by stage name."""
        return {name: node.value for name, node in self._nodes.items() if node.line.status == "done"}

    async def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every stage's value, once all have ended; the first stage that fails stops the others and is raised."""
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
                node.value = await self._value(node, inputs)
                await self._ended(node, "done", encode(node.value))
                log.info("stage.done", seconds=line.seconds(anyio.current_time()))
        except Exception as error:
            failure = error if isinstance(error, VwtError) else _failed(stage, error)
            with anyio.CancelScope(shield=True):
                await self._ended(node, "failed", encode({"error": failure.message}))
            log.exception("stage.failed", stage=stage.name, error=failure.message)
            self._failure = self._failure or failure
            scope.cancel()
        except BaseException:
            line.status, line.ended = "stopped", anyio.current_time()
            raise
        else:
            node.done.set()

    async def _ended(self, node: _Node, status: Any, payload: str) -> None:
        line = node.line
        line.status, line.ended = status, anyio.current_time()
        self._board.changed()
        await self._journal.append(
            Entry(
                run=self._run_id,
                kind="stage",
                name=line.name,
                fingerprint=fingerprint(node.stage.fingerprint(), [self._encoded(need) for need in node.stage.needs]),
                status=status,
                seconds=line.seconds(line.ended),
                payload=payload,
            )
        )

    def _encoded(self, stage: str) -> str:
        return encode(self._nodes[stage].value)

    # -- one stage --------------------------------------------------------------------------------------------------

    async def _value(self, node: _Node, inputs: Mapping[str, Any]) -> Any:
        stage = node.stage
        each = stage.each
        if each is None:
            return await self._once(node, inputs, "", {})
        items = self._nodes[each.source].value if each.source in self._nodes else inputs[each.source]
        if isinstance(items, str | bytes) or not hasattr(items, "__iter__"):
            what = f"{each.source!r} gave {type(items).__name__}, which has no items"
            raise DefinitionError([Fault(stage.where, f"stage {stage.name!r}: each={each.source!r}, but {what}")])
        listed = list(items)
        results: list[Any] = [None] * len(listed)
        failures: list[Exception] = []

        async def one(index: int) -> None:
            try:
                results[index] = await self._once(node, inputs, str(index), {each.parameter: listed[index]})
            except Exception as error:  # noqa: BLE001 - handed on as it is
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for index in range(len(listed)):
                tasks.start_soon(one, index)
        if failures:
            raise failures[0]
        return results

    async def _once(self, node: _Node, inputs: Mapping[str, Any], item: str, bound_items: Mapping[str, Any]) -> Any:
        stage = node.stage
        scope = StageScope(self._run_id, stage.name, self._seed, item)
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
                arguments[param.name] = param.value(self.values, inputs)
        if not stage.agents:
            return await self._body(stage, arguments, agents)
        async with self._limiter:
            return await self._body(stage, arguments, agents)

    async def _body(self, stage: Stage, arguments: Mapping[str, Any], agents: Mapping[str, Agent]) -> Any:
        try:
            with anyio.fail_after(stage.timeout):
                value = stage.func(**arguments)
                if inspect.isawaitable(value):
                    value = await value
                if stage.kind == "ask":
                    value = await agents[stage.agent or stage.agents[0]].ask(value, stage.returns)
                return value
        except TimeoutError as error:
            if stage.timeout is None:
                raise
            raise StageFailed(
                f"stage {stage.name!r} took longer than its limit of {stage.timeout:g} s ({stage.where})",
                hint="raise the stage's timeout=, or give it less to do",
            ) from error

    def _agent(self, stage: Stage, name: str, caller: Caller, scope: StageScope) -> Agent:
        return Agent(self._settings.agents[name], self._plan.routes[stage.name, name], caller=caller, scope=scope)

    def _service(self, name: str, node: _Node, scope: StageScope) -> Any:
        if name == "Run":
            return Run(
                self._run_id, scope, line=node.line, board=self._board, journal=self._journal, folder=self._folder
            )
        return self._services[name]


def _failed(stage: Stage, error: Exception) -> StageFailed:
    import traceback

    inside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == stage.func.__code__.co_filename
    ]
    where = f"{inside[-1].filename}:{inside[-1].lineno}" if inside else stage.where
    failure = StageFailed(
        f"stage {stage.name!r} raised {type(error).__name__}: {error} ({where})",
        hint="the whole traceback is in the run's log.jsonl",
    )
    failure.__cause__ = error
    return failure
