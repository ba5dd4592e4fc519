"""An endpoint whose server is brought up for a load, a call or a pull, and for nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from server_processes import again, nothing_left_in, record, server, server_pid, until

from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.endpoints.on_demand import OnDemandEndpoint
from vwt_agents.errors import CallFailed, EndpointAsleep, EndpointUnavailable, ModelMissing
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ServedModel

Make = Callable[..., "OnDemandEndpoint"]
CALL = Request("large", "small:1b", (Message("user", "hello"),), num_ctx=2048)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., OnDemandEndpoint]]:
    """Endpoints over one server that is not running; what they hold ends with the test."""
    first = server(tmp_path / "server", idle_stop=0.2)
    async with AsyncExitStack() as stack:
        stack.enter_context(nothing_left_in(tmp_path))

        def made(**other: object) -> OnDemandEndpoint:
            kept = server(tmp_path / "server", **other) if other else again(first)  # type: ignore[arg-type]
            endpoint = OnDemandEndpoint(OllamaEndpoint("large", kept.deployment.url, device="cpu"), kept)
            stack.push_async_exit(endpoint)
            return endpoint

        yield made


async def gone(endpoint: OnDemandEndpoint) -> None:
    await until(lambda: not endpoint.server.folder.kept())


def running(endpoint: OnDemandEndpoint) -> bool:
    return endpoint.server.standing().ours


async def test_looking_at_it_starts_nothing(make: Make) -> None:
    endpoint = make()
    health = await endpoint.probe()
    assert (health.ok, health.asleep) == (True, True)
    assert health.detail.startswith("not running; `")
    assert (await endpoint.resident(), await endpoint.models()) == ((), ())
    with pytest.raises(EndpointAsleep, match="nothing is known yet of its small:1b"):
        await endpoint.describe("small:1b")
    await endpoint.unload("small:1b")
    assert not running(endpoint)


async def test_the_first_load_brings_it_up_and_it_goes_once_its_last_model_has_left(make: Make) -> None:
    endpoint = make()
    for model in ("small:1b", "large:2b"):
        await endpoint.load(model, num_ctx=2048, slots=1, timeout=20)
    await endpoint.unload("small:1b")
    await anyio.sleep(0.4)  # longer than idle_stop: a model is held
    assert [one.model for one in await endpoint.resident()] == ["large:2b"]
    await endpoint.unload("large:2b")
    assert endpoint.server.standing().users == ()
    await gone(endpoint)


async def test_loads_side_by_side_start_it_once(make: Make) -> None:
    endpoint, other = make(), make()
    async with anyio.create_task_group() as tasks:
        for place, model in ((endpoint, "small:1b"), (endpoint, "large:2b"), (other, "small:1b")):
            tasks.start_soon(lambda place=place, model=model: place.load(model, num_ctx=2048, slots=1, timeout=20))
    assert endpoint.server.folder.log.read_text().count("listening on") == 1
    assert endpoint.server.standing().users == (os.getpid(), os.getpid())


async def test_a_call_or_a_pull_holds_it_for_as_long_as_it_takes(make: Make) -> None:
    endpoint = make()
    assert (await endpoint.call(CALL)).text == "ok"
    assert endpoint.server.standing().users == ()
    await endpoint.pull("small:1b")
    assert endpoint.server.standing().users == ()
    await gone(endpoint)


async def test_closing_it_gives_the_server_back(make: Make) -> None:
    async with make() as endpoint:
        await endpoint.load("small:1b", num_ctx=2048, slots=1, timeout=20)
    await gone(endpoint)


async def test_what_it_had_when_it_was_last_up_is_remembered(make: Make) -> None:
    endpoint = make()
    use = await endpoint.server.up()
    seen = await endpoint.describe("small:1b")
    with pytest.raises(ModelMissing):
        await endpoint.describe("absent:1b")
    assert len(await endpoint.models()) == 2
    use.end()
    await gone(endpoint)
    later = make()
    assert await later.describe("small:1b") == seen
    assert (await later.describe("SMALL:1b")).name == "SMALL:1b"
    assert {info.name for info in await later.models()} == {"small:1b", "large:2b"}
    with pytest.raises(ModelMissing, match="did not have the model 'absent:1b' when it was last up"):
        await later.describe("absent:1b")
    assert not running(later)


async def test_a_server_that_died_under_its_models_is_started_anew_for_the_next_load(make: Make) -> None:
    endpoint = make()
    await endpoint.load("small:1b", num_ctx=2048, slots=1, timeout=20)
    pid = server_pid(endpoint.server)
    os.kill(pid, signal.SIGKILL)
    await gone(endpoint)
    assert await endpoint.resident() == ()
    with pytest.raises((EndpointUnavailable, CallFailed)):
        await endpoint.call(CALL)  # the model it was loaded for is lost: the dispatcher sees that, and loads again
    await endpoint.load("small:1b", num_ctx=2048, slots=1, timeout=20)
    assert server_pid(endpoint.server) != pid
    await endpoint.unload("small:1b")
    assert endpoint.server.standing().users == ()


async def test_a_load_that_fails_does_not_hold_the_server(make: Make) -> None:
    endpoint = make()
    with pytest.raises(ModelMissing):
        await endpoint.load("absent:1b", num_ctx=2048, slots=1, timeout=20)
    await gone(endpoint)


async def test_one_that_cannot_be_started_here_does_not_answer(make: Make) -> None:
    health = await make(command=("/no/such/ollama", "serve")).probe()
    assert (health.ok, health.asleep) == (False, False)
    assert "cannot start one: there is no program '/no/such/ollama' here" in health.detail


async def test_a_start_that_fails_is_the_loads_failure_in_the_servers_own_words(make: Make) -> None:
    endpoint = make(command=("sh", "-c", "echo no driver; exit 1"))
    with pytest.raises(EndpointUnavailable, match="no driver"):
        await endpoint.load("small:1b", num_ctx=2048, slots=1, timeout=20)
    assert endpoint.server.standing().users == ()
    assert record(endpoint.server).state == "failed"


async def test_one_that_answers_but_breaks_is_not_taken_for_one_that_is_asleep(make: Make) -> None:
    async with OllamaServer({"small:1b": ServedModel(300)}) as theirs:
        endpoint = make(port=int(theirs.url.rpartition(":")[2]))
        for path, ask in (
            ("/api/ps", endpoint.resident),
            ("/api/tags", endpoint.models),
            ("/api/show", lambda: endpoint.describe("small:1b")),
        ):
            theirs.fail(path, "garbage")
            with pytest.raises(EndpointUnavailable):
                await ask()
        assert not running(endpoint)
