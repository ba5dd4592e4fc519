"""The dispatcher carries out what the core says, and every caller gets one answer or one error."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vwt_agents.core import ModelKey, ModelSpec, Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.scripted import ScriptedEndpoint
from vwt_agents.errors import CallFailed, CallTimeout, EndpointUnavailable, LoadFailed, Rejected
from vwt_agents.messages import Heard, Message, Request
from vwt_agents.swaps import Serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZES = {"a": 600, "b": 500, "huge": 5000}


def request(model: str = "a", **labels: str) -> Request:
    return Request("here", model, (Message("user", "hello"),), num_ctx=2048, labels={"stage": "s", **labels})


@asynccontextmanager
async def running(
    script: Any = "answer", *, budget: int = 1000, slots: int = 2, max_agents: int = 4
) -> AsyncIterator[tuple[Dispatcher, ScriptedEndpoint]]:
    endpoint = ScriptedEndpoint(SIZES, script, name="here")
    scheduler = Scheduler(max_agents=max_agents, max_wait={"interactive": 15.0, "batch": 120.0})
    async with Dispatcher(scheduler, {"here": endpoint}) as dispatcher:
        dispatcher.set_budget("gpu0", budget)
        for model, size in SIZES.items():
            dispatcher.serve(Serving(ModelSpec(ModelKey("here", model), "gpu0", size, slots), num_ctx=2048))
        yield dispatcher, endpoint


async def test_a_call_loads_its_model_once_and_is_answered() -> None:
    async with running() as (dispatcher, endpoint):
        first = await dispatcher.call(request())
        await dispatcher.call(request())
    assert (first.text, endpoint.loads) == ("answer", [("a", 2048, 2)])
    assert first.usage.wait_s >= first.usage.load_s >= 0


async def test_two_models_that_do_not_fit_together_are_swapped_and_the_budget_is_kept() -> None:
    async with running() as (dispatcher, endpoint):
        await dispatcher.call(request("a"))
        await dispatcher.call(request("b"))
        assert [residence.model for residence in await endpoint.resident()] == ["b"]
        assert dispatcher.board.peaks["gpu0"] <= 1000
    assert [swap.kind for swap in dispatcher.board.swaps][:3] == ["load", "unload", "load"]


async def test_loads_on_different_devices_run_side_by_side_each_within_its_own_budget() -> None:
    devices = {"left": "gpu0", "right": "gpu1", "host": "cpu"}
    endpoints = {name: ScriptedEndpoint({"a": 900}, "answer", name=name, device=on) for name, on in devices.items()}
    scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0})
    async with Dispatcher(scheduler, endpoints) as dispatcher:
        for name, device in devices.items():
            dispatcher.set_budget(device, 1000)
            dispatcher.serve(Serving(ModelSpec(ModelKey(name, "a"), device, 900, 1), num_ctx=2048))
        gates = [endpoint.hold("load", "a") for endpoint in endpoints.values()]
        async with anyio.create_task_group() as tasks:
            for name in devices:
                tasks.start_soon(dispatcher.call, replace(request("a"), endpoint=name))
            for endpoint in endpoints.values():
                await endpoint.reached("load", "a")  # all three at once: none waits for another's
            for gate in gates:
                gate.set()
        assert dispatcher.board.peaks == {"gpu0": 900, "gpu1": 900, "cpu": 900}


async def test_a_model_that_can_never_fit_is_rejected_with_the_arithmetic() -> None:
    async with running() as (dispatcher, endpoint):
        with pytest.raises(Rejected, match=r"5000 MiB.*1000 MiB"):
            await dispatcher.call(request("huge"))
    assert endpoint.loads == []


async def test_a_model_nobody_serves_is_rejected() -> None:
    async with running() as (dispatcher, _endpoint):
        with pytest.raises(Rejected, match="not served"):
            await dispatcher.call(request("unknown"))


async def test_calls_wait_for_a_slot_and_the_board_says_why() -> None:
    async with running(slots=1) as (dispatcher, endpoint), anyio.create_task_group() as tasks:
        gate = endpoint.hold("call", "a")
        tasks.start_soon(dispatcher.call, request())
        await endpoint.reached("call", "a")
        tasks.start_soon(dispatcher.call, request())
        await anyio.wait_all_tasks_blocked()
        (waiting,) = dispatcher.board.queue
        assert dispatcher.explain(waiting) == "waits for a slot of a (1 of 1 in use)"
        gate.set()
    assert endpoint.peak_running == 1
    assert dispatcher.board.queue == {}


async def test_at_most_max_agents_calls_run_at_once() -> None:
    async with running(slots=8, max_agents=3) as (dispatcher, endpoint), anyio.create_task_group() as tasks:
        gate = endpoint.hold("call", "a")
        for _ in range(6):
            tasks.start_soon(dispatcher.call, request())
        await endpoint.reached("call", "a")
        await anyio.wait_all_tasks_blocked()
        assert endpoint.running == 3
        gate.set()
    assert endpoint.peak_running == 3


async def test_a_load_that_fails_took_no_memory_that_was_measured() -> None:
    async with running() as (dispatcher, endpoint):
        endpoint.fail_loads["a"] = LoadFailed("out of memory, said the engine")
        with pytest.raises(LoadFailed):
            await dispatcher.call(request())
        assert dispatcher.board.peaks == {"gpu0": 0}


async def test_a_load_that_fails_tells_every_waiter_the_engines_words() -> None:
    async with running() as (dispatcher, endpoint):
        endpoint.fail_loads["a"] = LoadFailed("out of memory, said the engine")
        with pytest.raises(LoadFailed, match="said the engine"):
            await dispatcher.call(request())
        endpoint.fail_loads.clear()
        assert (await dispatcher.call(request())).text == "answer"


async def test_what_failed_once_is_not_blamed_for_another_rejection() -> None:
    async with running() as (dispatcher, endpoint):
        endpoint.fail_loads["a"] = LoadFailed("out of memory, said the engine")
        with pytest.raises(LoadFailed):
            await dispatcher.call(request("a"))
        dispatcher.set_budget("gpu0", 100)
        with pytest.raises(Rejected, match=r"needs 600 MiB, budget of gpu0 is 100 MiB"):
            await dispatcher.call(request("a"))


async def test_a_load_survives_the_caller_that_asked_for_it() -> None:
    async with running() as (dispatcher, endpoint), anyio.create_task_group() as tasks:
        gate = endpoint.hold("load", "a")
        tasks.start_soon(dispatcher.call, request())
        await endpoint.reached("load", "a")
        tasks.cancel_scope.cancel()
        gate.set()
    async with running() as (dispatcher, endpoint):
        gate = endpoint.hold("load", "a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.call, request())
            await endpoint.reached("load", "a")
            tasks.cancel_scope.cancel()
        gate.set()
        await dispatcher.call(request())
        assert len(endpoint.loads) == 1


async def test_a_cancelled_call_gives_its_slot_back() -> None:
    async with running(slots=1) as (dispatcher, endpoint):
        gate = endpoint.hold("call", "a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.call, request())
            await endpoint.reached("call", "a")
            tasks.cancel_scope.cancel()
        gate.set()
        assert (await dispatcher.call(request())).text == "answer"


async def test_a_model_that_died_under_a_call_is_loaded_again_once() -> None:
    def script(_request: Request) -> str | Exception:
        if len(endpoint.calls) == 1:
            endpoint.vanish("a")
            return CallFailed("the worker died")
        return "answer"

    async with running(script) as (dispatcher, endpoint):
        assert (await dispatcher.call(request())).text == "answer"
        assert len(endpoint.loads) == 2


@asynccontextmanager
async def losing(
    *losses: tuple[float, CallFailed | EndpointUnavailable],
) -> AsyncIterator[tuple[Dispatcher, list[str]]]:
    """A server that loses its model under the first calls, each after so many seconds; what it was called with."""
    now, left, loads = 0.0, list(losses), []

    def script(_request: Request) -> str | Exception:
        nonlocal now
        loads.append("a")
        if not left:
            return "answer"
        seconds, error = left.pop(0)
        now += seconds
        endpoint.vanish("a")
        return error

    endpoint = ScriptedEndpoint(SIZES, script, name="here")
    scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0})
    async with Dispatcher(scheduler, {"here": endpoint}, clock=lambda: now) as dispatcher:
        dispatcher.set_budget("gpu0", 1000)
        dispatcher.serve(Serving(ModelSpec(ModelKey("here", "a"), "gpu0", 600, 1), num_ctx=2048))
        yield dispatcher, loads


def gone(seconds: float, *, refused: bool = False) -> tuple[float, CallFailed | EndpointUnavailable]:
    if not refused:
        return seconds, CallFailed("the connection broke", retryable=True)
    nobody = EndpointUnavailable("nobody there")
    nobody.refused = True
    return seconds, nobody


async def test_a_server_that_is_restarted_several_times_within_seconds_is_waited_for_as_for_one_restart() -> None:
    async with losing(gone(1.0), gone(1.5), gone(4.0, refused=True)) as (dispatcher, loads):
        assert (await dispatcher.call(request())).text == "answer"
    assert len(loads) == 4


async def test_a_server_that_goes_away_under_a_call_for_longer_fails_it_and_the_error_says_how_often_it_was_lost() -> (
    None
):
    async with losing(*[gone(4.0)] * 9) as (dispatcher, loads):
        with pytest.raises(
            CallFailed, match="broke; its model was lost 4 times under this call, within 12 s"
        ) as caught:
            await dispatcher.call(request())
        assert caught.value.retryable
    assert len(loads) == 4


async def test_a_server_that_is_gone_in_the_end_is_lost_as_it_is_for_those_who_go_on_elsewhere() -> None:
    async with losing(*[gone(20.0, refused=True)] * 2) as (dispatcher, _loads):
        with pytest.raises(EndpointUnavailable, match="lost 2 times") as caught:
            await dispatcher.call(request())
        assert caught.value.refused


async def test_a_prompt_under_which_the_runner_itself_dies_is_not_given_to_it_a_third_time() -> None:
    died = CallFailed("llama-server process has terminated")
    async with losing((0.0, died), (0.0, died)) as (dispatcher, loads):
        with pytest.raises(CallFailed, match="terminated; its model was lost 2 times"):
            await dispatcher.call(request())
    assert len(loads) == 2


async def test_a_call_that_fails_while_its_model_stays_is_not_repeated() -> None:
    async with running([CallFailed("bad request")]) as (dispatcher, endpoint):
        with pytest.raises(CallFailed, match="bad request"):
            await dispatcher.call(request())
        assert len(endpoint.calls) == 1


async def test_a_slow_call_is_not_repeated() -> None:
    def script(_request: Request) -> Exception:
        endpoint.vanish("a")
        return CallTimeout("too slow")

    async with running(script) as (dispatcher, endpoint):
        with pytest.raises(CallTimeout):
            await dispatcher.call(request())
        assert len(endpoint.calls) == 1


async def test_what_a_listener_has_heard_is_not_said_twice() -> None:
    def script(_request: Request) -> list[str]:
        endpoint.vanish("a")
        return ["some", "thing"]

    heard: list[str] = []
    async with running(script) as (dispatcher, endpoint):
        response = await dispatcher.call(request(), lambda chunk: heard.append(chunk.text))
    assert (response.text, "".join(heard)) == ("something", "something")


async def test_leaving_unloads_what_was_loaded() -> None:
    async with running() as (dispatcher, endpoint):
        await dispatcher.call(request("a"))
    assert endpoint.unloads == ["a"]
    assert dispatcher.board.unloads == 1


async def test_leaving_does_not_wait_for_an_unload_that_hangs() -> None:
    with anyio.fail_after(5):
        async with running() as (dispatcher, endpoint):
            endpoint.hold("unload", "a")
            await dispatcher.call(request("a"))


async def test_a_server_that_is_gone_holds_no_memory_that_others_wait_for() -> None:
    async with running() as (dispatcher, endpoint):
        await dispatcher.call(request("a"))
        gone = EndpointUnavailable("nobody there")
        gone.refused = True
        unload = endpoint.unload

        async def refused(_model: str) -> None:
            raise gone

        endpoint.unload = refused  # type: ignore[method-assign]
        with anyio.fail_after(4):
            assert (await dispatcher.call(request("b"))).text == "answer"
        endpoint.unload = unload  # type: ignore[method-assign]


async def test_a_counter_that_nobody_reads_does_not_keep_a_call_from_being_repeated() -> None:
    def script(_request: Request) -> list[str]:
        return ["some", "thing"]

    class Broken(ScriptedEndpoint):
        async def call(self, request: Request, on_chunk: Any = None) -> Any:
            response = await super().call(request, on_chunk)
            if len(self.calls) == 1:
                self.vanish("a")
                raise CallFailed("died after its pieces")
            return response

    for repeatable in (True, False):
        endpoint = Broken(SIZES, script, name="here")
        scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0})
        async with Dispatcher(scheduler, {"here": endpoint}) as dispatcher:
            dispatcher.set_budget("gpu0", 1000)
            dispatcher.serve(Serving(ModelSpec(ModelKey("here", "a"), "gpu0", 600, 1), num_ctx=2048))
            listener = Heard(lambda _chunk: None, repeatable=repeatable)
            if repeatable:
                assert (await dispatcher.call(request(), listener)).text == "something"
            else:
                with pytest.raises(CallFailed):
                    await dispatcher.call(request(), listener)


async def test_an_endpoint_that_breaks_its_contract_ends_its_waiters_and_not_the_dispatcher() -> None:
    async with running() as (dispatcher, endpoint):
        endpoint.fail_loads["a"] = ZeroDivisionError("oh")
        with pytest.raises(LoadFailed, match="could not be loaded: ZeroDivisionError: oh"):
            await dispatcher.call(request("a"))
        assert (await dispatcher.call(request("b"))).text == "answer"


async def test_a_load_that_found_no_server_is_not_tried_twice() -> None:
    async with running() as (dispatcher, endpoint):
        endpoint.fail_loads["a"] = EndpointUnavailable("nobody there")
        with pytest.raises(EndpointUnavailable):
            await dispatcher.call(request("a"))
        assert len(endpoint.loads) == 1


async def test_a_cancelled_block_still_unloads_what_it_loaded() -> None:
    with anyio.CancelScope() as scope:
        async with running() as (dispatcher, endpoint):
            await dispatcher.call(request("a"))
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert (endpoint.unloads, await endpoint.resident()) == (["a"], ())


async def test_a_block_that_is_cancelled_while_it_unloads_finishes_that() -> None:
    with anyio.fail_after(0.9), anyio.CancelScope() as scope:
        async with running() as (dispatcher, endpoint), anyio.create_task_group() as tasks:
            await dispatcher.call(request("a"))
            gate = endpoint.hold("unload", "a")
            tasks.start_soon(dispatcher.call, request("b"))
            await endpoint.reached("unload", "a")
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                gate.set()
    assert (endpoint.unloads, await endpoint.resident()) == (["a", "a"], ())


async def test_a_block_that_is_cancelled_while_it_loads_is_left_at_once() -> None:
    with anyio.fail_after(0.9), anyio.CancelScope() as scope:
        async with running() as (dispatcher, endpoint), anyio.create_task_group() as tasks:
            endpoint.hold("load", "a")
            tasks.start_soon(dispatcher.call, request("a"))
            await endpoint.reached("load", "a")
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_block_whose_task_is_cancelled_from_outside_unloads_too() -> None:
    seen: list[ScriptedEndpoint] = []
    ready = anyio.Event()

    async def work() -> None:
        async with running() as (dispatcher, endpoint):
            seen.append(endpoint)
            await dispatcher.call(request("a"))
            ready.set()
            await anyio.sleep_forever()

    task = asyncio.create_task(work())
    await ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (seen[0].unloads, await seen[0].resident()) == (["a"], ())


async def test_a_call_whose_deadline_passes_in_the_queue_ends_and_its_place_is_free() -> None:
    async with running(slots=1) as (dispatcher, endpoint), anyio.create_task_group() as tasks:
        gate = endpoint.hold("call", "a")
        tasks.start_soon(dispatcher.call, request())
        await endpoint.reached("call", "a")
        with pytest.raises(CallTimeout, match=r"a was not free in time: deadline passed"):
            await dispatcher.call(replace(request(), deadline=0.001))
        assert dispatcher.board.queue == {}
        gate.set()


async def test_a_call_whose_deadline_passes_while_it_runs_ends_and_gives_its_slot_back() -> None:
    async with running(slots=1) as (dispatcher, endpoint):
        await dispatcher.call(request())
        endpoint.hold("call", "a")
        with pytest.raises(CallTimeout, match=r"not answered within 0\.001 s"):
            await dispatcher.call(replace(request(), deadline=0.001))
        assert not dispatcher.board.models["here", "a"].leases


async def test_an_interactive_call_goes_before_batch_calls_that_came_earlier() -> None:
    order: list[str] = []
    async with running(slots=1) as (dispatcher, endpoint), anyio.create_task_group() as tasks:
        gate = endpoint.hold("call", "a")

        async def ask(name: str, priority: Any) -> None:
            await dispatcher.call(replace(request(), priority=priority))
            order.append(name)

        tasks.start_soon(ask, "first", "batch")
        await endpoint.reached("call", "a")
        tasks.start_soon(ask, "batch", "batch")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, "interactive", "interactive")
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert order == ["first", "interactive", "batch"]
