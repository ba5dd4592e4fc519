"""Whatever an Ollama server does wrong, and whenever: every call ends once, in time, and the budget is kept."""

from __future__ import annotations

import anyio
import pytest
from fault_play import BUDGET, NUM_CTX, OURS, Told, play
from virtual_time import run

from vwt_agents.core import ModelKey, ModelSpec, Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.guarded import GuardedEndpoint
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.messages import Message, Request
from vwt_agents.swaps import Serving
from vwt_agents.testing import OllamaServer, ServedModel


def _all_promises_hold(seeds: range) -> None:
    for seed in seeds:
        told = Told()
        try:
            run(play(seed, told))
        except BaseException as error:
            error.add_note(f"schedule {seed}:\n{told}")
            raise


def test_every_call_ends_once_and_in_time_under_sixty_random_fault_schedules() -> None:
    _all_promises_hold(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2000, 100))
def test_every_call_ends_once_and_in_time_under_two_thousand(first: int) -> None:
    _all_promises_hold(range(first, first + 100))


@pytest.mark.parametrize("down", [0.2, 0.7])
@pytest.mark.parametrize("load_s", [0.0, 0.4, 3.0])
def test_a_server_that_is_restarted_twice_within_two_seconds_costs_no_call(load_s: float, down: float) -> None:
    model = next(iter(OURS))

    async def main() -> None:
        server = OllamaServer({model: ServedModel(OURS[model])}, ["one ", "two ", "three"], parallel=3)
        server.load_s, server.piece_s = load_s, 1.0
        scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0})
        async with (
            server,
            GuardedEndpoint(OllamaEndpoint("small", server.url)) as endpoint,
            Dispatcher(scheduler, {"small": endpoint}) as dispatcher,
        ):
            dispatcher.set_budget("gpu0", BUDGET)
            dispatcher.serve(Serving(ModelSpec(ModelKey("small", model), "gpu0", OURS[model], 3), NUM_CTX))
            texts: list[str] = []

            async def ask() -> None:
                said = Request("small", model, (Message("user", "hi"),), NUM_CTX)
                texts.append((await dispatcher.call(said)).text)

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ask)
                await anyio.sleep(1.0)
                for _ in range(2):
                    await server.refuse()
                    await anyio.sleep(down)
                    await server.accept()
                    await anyio.sleep(1.5 - down)
        assert texts == ["one two three"] * 3

    run(main())
