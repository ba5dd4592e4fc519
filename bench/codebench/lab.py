"""The world in which all contenders are measured: one loaded model, one dispatcher, one sandbox, one count of tokens.

Every model call of every contender passes the same Meter on its way to the same dispatcher. Pipelines are walked by the
package's own Runner, as `vwt_agents run` does it; only the journal is left out.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vwt_agents.app.foresight import serving
from vwt_agents.app.neighbours import open_neighbours
from vwt_agents.app.sandbox import open_sandbox
from vwt_agents.app.world import open_world
from vwt_agents.board import Board
from vwt_agents.config import EndpointSettings, Settings, TierSettings, load_settings, parse_settings
from vwt_agents.core import Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.graph import Graph, build_graph
from vwt_agents.habits import Habits
from vwt_agents.inputs import read_inputs
from vwt_agents.limits import Spent
from vwt_agents.lookahead import steps
from vwt_agents.messages import Message, Options, Request
from vwt_agents.pipeline_file import load_pipeline
from vwt_agents.routing import Plan, Route, plan_routes
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from vwt_agents import Sandbox
    from vwt_agents.messages import Caller, OnChunk, Response
    from vwt_agents.types import TierName

__all__ = ["Lab", "Meter", "Tally", "bench_settings", "open_lab"]


@dataclass(slots=True)
class Tally:
    """What calls cost: how many, tokens of prompts and answers, those of prompts that were not cached (None: not said)."""

    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    evaluated_tokens: int | None = 0

    def add(self, response: Response) -> None:
        """Count one answer."""
        usage = response.usage
        self.calls += 1
        self.prompt_tokens += usage.prompt_tokens
        self.output_tokens += usage.output_tokens
        if usage.cached_tokens is None or self.evaluated_tokens is None:
            self.evaluated_tokens = None
        else:
            self.evaluated_tokens += usage.prompt_tokens - usage.cached_tokens


class Meter:
    """A Caller that counts what passes it into the tally it was given last."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._tally = Tally()

    def begin(self) -> Tally:
        """A new tally, for all calls from now on."""
        self._tally = Tally()
        return self._tally

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the caller behind it; a call that fails is not counted."""
        tally = self._tally
        response = await self._caller.call(request, on_chunk)
        tally.add(response)
        return response


@dataclass(slots=True)
class Lab:
    """What contenders work with. `route` is where the single calls go: to the model that the pipeline's coder has."""

    settings: Settings
    graph: Graph
    plan: Plan
    route: Route
    sandbox: Sandbox
    meter: Meter
    dispatcher: Dispatcher
    seed: int = 0
    _runs: int = field(default=0, init=False)

    async def ask(
        self, messages: Sequence[Message], *, stop: Sequence[str], num_predict: int, temperature: float, seed: int
    ) -> str:
        """The text of one answer, not counting the prefill."""
        options = Options(temperature=temperature, seed=seed, num_predict=num_predict, stop=tuple(stop))
        route = self.route
        request = Request(
            endpoint=route.endpoint,
            model=route.model,
            messages=tuple(messages),
            num_ctx=route.num_ctx,
            options=options,
            labels={"run": "bench", "stage": "call", "agent": "bench", "tier": route.tier},
        )
        return (await self.meter.call(request)).text

    def inputs(self, values: Mapping[str, str], pairs: Sequence[str]) -> dict[str, Any]:
        """The pipeline's inputs: text by name, and switches as `-i` takes them; InputError lists every fault."""
        return read_inputs(self.graph, pairs, Path("the task"), lambda _path: json.dumps(dict(values)))

    async def run(self, inputs: Mapping[str, Any], values: dict[str, Any]) -> None:
        """Walk the pipeline; `values` holds what its stages gave, also where a stage's failure is raised."""
        self._runs += 1
        run_id = f"bench-{self._runs}"
        with tempfile.TemporaryDirectory(prefix="codebench-") as folder:
            runner = Runner(
                self.graph,
                self.plan,
                self.settings,
                run_id=run_id,
                caller=self.meter,
                journal=None,
                folder=RunFolder(Path(folder)),
                services={"Sandbox": self.sandbox},
                board=Board(),
                seed=self.seed,
                steps=steps(self.graph, self.plan, Habits()),
                tell=self.dispatcher.post,
                spent=Spent(self.settings.run.limits),
            )
            try:
                await runner.run(inputs)
            finally:
                values.update(runner.values)


def bench_settings(model: str, *, slots: int = 4, num_ctx: int = 4096) -> Settings:
    """The packaged agents, all of them on one model of the embedded engine."""
    packaged = resources.files("vwt_agents").joinpath("defaults", "agents.toml").read_text(encoding="utf-8")
    settings = parse_settings(packaged)
    names: tuple[TierName, ...] = ("small", "large")
    return replace(
        settings,
        endpoints={"embedded": EndpointSettings("embedded", "embedded", "cpu", parallel=slots)},
        tiers={name: TierSettings(name, "embedded", (model,), num_ctx=num_ctx) for name in names},
        licences=replace(settings.licences, accept=(*settings.licences.accept, model)),
    )


def settings_of(config: Path | None, model: str) -> Settings:
    """Those of an agents.toml that was named, else the benchmark's own."""
    if config is None:
        return bench_settings(model)
    return load_settings(config, pipeline=None, cwd=Path.cwd())


@asynccontextmanager
async def open_lab(settings: Settings, pipeline: Path, *, seed: int = 0) -> AsyncIterator[Lab]:
    """A lab with its model loaded; what is wrong with pipeline, model or sandbox is raised before anything is measured."""
    graph = build_graph(load_pipeline(pipeline), agents=settings.agents)
    async with open_world(settings) as world:
        settings = world.settings
        plan = plan_routes(graph, settings, world.offers, world.budgets)
        sandbox = await open_sandbox(settings.sandbox)
        for spec in plan.specs:
            if spec.needs_pull:
                await world.endpoints[spec.endpoint].pull(spec.model)
        tuned = settings.scheduler
        scheduler = Scheduler(max_agents=tuned.max_agents, max_wait=tuned.max_wait, patience=tuned.patience)
        async with (
            open_neighbours(world, plan, lambda name, _used: world.endpoints[name], "codebench") as neighbours,
            Dispatcher(scheduler, neighbours.endpoints) as dispatcher,
        ):
            for device, allowance in world.allowances.items():
                dispatcher.set_budget(device, allowance.ceiling)
            for spec in plan.specs:
                dispatcher.serve(serving(spec, settings, Habits()))
            lab = Lab(settings, graph, plan, _route(plan), sandbox, Meter(dispatcher), dispatcher, seed)
            async with neighbours.beside(dispatcher):
                hello = [Message("user", "Say hello.")]
                await lab.ask(hello, stop=(), num_predict=1, temperature=0.0, seed=0)
                yield lab


def _route(plan: Plan) -> Route:
    coders = [route for (_stage, agent), route in plan.routes.items() if agent == "coder"]
    return (coders or list(plan.routes.values()))[0]
