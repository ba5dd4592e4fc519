"""What every endpoint promises, whatever is behind it.

The embedded engine joins in with its smallest model where that is here, a real server when OLLAMA_TEST_URL (and
OLLAMA_TEST_MODEL, OLLAMA_TEST_DEVICE) is set.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import anyio
import pytest

from vwt_agents.endpoints.embedded import EmbeddedEndpoint
from vwt_agents.endpoints.guarded import GuardedEndpoint
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import CallTimeout, ModelMissing
from vwt_agents.ledger import Ledger, Resource
from vwt_agents.ledgered import LedgeredEndpoint, Need
from vwt_agents.messages import Chunk, Message, Options, Request
from vwt_agents.testing import OllamaServer, ScriptedEndpoint, ServedModel

MODEL = os.environ.get("OLLAMA_TEST_MODEL", "mistral:latest")
PIECES = ["def f():", "\n    return", " 1"]


@asynccontextmanager
async def scripted():
    async with ScriptedEndpoint({MODEL: 4000}, lambda _: PIECES) as endpoint:
        yield endpoint, lambda: endpoint.hold("call", MODEL)


@asynccontextmanager
async def ollama():
    server = OllamaServer({MODEL: ServedModel(4000)}, PIECES)
    async with server, OllamaEndpoint("small", server.url) as endpoint:
        yield endpoint, lambda: server.hold("/api/chat")


@asynccontextmanager
async def ledgered():
    """The same, within the memory that all processes of the machine share."""
    server = OllamaServer({MODEL: ServedModel(4000)}, PIECES)
    need = Need(Resource(MODEL, server="the test's"), 4000)
    async with server:
        inner = OllamaEndpoint("small", server.url)
        with Ledger.open() as ledger:
            async with LedgeredEndpoint(inner, ledger, ceiling=lambda: 5000, need=lambda _: need) as endpoint:
                yield endpoint, lambda: server.hold("/api/chat")


@asynccontextmanager
async def real():
    url = os.environ.get("OLLAMA_TEST_URL")
    if not url:
        pytest.skip("OLLAMA_TEST_URL is not set")
    async with OllamaEndpoint("real", url, device=os.environ.get("OLLAMA_TEST_DEVICE", "gpu0")) as endpoint:
        yield endpoint, lambda: None
        await endpoint.unload(MODEL)


@asynccontextmanager
async def guarded():
    server = OllamaServer({MODEL: ServedModel(4000)}, PIECES)
    async with server, GuardedEndpoint(OllamaEndpoint("small", server.url)) as endpoint:
        yield endpoint, lambda: server.hold("/api/chat")


@asynccontextmanager
async def embedded():
    async with EmbeddedEndpoint("here", threads=2) as endpoint:
        yield endpoint, lambda: None


OPENED = [scripted, ollama, ledgered, guarded, real, pytest.param(embedded, marks=pytest.mark.model)]


@pytest.fixture(params=OPENED, ids=lambda param: param.__name__)
def opened(request, monkeypatch):
    if request.param is embedded:
        monkeypatch.setattr("test_endpoint_contract.MODEL", "smollm2:135m")
    return request.param


def asking(*messages: Message, timeout: float = 60.0, tokens: int = 16) -> Request:
    said = messages or (Message("user", "write f"),)
    return Request("small", MODEL, said, 2048, Options(num_predict=tokens, temperature=0.0), timeout=timeout)


def asking_for_long(timeout: float = 60.0) -> Request:
    """What keeps a real model busy for seconds: it can't be held at a gate."""
    return asking(Message("user", "Count from 1 to 1000, each number on a line."), timeout=timeout, tokens=600)


async def loaded(endpoint):
    return await endpoint.load(MODEL, num_ctx=2048, slots=1, timeout=300.0)


async def test_a_probe_says_that_it_answers_and_which_version(opened):
    async with opened() as (endpoint, _):
        health = await endpoint.probe()
        assert health.ok
        assert health.version


async def test_a_model_it_lists_can_be_described(opened):
    async with opened() as (endpoint, _):
        info = await endpoint.describe(MODEL)
        assert info.name == MODEL
        assert info.size_bytes > 0
        assert info.digest
        assert MODEL in {known.name for known in await endpoint.models()}


async def test_a_model_that_is_not_there_is_named_with_what_to_do(opened):
    async with opened() as (endpoint, _):
        for use in (endpoint.describe("absent:1b"), endpoint.load("absent:1b", num_ctx=2048, slots=1, timeout=5.0)):
            with pytest.raises(ModelMissing, match="absent:1b") as caught:
                await use
            assert caught.value.hint


async def test_resident_is_what_was_loaded_until_it_is_unloaded(opened):
    async with opened() as (endpoint, _):
        residence = await loaded(endpoint)
        assert residence.model == MODEL
        assert residence.num_ctx == 2048
        assert 0 < residence.device_mib <= residence.size_mib
        assert [seen for seen in await endpoint.resident() if seen.model == MODEL] == [residence]
        await endpoint.unload(MODEL)
        assert MODEL not in {seen.model for seen in await endpoint.resident()}


async def test_unloading_what_is_not_resident_is_no_error(opened):
    async with opened() as (endpoint, _):
        await endpoint.unload(MODEL)
        await endpoint.unload("absent:1b")


async def test_an_answer_is_its_chunks_put_together(opened):
    async with opened() as (endpoint, _):
        await loaded(endpoint)
        chunks: list[Chunk] = []
        response = await endpoint.call(asking(), chunks.append)
        assert response.text
        assert response.text == "".join(chunk.text for chunk in chunks)
        assert len(chunks) > 1
        assert (response.model, response.endpoint) == (MODEL, "small")
        assert response.done_reason in {"stop", "length"}
        assert response.usage.prompt_tokens > 0
        assert response.usage.output_tokens > 0


async def test_an_answer_never_repeats_its_prefill(opened):
    """The double and the test server echo it, in pieces that do not end where it ends."""
    async with opened() as (endpoint, _):
        await loaded(endpoint)
        response = await endpoint.call(asking(Message("user", "write f"), Message("assistant", "def f():\n   ")))
        assert not response.text.startswith("def f")


async def test_a_call_ends_at_its_time_limit(opened):
    async with opened() as (endpoint, hold_calls):
        await loaded(endpoint)
        hold_calls()
        with pytest.raises(CallTimeout, match=MODEL):
            await endpoint.call(asking_for_long(timeout=0.05))


async def test_a_cancelled_call_frees_its_slot(opened):
    """With one slot the second call could otherwise never be answered."""
    async with opened() as (endpoint, hold_calls):
        await loaded(endpoint)
        gate = hold_calls()
        heard = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endpoint.call, asking_for_long(), lambda _: heard.set())
            if gate is None:
                await heard.wait()
            else:
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        if gate is not None:
            gate.set()
        with anyio.fail_after(10):
            assert (await endpoint.call(asking())).text
