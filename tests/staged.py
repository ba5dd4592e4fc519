"""Runs of pipelines whose calls are answered on the spot, in one journal: begun, resumed, forked, one after another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from vwt_agents.approvals import Approvals, Terminal
from vwt_agents.board import Board
from vwt_agents.config import AgentSettings, SchedulerSettings, Settings
from vwt_agents.graph import build_graph
from vwt_agents.journal import Journal
from vwt_agents.messages import OnChunk, Options, Request, Response
from vwt_agents.past import Past, inherited, read_past
from vwt_agents.pipeline import Pipeline
from vwt_agents.recall import code_marks
from vwt_agents.routing import Plan, Route
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner

LARGE = Route("s", "coder", "large", "big", "large:2b", "gpu0", 2048, 1, 600, "", "escalated")
SMALL = Route("s", "coder", "small", "here", "small:1b", "gpu0", 2048, 4, 300, "", "small", escalated=LARGE)
DIGESTS = {("here", "small:1b"): "d1", ("big", "large:2b"): "d2"}


class Calls:
    """Answers each request with its prompt in capitals, or as `answer` says, or fails with `error`.

    With a gate it holds the calls until that opens; `running` of them are at work, and at most `peak` were.
    """

    def __init__(
        self,
        answer: Callable[[Request], str] | None = None,
        *,
        error: Exception | None = None,
        gate: anyio.Event | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.running = 0
        self.peak = 0
        self._answer = answer
        self._error = error
        self._gate = gate

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        self.requests.append(request)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await anyio.lowlevel.checkpoint()
            if self._gate is not None:
                await self._gate.wait()
        finally:
            self.running -= 1
        if self._error is not None:
            raise self._error
        prompt = request.messages[-1].content
        return Response(self._answer(request) if self._answer else prompt.upper(), request.model, request.endpoint)

    @property
    def prompts(self) -> list[str]:
        return [request.messages[-1].content for request in self.requests]


@dataclass
class Staged:
    """The runs. What the last one showed is on its `board`; what it said is in `said`."""

    journal: Journal
    path: Path
    run_id: str = ""
    board: Board = field(default_factory=Board)
    said: list[str] = field(default_factory=list)
    code: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.path / self.run_id

    @property
    def status(self) -> dict[str, str]:
        return {name: line.status for name, line in self.board.stages.items()}

    async def events(self) -> list[str]:
        return [entry.name for entry in await self.journal.entries(self.run_id, "event")]

    async def run(self, pipeline: Pipeline, caller: Calls | None = None, **more: Any) -> dict[str, Any]:
        self.run_id = await self.journal.new_run(pipeline.name)
        return await self._run(pipeline, caller, Past(), **more)

    async def resume(self, pipeline: Pipeline, caller: Calls | None = None, **more: Any) -> dict[str, Any]:
        past = read_past(await self.journal.entries(self.run_id), self.code)
        return await self._run(pipeline, caller, past, **more)

    async def fork(
        self, pipeline: Pipeline, caller: Calls | None = None, *, redo: Collection[str] = (), **more: Any
    ) -> dict[str, Any]:
        entries = await self.journal.entries(self.run_id)
        past = read_past(inherited(entries, self.run_id, entries[-1].seq, redo), self.code)
        self.run_id = await self.journal.new_run(pipeline.name, parent=self.run_id, parent_seq=entries[-1].seq)
        return await self._run(pipeline, caller, past, **more)

    async def _run(
        self,
        pipeline: Pipeline,
        caller: Calls | None,
        past: Past,
        *,
        inputs: Mapping[str, Any] | None = None,
        terminal: Terminal | None = None,
        yes: bool = False,
        digests: Mapping[tuple[str, str], str] = DIGESTS,
        use_cache: bool = True,
        known: Mapping[str, Sequence[Response]] | None = None,
        options: Options | None = None,
        max_agents: int = 4,
        seed: int = 7,
    ) -> dict[str, Any]:
        self.board, self.said = Board(), []
        self.board.on_line.append(self.said.append)
        graph = build_graph(pipeline, agents=["coder"])
        self.code = code_marks(graph.stages)
        agents = {"coder": AgentSettings("coder", options=options or Options())}
        settings = Settings(None, {}, {}, agents, scheduler=SchedulerSettings(max_agents=max_agents))
        routes = {(stage.name, "coder"): replace(SMALL, stage=stage.name) for stage in graph.stages if stage.agents}
        approvals = Approvals(
            self.run_id, self.journal, self.board, past=past.approvals, everything=yes, terminal=terminal
        )
        runner = Runner(
            graph,
            Plan(False, "small", "", routes, ()),
            settings,
            run_id=self.run_id,
            caller=caller or Calls(),
            journal=self.journal,
            folder=RunFolder(self.folder),
            services={},
            board=self.board,
            seed=seed,
            past=past,
            approvals=approvals,
            digests=digests,
            use_cache=use_cache,
            known=known,
        )
        return await runner.run({item.name: item.default for item in graph.inputs} | dict(inputs or {}))
