"""Who leaves takes nothing along: its calls end, queued and running, and their slots are free for the next."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vwt_agents.agents import Agent
from vwt_agents.board import Board
from vwt_agents.config import AgentSettings, Settings
from vwt_agents.core import ModelKey, ModelSpec, Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.scripted import ScriptedEndpoint
from vwt_agents.errors import CallTimeout, LimitReached, StageFailed
from vwt_agents.graph import build_graph
from vwt_agents.limits import RunLimits, Spent
from vwt_agents.pipeline import Pipeline
from vwt_agents.routing import Plan, Route
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner
from vwt_agents.stage_scope import StageScope
from vwt_agents.swaps import Serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vwt_agents.messages import Priority

MODEL = "small:1b"


class World:
    """One model with one slot, an agent that uses it, and runs of pipelines."""

    def __init__(self, dispatcher: Dispatcher, endpoint: ScriptedEndpoint) -> None:
        self.dispatcher = dispatcher
        self.endpoint = endpoint
        self.gate = endpoint.hold("call", MODEL)

    def agent(self, **settings: Any) -> Agent:
        route = Route("s", "coder", "small", "here", MODEL, "gpu0", 2048, 1, 300, "", "small")
        return Agent(AgentSettings("coder", **settings), route, caller=self.dispatcher, scope=StageScope("run", "s", 0))

    def runner(self, pipeline: Pipeline, spent: Spent | None = None) -> Runner:
        graph = build_graph(pipeline, agents=["coder"])
        routes = {
            (stage.name, "coder"): Route(stage.name, "coder", "small", "here", MODEL, "gpu0", 2048, 1, 300, "", "small")
            for stage in graph.stages
        }
        return Runner(
            graph,
            Plan(False, "small", "", routes, ()),
            Settings(None, {}, {}, {"coder": AgentSettings("coder")}),
            run_id="run",
            caller=self.dispatcher,
            journal=None,
            folder=RunFolder(Path("never-made")),
            services={},
            board=Board(),
            spent=spent,
        )

    async def check_free(self) -> None:
        """Nothing runs and nothing waits; the slot is there for whoever comes next."""
        await anyio.wait_all_tasks_blocked()
        assert self.endpoint.running == 0
        assert self.dispatcher.board.queue == {}
        assert self.dispatcher.board.models["here", MODEL].leases == 0
        self.endpoint.hold("call", MODEL).set()
        assert await self.agent().ask("next") == "an answer"

    async def queued(self, count: int) -> None:
        """Return once a call runs and so many wait for its slot."""
        await self.endpoint.reached("call", MODEL)
        await anyio.wait_all_tasks_blocked()
        assert (self.endpoint.running, len(self.dispatcher.board.queue)) == (1, count)


@asynccontextmanager
async def opened() -> AsyncIterator[World]:
    """A world whose calls stand at a gate."""
    endpoint = ScriptedEndpoint({MODEL: 300}, lambda _request: ["an", " answer"], name="here")
    scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0})
    async with Dispatcher(scheduler, {"here": endpoint}) as dispatcher:
        dispatcher.set_budget("gpu0", 1000)
        dispatcher.serve(Serving(ModelSpec(ModelKey("here", MODEL), "gpu0", 300, 1), num_ctx=2048))
        yield World(dispatcher, endpoint)


def wide(count: int, **stage: Any) -> Pipeline:
    """So many stages side by side, each with one call."""
    pipeline = Pipeline("wide")
    for number in range(count):

        async def ask(coder: Agent) -> str:
            return await coder.ask("hello")

        ask.__name__ = f"stage{number}"
        pipeline.stage(**stage)(ask)
    return pipeline


async def test_samples_that_are_left_early_end_queued_and_running() -> None:
    async with opened() as world:
        async with anyio.create_task_group() as tasks:

            async def sample() -> None:
                await world.agent().sample("x", n=3)

            tasks.start_soon(sample)
            await world.queued(2)
            tasks.cancel_scope.cancel()
        await world.check_free()


async def test_a_map_that_is_left_early_ends_queued_and_running() -> None:
    async with opened() as world:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.agent().map, ["1", "2", "3", "4"])
            await world.queued(3)
            tasks.cancel_scope.cancel()
        await world.check_free()


async def test_a_stream_that_is_left_after_its_first_piece_gives_its_slot_back() -> None:
    async with opened() as world:
        world.endpoint.hold("call", MODEL).set()
        async with world.agent().stream("x") as pieces:
            async for piece in pieces:
                assert piece == "an"
                break
        await world.check_free()


async def test_a_stream_that_is_left_while_it_waits_for_its_slot_leaves_the_queue() -> None:
    async with opened() as world:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.agent().ask, "first")
            await world.queued(0)
            async with world.agent().stream("x"):
                await world.queued(1)
            assert world.dispatcher.board.queue == {}
            tasks.cancel_scope.cancel()
        await world.check_free()


async def test_a_stage_that_takes_too_long_ends_its_calls_queued_and_running() -> None:
    async with opened() as world:
        pipeline = Pipeline("slow")

        @pipeline.stage(timeout=0.05)
        async def slow(coder: Agent) -> list[str]:
            return await coder.sample("x", n=3)

        with pytest.raises(StageFailed, match="longer than its limit"):
            await world.runner(pipeline).run({})
        await world.check_free()


async def test_a_run_that_is_cancelled_ends_all_its_calls() -> None:
    async with opened() as world:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.runner(wide(4)).run, {})
            await world.queued(3)
            tasks.cancel_scope.cancel()
        await world.check_free()


async def test_a_stage_that_reaches_a_limit_ends_the_calls_of_the_others() -> None:
    async with opened() as world:
        spent = Spent(RunLimits(max_calls=3))
        with pytest.raises(LimitReached, match="3 calls made"):
            await world.runner(wide(4), spent).run({})
        assert len(world.endpoint.calls) <= 3
        await world.check_free()


@pytest.mark.parametrize("limits", [RunLimits(max_tokens=1), RunLimits(max_seconds=1e-9)], ids=str)
async def test_calls_that_wait_are_not_made_once_those_before_them_have_used_up_the_run(limits: RunLimits) -> None:
    pipeline = Pipeline("map")

    @pipeline.stage
    async def several(coder: Agent) -> list[str]:
        return await coder.map(["a", "b", "c", "d"])

    async with opened() as world:
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(LimitReached, match="tokens used|model time used"):
                    await world.runner(pipeline, Spent(limits)).run({})

            tasks.start_soon(run)
            await world.queued(3)
            world.gate.set()
        assert len(world.endpoint.calls) == 1
        await world.check_free()


async def test_a_call_past_its_agents_deadline_ends_and_its_slot_is_free() -> None:
    async with opened() as world:
        with pytest.raises(CallTimeout, match=r"within 0\.05 s|not free in time"):
            await world.agent(deadline=0.05).ask("x")
        await world.check_free()


async def test_an_agents_class_decides_who_goes_first() -> None:
    async with opened() as world:
        order: list[str] = []

        async def ask(name: str, priority: Priority | None) -> None:
            await world.agent(priority=priority).ask(name)
            order.append(name)

        gate = world.endpoint.hold("call", MODEL)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "first", None)
            await world.queued(0)
            tasks.start_soon(ask, "batch", "batch")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(ask, "interactive", "interactive")
            await world.queued(2)
            gate.set()
        assert order == ["first", "interactive", "batch"]
