"""One command's work: find the pipeline, check it, plan its routes, and run it in an opened world.

Every fault a text can have is found before anything loads.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vwt_agents.app.execution import Execution
from vwt_agents.app.job import PlannedRun, inputs_of
from vwt_agents.app.world import THIS_MACHINE, World, open_world
from vwt_agents.board import Board
from vwt_agents.config import load_settings
from vwt_agents.errors import EndpointAsleep
from vwt_agents.graph import Graph, build_graph
from vwt_agents.journal import Journal
from vwt_agents.pipeline_file import load_pipeline
from vwt_agents.routing import Plan, plan_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vwt_agents.app.job import Job
    from vwt_agents.app.outside import Outside
    from vwt_agents.approvals import Terminal
    from vwt_agents.endpoints.base import OnProgress
    from vwt_agents.result import RunResult

__all__ = ["App"]


class App:
    """Runs jobs. `board` is what views watch; `outside` is what a test puts in the place of this machine.

    `terminal` asks whoever sits there what a run asks a person.
    """

    def __init__(
        self, board: Board | None = None, *, outside: Outside = THIS_MACHINE, terminal: Terminal | None = None
    ) -> None:
        self.board = board if board is not None else Board()
        self.outside = outside
        self._terminal = terminal

    @asynccontextmanager
    async def planned(self, job: Job, *, need_inputs: bool = True, wake: bool = False) -> AsyncIterator[PlannedRun]:
        """The job checked and its routes planned, in a world that is open for the block; loads nothing.

        With `wake`, an endpoint is started for it where nothing else tells what it has.
        """
        settings = load_settings(job.config, pipeline=job.pipeline, cwd=Path.cwd())
        settings = self.outside.adjust(replace(settings, run=settings.run.under(job.priority, job.limits)))
        graph = build_graph(load_pipeline(job.pipeline), agents=settings.agents)
        inputs = inputs_of(job, graph, self.board.say) if need_inputs else {}
        async with open_world(settings, say=self.board.say, outside=self.outside) as world:
            plan = await _plan(graph, world, wake=wake)
            yield PlannedRun(job, world.settings, graph, inputs, plan, world)

    async def run(self, job: Job, *, on_pull: OnProgress | None = None) -> RunResult:
        """Run the job to its end. A bad end is a result; an error before the run began is raised."""
        async with self.planned(job, wake=True) as planned, Journal.open() as journal:
            for note in planned.plan.notes:
                self.board.say(f"note: {note}")
            await pull_missing(planned, self.board, on_pull)
            return await Execution(planned, journal, self.board, self._terminal).run()


async def _plan(graph: Graph, world: World, *, wake: bool) -> Plan:
    woken: set[str] = set()
    while True:
        try:
            return plan_routes(graph, world.settings, world.offers, world.budgets)
        except EndpointAsleep as error:
            if not wake or error.endpoint in woken:
                raise
            woken.add(error.endpoint)
            await world.wake(error.endpoint)


async def pull_missing(planned: PlannedRun, board: Board, on_pull: OnProgress | None) -> None:
    """Bring the models the plan needs and the endpoint only knows how to get; those of an escalation too."""
    for spec in planned.plan.specs:
        if spec.needs_pull:
            info = planned.world.infos.get((spec.endpoint, spec.model))
            size = f", {info.size_bytes / 1e6:.0f} MB, {info.licence}" if info is not None else ""
            board.say(f"pulling {spec.model} (once{size})")
            await planned.world.endpoints[spec.endpoint].pull(spec.model, on_pull)
