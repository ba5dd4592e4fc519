"""Every way in which an Ollama server fails ends in one of our errors, with the server, the model and its words."""

from __future__ import annotations

import anyio
import pytest

from vwt_agents.endpoints.ollama import OllamaClient, OllamaEndpoint
from vwt_agents.endpoints.ollama.answer import Part
from vwt_agents.endpoints.ollama.error_mapping import as_ours
from vwt_agents.errors import (
    CallFailed,
    CallTimeout,
    EndpointUnavailable,
    LoadFailed,
    ModelMissing,
    PullFailed,
)
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ServedModel

MODEL = "mistral:latest"


@pytest.fixture
async def server():
    async with OllamaServer({MODEL: ServedModel(4000)}, ["one ", "two"], vram_mib=8000) as serving:
        yield serving


@pytest.fixture
async def endpoint(server):
    async with OllamaEndpoint("small", server.url) as opened:
        yield opened


def asking(model: str = MODEL, timeout: float = 30.0) -> Request:
    return Request("small", model, (Message("user", "hi"),), 4096, timeout=timeout)


async def load(endpoint, model: str = MODEL, limit: float = 30.0):
    return await endpoint.load(model, num_ctx=4096, slots=4, timeout=limit)


def assert_names(error: Exception, server: OllamaServer, *words: str) -> None:
    for word in (server.url, *words):
        assert word in str(error)


@pytest.mark.parametrize(
    ("fault", "words", "retryable"),
    [
        ("busy", "maximum pending requests exceeded", True),
        ("oom", "out of memory", False),
        ("error", "encountered while running the model", False),
        ("cut", "connection broke", True),
        ("short", "broke off", True),
        ("garbage", "not an answer of Ollama's API", False),
    ],
)
async def test_a_broken_call_is_a_failed_call_with_the_servers_words(server, endpoint, fault, words, retryable):
    server.fail("/api/chat", fault)
    with pytest.raises(CallFailed) as caught:
        await endpoint.call(asking())
    assert_names(caught.value, server, MODEL, words)
    assert caught.value.retryable is retryable
    assert (await endpoint.call(asking())).text == "one two"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"message": 1}',
        b'{"message": {"content": 1}}',
        b'{"message": {"content": "x"}, "done": true, "eval_count": "many"}',
        b'{"message": {"content": "x"}, "done": true, "total_duration": "long"}',
    ],
)
def test_what_is_no_part_of_an_answer_is_not_read_as_one(line):
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError)) as caught:
        Part.read(line)
    assert isinstance(as_ours("here", caught.value, "answering", CallFailed, MODEL), CallFailed)


async def test_a_server_that_hangs_is_a_call_timeout(server, endpoint):
    server.fail("/api/chat", "hang")
    with pytest.raises(CallTimeout) as caught:
        await endpoint.call(asking(timeout=0.05))
    assert_names(caught.value, server, MODEL, "0.05 s")


async def test_a_server_that_is_down_is_unavailable_and_says_how_to_start_it(server, endpoint):
    await server.refuse()
    for use in (
        endpoint.call(asking()),
        load(endpoint),
        endpoint.describe(MODEL),
        endpoint.resident(),
        endpoint.unload(MODEL),
    ):
        with pytest.raises(EndpointUnavailable, match="ollama serve") as caught:
            await use
        assert_names(caught.value, server)
    assert not (await endpoint.probe()).ok
    await server.accept()
    assert (await endpoint.probe()).ok


async def test_a_server_that_dies_in_an_answer_breaks_the_call(server, endpoint):
    await load(endpoint)
    server.hold("piece")
    errors = []

    async def call():
        with pytest.raises(CallFailed) as caught:
            await endpoint.call(asking())
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await server.reached("piece")
        await server.refuse()
    assert_names(errors[0], server, MODEL)


async def test_a_missing_model_comes_with_the_command_that_brings_it(server, endpoint):
    for use in (endpoint.call(asking("llama2:13b")), endpoint.describe("llama2:13b"), load(endpoint, "llama2:13b")):
        with pytest.raises(ModelMissing, match="models pull llama2:13b") as caught:
            await use
        assert_names(caught.value, server, "llama2:13b")


async def test_a_model_that_cannot_be_described_comes_with_what_the_server_has_instead(server, endpoint):
    with pytest.raises(ModelMissing, match=f"; it has {MODEL}") as caught:
        await endpoint.describe("llama2:13b")
    assert set(caught.value.here) == set(server.models)


async def test_a_load_that_runs_out_of_memory_carries_the_servers_words(server, endpoint):
    server.fail("load", "oom")
    with pytest.raises(LoadFailed) as caught:
        await load(endpoint)
    assert_names(caught.value, server, MODEL, "out of memory")
    assert server.resident == {}


async def test_a_model_that_spills_is_unloaded_again_and_refused_with_the_numbers(server, endpoint):
    server.models["big:latest"] = ServedModel(10239)
    with pytest.raises(LoadFailed) as caught:
        await load(endpoint, "big:latest")
    assert_names(caught.value, server, "big:latest", "10239 MiB", "8000 MiB", "gpu0")
    assert server.resident == {}


async def test_on_the_cpu_nothing_spills(server):
    server.vram_mib = 0
    async with OllamaEndpoint("cpu", server.url, device="cpu") as endpoint:
        residence = await load(endpoint)
    assert (residence.size_mib, residence.device_mib) == (4000, 4000)


async def test_a_load_that_takes_too_long_fails_and_leaves_nothing(server, endpoint):
    server.hold("load")
    with pytest.raises(LoadFailed, match=r"after 0\.05 s") as caught:
        await load(endpoint, limit=0.05)
    assert_names(caught.value, server, MODEL)
    assert server.resident == {}


async def test_a_model_evicted_by_someone_else_while_it_was_loaded_is_a_failed_load(server, endpoint):
    gate = server.hold("/api/ps")

    async def evict():
        await server.reached("/api/ps")
        server.evict(MODEL)
        gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(evict)
        with pytest.raises(LoadFailed, match="evicted"):
            await load(endpoint)


async def test_a_broken_pull_says_why(server, endpoint):
    with pytest.raises(PullFailed, match="file does not exist") as caught:
        await endpoint.pull("nowhere:1b")
    assert_names(caught.value, server, "nowhere:1b")
    server.fail("/api/pull", "short")
    with pytest.raises(PullFailed, match="pulling manifest"):
        await endpoint.pull(MODEL)


async def test_something_else_listening_there_is_unavailable(server, endpoint):
    for path in ("/api/tags", "/api/ps"):
        server.fail(path, "garbage")
    with pytest.raises(EndpointUnavailable, match="something else"):
        await endpoint.models()
    with pytest.raises(EndpointUnavailable, match="something else"):
        await endpoint.resident()


async def test_a_fault_of_the_one_who_watches_the_chunks_stays_his(server, endpoint):
    def broken(chunk):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await endpoint.call(asking(), broken)
    await server.idle()


async def test_the_token_goes_along_with_every_request():
    async with OllamaServer({MODEL: ServedModel()}, token="secret") as server:
        async with OllamaClient(server.url, token="secret") as client:
            assert await client.version() == "0.33.0"
            assert (await client.chat(asking())).text == "ok"
        async with OllamaClient(server.url) as client:
            with pytest.raises(EndpointUnavailable, match="unauthorized"):
                await client.version()


async def test_a_model_whose_runner_died_is_not_resident_until_it_is_loaded_again(server, endpoint):
    """Ollama itself lists it on until somebody asks for it: whoever believed that would not load it again."""
    await load(endpoint)
    server.fail("/api/chat", "error")
    with pytest.raises(CallFailed):
        await endpoint.call(asking())
    assert list(server.resident) == [MODEL]
    assert await endpoint.resident() == ()
    await load(endpoint)
    assert [seen.model for seen in await endpoint.resident()] == [MODEL]
    assert (await endpoint.call(asking())).text == "one two"
    assert len(server.loads) == 2


async def test_what_a_runner_said_to_its_server_is_told_in_its_words_with_what_to_do(server, endpoint):
    """Ollama hands it on as the JSON it got."""
    await load(endpoint)
    long = Request("small", MODEL, (Message("user", "word " * 5000),), 4096)
    with pytest.raises(CallFailed) as caught:
        await endpoint.call(long)
    assert caught.value.message.endswith(
        "HTTP 400: request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it"
    )
    assert caught.value.hint == "raise the agent's num_ctx, or give it less"
