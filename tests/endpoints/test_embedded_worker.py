"""The embedded engine with a real model: `smollm2:135m` in a worker process. Skipped where the model or the engine is not."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from embedded_files import entry_for, gguf_bytes, write

from vwt_agents.endpoints.embedded import EmbeddedEndpoint
from vwt_agents.endpoints.embedded.catalogue import Catalogue, load_catalogue
from vwt_agents.endpoints.embedded.store import Store
from vwt_agents.errors import CallFailed, EndpointUnavailable, LoadFailed, ModelMissing
from vwt_agents.messages import Message, Options, Request
from vwt_agents.side_by_side import side_by_side

MODEL = "smollm2:135m"
CTX = 1024


def ask(*texts: str, prefill: str = "", format: dict | None = None, **options) -> Request:  # noqa: A002
    messages = [Message("user", text) for text in texts]
    if prefill:
        messages.append(Message("assistant", prefill))
    greedy = Options(**{"temperature": 0.0, "num_predict": 12, **options})
    return Request("here", MODEL, tuple(messages), CTX, greedy, format)


@pytest.fixture
async def endpoint():
    async with EmbeddedEndpoint("here", threads=2) as endpoint:
        await endpoint.load(MODEL, num_ctx=CTX, slots=2, timeout=60)
        yield endpoint


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.model
async def test_a_loaded_model_answers_streams_and_counts(endpoint):
    pieces: list[str] = []
    response = await endpoint.call(ask("Say hello."), lambda chunk: pieces.append(chunk.text))
    assert response.text
    assert "".join(pieces) == response.text
    assert len(pieces) > 1
    assert response.usage.prompt_tokens > 10
    assert 0 < response.usage.output_tokens <= 12


@pytest.mark.model
async def test_a_repeated_prompt_is_read_from_the_cache(endpoint):
    await endpoint.call(ask("Say hello to the whole world."))
    again = await endpoint.call(ask("Say hello to the whole world."))
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


@pytest.mark.model
async def test_samples_of_one_prompt_read_it_once_and_are_those_their_seeds_give_alone(endpoint):
    alone = [await endpoint.call(ask("Name a colour.", temperature=1.0, seed=seed)) for seed in (5, 6)]
    pair = [replace(ask("Name a colour.", temperature=1.0, seed=seed), together=2) for seed in (5, 6)]
    together = await side_by_side(lambda index: endpoint.call(pair[index]), 2)
    assert [one.text for one in together] == [one.text for one in alone]
    assert together[0].usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert together[1].usage.prompt_tokens == 0
    assert all(one.usage.output_tokens > 0 for one in together)


@pytest.mark.model
async def test_a_schema_shapes_the_answer(endpoint):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    response = await endpoint.call(ask("Give a number as JSON.", format=schema, num_predict=40))
    assert isinstance(json.loads(response.text)["n"], int)


@pytest.mark.model
async def test_a_prefill_is_continued_and_not_repeated(endpoint):
    prefill = "```python\ndef add(a, b):\n   "
    response = await endpoint.call(ask("Complete the function.", prefill=prefill))
    assert response.text.startswith(" ")
    assert "def add(a, b)" not in response.text[: len(prefill)]


@pytest.mark.model
async def test_a_prompt_that_is_too_long_is_an_error_with_its_numbers(endpoint):
    with pytest.raises(CallFailed, match=rf"the prompt has \d+ tokens and a slot holds {CTX}"):
        await endpoint.call(ask("word " * 2 * CTX))


@pytest.mark.model
async def test_nobody_is_answered_without_the_token(endpoint):
    import httpx

    port = endpoint._workers[MODEL].process.port
    async with httpx.AsyncClient(trust_env=False) as client:
        for headers in ({}, {"Authorization": "Bearer guessed"}):
            reply = await client.get(f"http://127.0.0.1:{port}/api/version", headers=headers)
            assert reply.status_code == 401


@pytest.mark.model
async def test_a_cancelled_call_frees_its_slot_also_while_the_prompt_is_read(endpoint):
    """With both slots cancelled in the middle, a short call is answered at once and not after the long ones."""
    long = ask(" ".join(f"word{number}" for number in range(200)), num_predict=500)
    started = [anyio.Event(), anyio.Event()]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint.call, ask("Count to a thousand.", num_predict=900), lambda _chunk: started[0].set())
        tasks.start_soon(endpoint.call, long)
        await started[0].wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(10):
        assert (await endpoint.call(ask("Hi", num_predict=1))).usage.output_tokens == 1


@pytest.mark.model
async def test_a_worker_that_dies_in_a_call_fails_it_and_is_resident_no_more(endpoint):
    process = endpoint._workers[MODEL].process
    with pytest.raises(CallFailed, match="was ended by SIGKILL") as caught:
        await endpoint.call(
            ask("Count to a thousand.", num_predict=900), lambda _chunk: os.kill(process.pid, signal.SIGKILL)
        )
    assert caught.value.retryable
    assert await endpoint.resident() == ()
    await endpoint.load(MODEL, num_ctx=CTX, slots=1, timeout=60)
    assert (await endpoint.call(ask("Hi"))).text


@pytest.mark.model
async def test_a_residence_says_what_the_process_takes_and_unload_ends_it(endpoint):
    (residence,) = await endpoint.resident()
    assert residence.model == MODEL
    assert residence.num_ctx == CTX
    assert 100 < residence.size_mib == residence.device_mib < 500
    pid = endpoint._workers[MODEL].process.pid
    await endpoint.unload(MODEL)
    assert not running(pid)
    assert await endpoint.resident() == ()
    await endpoint.unload(MODEL)


@pytest.mark.model
async def test_no_worker_outlives_a_cancelled_block():
    pids: list[int] = []
    with anyio.CancelScope() as scope:
        async with EmbeddedEndpoint("here") as endpoint:
            await endpoint.load(MODEL, num_ctx=CTX, slots=1, timeout=60)
            pids.append(endpoint._workers[MODEL].process.pid)
            scope.cancel()
            await anyio.sleep_forever()
    assert pids
    assert not any(running(pid) for pid in pids)


@pytest.mark.model
async def test_a_load_that_takes_too_long_leaves_no_worker():
    async with EmbeddedEndpoint("here") as endpoint:
        with pytest.raises(LoadFailed, match="was not loaded within"):
            await endpoint.load(MODEL, num_ctx=CTX, slots=1, timeout=0.05)
        assert await endpoint.resident() == ()


@pytest.mark.model
async def test_a_load_the_engine_refuses_fails_with_its_own_words(tmp_path):
    """A header that is right says nothing about the tensors the engine wants."""
    data = gguf_bytes()
    async with EmbeddedEndpoint("here", **_place(tmp_path, data)) as endpoint:
        with pytest.raises(LoadFailed, match=r"(?s)tiny:1b could not be loaded.*error loading model"):
            await endpoint.load("tiny:1b", num_ctx=64, slots=1, timeout=60)


def _place(tmp_path, data: bytes) -> dict:
    store = Store(tmp_path / "models", borrowed=tmp_path / "ollama")
    entry = entry_for(data)
    write(store.blob(entry.sha256), data)
    return {"store": store, "catalogue": Catalogue((entry,))}


async def test_a_broken_file_is_told_before_a_worker_is_started(tmp_path):
    pytest.importorskip("xllamacpp")
    async with EmbeddedEndpoint("here", **_place(tmp_path, gguf_bytes()[:-1])) as endpoint:
        with pytest.raises(LoadFailed, match="it is cut short: it has"):
            await endpoint.load("tiny:1b", num_ctx=64, slots=1, timeout=1)
        assert [info.name for info in await endpoint.models()] == ["tiny:1b"]


async def test_a_model_only_the_catalogue_knows_can_be_described_and_not_loaded(tmp_path):
    pytest.importorskip("xllamacpp")
    endpoint = EmbeddedEndpoint("here", store=Store(tmp_path, borrowed=tmp_path), catalogue=load_catalogue())
    info = await endpoint.describe("qwen2.5-coder:0.5b")
    assert not info.installed
    assert info.metadata["qwen2.block_count"] == 24
    with pytest.raises(ModelMissing, match=r"models pull qwen2\.5-coder:0\.5b"):
        await endpoint.load("qwen2.5-coder:0.5b", num_ctx=64, slots=1, timeout=1)
    with pytest.raises(ModelMissing, match=r"did you mean 'qwen2\.5-coder:0\.5b'"):
        await endpoint.describe("qwen2.5-codr:0.5b")


async def test_without_the_engine_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr("vwt_agents.endpoints.embedded.endpoint.find_spec", lambda _name: None)
    endpoint = EmbeddedEndpoint("here", store=Store(tmp_path, borrowed=tmp_path), catalogue=load_catalogue())
    health = await endpoint.probe()
    assert not health.ok
    assert "pip install 'vwt-agents[embedded]'" in health.detail
    with pytest.raises(EndpointUnavailable, match=r"pip install 'vwt-agents\[embedded\]'"):
        await endpoint.load(MODEL, num_ctx=64, slots=1, timeout=1)
