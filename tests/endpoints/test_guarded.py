"""What passes is waited for, within the time there is; what is gone fails at once; what was heard is not said twice."""

from __future__ import annotations

import anyio
import pytest
from virtual_time import run

from vwt_agents.endpoints.guarded import GuardedEndpoint
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import CallFailed, EndpointUnavailable, LoadFailed
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ServedModel

A = "a:latest"


def asking(timeout: float = 60.0) -> Request:
    return Request("small", A, (Message("user", "hi"),), 4096, timeout=timeout)


def with_server(play, **options) -> None:
    async def main() -> None:
        server = OllamaServer({A: ServedModel(4000)}, ["one ", "two"], **options)
        async with server, GuardedEndpoint(OllamaEndpoint("small", server.url)) as endpoint:
            await play(server, endpoint)

    run(main())


async def load(endpoint, limit: float = 60.0):
    return await endpoint.load(A, num_ctx=4096, slots=1, timeout=limit)


def test_a_burst_of_503_at_a_load_is_waited_for() -> None:
    async def play(server, endpoint) -> None:
        server.fail("load", "busy", 4)
        assert (await load(endpoint)).model == A
        assert server.loads == [(A, 4096)]

    with_server(play)


def test_a_burst_longer_than_the_time_there_is_fails_in_that_time_with_the_servers_words() -> None:
    async def play(server, endpoint) -> None:
        server.fail("load", "busy", 99)
        began = anyio.current_time()
        with pytest.raises(LoadFailed, match="maximum pending requests exceeded"):
            await load(endpoint, 3.0)
        assert anyio.current_time() - began <= 3.0

    with_server(play)


@pytest.mark.parametrize("fault", ["cut", "short", "reset"])
def test_an_answer_that_broke_off_unheard_is_asked_for_again(fault) -> None:
    async def play(server, endpoint) -> None:
        await load(endpoint)
        server.fail("/api/chat", fault)
        assert (await endpoint.call(asking())).text == "one two"
        assert len(server.calls) == (1 if fault == "reset" else 2)

    with_server(play)


def test_an_answer_that_somebody_heard_is_not_begun_again_and_the_error_says_how_far_it_came() -> None:
    async def play(server, endpoint) -> None:
        await load(endpoint)
        server.fail("/api/chat", "cut")
        heard: list[str] = []
        with pytest.raises(CallFailed, match="after 1 piece of the answer"):
            await endpoint.call(asking(), lambda chunk: heard.append(chunk.text))
        assert (heard, len(server.calls)) == (["one "], 1)

    with_server(play)


def test_a_call_whose_model_is_gone_is_left_to_those_who_load() -> None:
    """Made again it would load the model behind the core's back."""

    async def play(server, endpoint) -> None:
        await load(endpoint)
        server.evict(A)
        server.fail("/api/chat", "busy")
        with pytest.raises(CallFailed, match="maximum pending"):
            await endpoint.call(asking())
        assert (server.resident, len(server.loads)) == ({}, 1)

    with_server(play)


def test_a_server_that_refuses_is_tried_three_times_and_then_left_alone_until_it_is_back() -> None:
    async def play(server, endpoint) -> None:
        await load(endpoint)
        await server.refuse()
        with pytest.raises(EndpointUnavailable, match="no Ollama server answers"):
            await endpoint.call(asking())
        assert endpoint.circuit.state == "open"
        began = anyio.current_time()
        with pytest.raises(EndpointUnavailable, match=r"not asked again for \d s"):
            await endpoint.call(asking())
        assert anyio.current_time() == began
        await server.accept()
        await anyio.sleep(60)
        assert (await load(endpoint)).model == A
        assert endpoint.circuit.state == "closed"

    with_server(play)


def test_a_server_that_is_restarted_within_seconds_is_not_lost_to_a_load() -> None:
    async def play(server, endpoint) -> None:
        await server.refuse()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load, endpoint)
            await anyio.sleep(1.0)
            await server.accept()
        assert server.loads == [(A, 4096)]

    with_server(play)


def test_a_server_that_is_restarted_is_not_lost_to_many_callers_either() -> None:
    """Each of them finds nobody: that is no sign that it takes longer."""

    async def play(server, endpoint) -> None:
        await load(endpoint)
        await server.refuse()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(load, endpoint)
            await anyio.sleep(2.5)
            assert endpoint.circuit.state == "closed"
            await server.accept()
        assert server.resident == {A: 4096}

    with_server(play)


def test_a_model_that_another_client_evicted_as_it_was_loaded_is_loaded_again() -> None:
    async def play(server, endpoint) -> None:
        looks = server.hold("/api/ps")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load, endpoint)
            await server.reached("/api/ps")
            server.evict(A)
            looks.set()
        assert (server.resident, len(server.loads)) == ({A: 4096}, 2)

    with_server(play)


def test_a_trial_that_fails_opens_the_circuit_again_and_a_good_probe_closes_it() -> None:
    async def play(server, endpoint) -> None:
        await server.refuse()
        for _ in range(2):
            with pytest.raises(EndpointUnavailable):
                await load(endpoint)
            await anyio.sleep(60)
        with pytest.raises(EndpointUnavailable, match="not asked again"):
            await endpoint.resident()
        await server.accept()
        assert (await endpoint.probe()).ok
        assert await endpoint.resident() == ()

    with_server(play)


def test_all_else_is_passed_on() -> None:
    async def play(server, endpoint) -> None:
        assert [info.name for info in await endpoint.models()] == [A]
        assert (await endpoint.describe(A)).name == A
        server.pullable["new:1b"] = ServedModel()
        await endpoint.pull("new:1b")
        await load(endpoint)
        await endpoint.unload(A)
        assert await endpoint.resident() == ()

    with_server(play)
