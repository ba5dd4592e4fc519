"""What is sent to an Ollama server, and how its answers are read."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.endpoints.address import canonical, server_url
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.endpoints.ollama.answer import lines
from vwt_agents.endpoints.prefill import EchoFilter
from vwt_agents.errors import EndpointUnavailable, LoadFailed
from vwt_agents.messages import Message, Options, Request, Usage
from vwt_agents.testing import OllamaServer, ServedModel

MODEL = "mistral:latest"


@pytest.fixture
async def server():
    async with OllamaServer({MODEL: ServedModel(4000), "neural-chat:latest": ServedModel(4000)}, parallel=2) as serving:
        yield serving


@pytest.fixture
async def endpoint(server):
    async with OllamaEndpoint("small", server.url) as opened:
        yield opened


async def test_a_load_stays_until_told_otherwise_and_a_call_never_says_how_long(server, endpoint):
    await endpoint.load(MODEL, num_ctx=8192, slots=2, timeout=5)
    schema = {"type": "object"}
    await endpoint.call(
        Request("small", MODEL, (Message("user", "hi"),), 8192, Options(temperature=0.2, stop=("```",)), format=schema)
    )
    preload = next(body for path, body in server.requests if path == "/api/generate")
    assert (preload["keep_alive"], preload["options"]) == (-1, {"num_ctx": 8192, "num_batch": 512})
    (call,) = server.calls
    assert "keep_alive" not in call
    assert call["truncate"] is False
    assert call["stream"] is True
    assert call["options"] == {"temperature": 0.2, "stop": ["```"], **preload["options"]}
    assert call["shift"] is preload["shift"] is False
    assert call["format"] == schema
    assert server.loads == [(MODEL, 8192)]


async def test_an_endpoint_on_the_cpu_keeps_its_models_off_the_servers_gpus(server):
    """Only the load says so: a call that says nothing of it does not reload."""
    async with OllamaEndpoint("small", server.url, device="cpu") as endpoint:
        residence = await endpoint.load(MODEL, num_ctx=8192, slots=2, timeout=5)
        await endpoint.call(Request("small", MODEL, (Message("user", "hi"),), 8192))
    assert (residence.size_mib, residence.device_mib) == (4000, 4000)
    assert server.memory.runners[MODEL].vram == 0
    assert server.loads == [(MODEL, 8192)]


async def test_a_model_that_is_on_a_gpu_all_the_same_is_no_load_on_the_cpu(server, monkeypatch):
    async with OllamaEndpoint("small", server.url, device="cpu") as endpoint:
        await endpoint._client.preload(MODEL, 8192)  # as another client would
        preload = endpoint._client.preload
        monkeypatch.setattr(endpoint._client, "preload", lambda model, num_ctx, on_cpu: preload(model, num_ctx))
        with pytest.raises(LoadFailed, match="4000 MiB of it are on a GPU"):
            await endpoint.load(MODEL, num_ctx=8192, slots=2, timeout=5)
    assert not server.resident


async def test_usage_is_in_seconds_and_tokens(server, endpoint):
    response = await endpoint.call(Request("small", MODEL, (Message("user", "one two three"),), 4096))
    assert response.usage == Usage(3, 1, None, prompt_s=1.0, output_s=1.5, total_s=3.0, load_s=0.5)


async def test_a_body_is_cut_at_newlines_only_and_however_it_comes():
    body = "one\u0085still one\n\u2028two\nthree".encode()

    async def pieces(size):
        for start in range(0, len(body), size):
            yield body[start : start + size]

    for size in range(1, len(body) + 1):
        assert [line async for line in lines(pieces(size))] == body.split(b"\n")


async def test_an_unload_has_ended_only_when_the_model_is_gone(server, endpoint):
    await endpoint.load(MODEL, num_ctx=4096, slots=2, timeout=5)
    gate = server.hold("unload")
    ended = anyio.Event()

    async def unload():
        await endpoint.unload(MODEL)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(unload)
        await server.reached("unload")
        assert not ended.is_set()
        gate.set()
        with anyio.fail_after(5):
            await ended.wait()
    assert server.resident == {}


async def test_a_victim_in_use_leaves_after_its_last_call(server, endpoint):
    """A call that comes in while the model is leaving is answered, and does not revive it."""
    server._script = lambda _: ["a", "b"]
    await endpoint.load(MODEL, num_ctx=4096, slots=2, timeout=5)
    pieces, told = server.hold("piece"), server.hold("/api/generate")
    texts = []

    async def call(begun):
        request = Request("small", MODEL, (Message("user", "hi"),), 4096)
        texts.append((await endpoint.call(request, lambda _: begun.set())).text)

    async def begin(tasks):
        begun = anyio.Event()
        tasks.start_soon(call, begun)
        await begun.wait()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            await begin(tasks)
            tasks.start_soon(endpoint.unload, MODEL)
            await server.reached("/api/generate")
            looks = server.hold("/api/ps")
            told.set()
            await server.reached("/api/ps")
            await begin(tasks)
            looks.set()
            assert list(server.resident) == [MODEL]
            pieces.set()
    assert texts == ["ab", "ab"]
    assert server.resident == {}
    assert server.unloads == [MODEL]


async def test_names_are_one_whatever_their_case_and_tag(server, endpoint):
    residence = await endpoint.load("Mistral", num_ctx=4096, slots=1, timeout=5)
    assert residence.model == "Mistral"
    assert [seen.model for seen in await endpoint.resident()] == ["Mistral"]
    assert (await endpoint.describe("MISTRAL")).name == "MISTRAL"
    await endpoint.unload("mistral:latest")
    assert server.resident == {}


async def test_models_come_with_metadata_licence_and_the_digest_of_their_weights(server, endpoint):
    server.models["gpt:120b-cloud"] = ServedModel(0)
    infos = await endpoint.models()
    assert [info.name for info in infos] == [MODEL, "neural-chat:latest"]
    assert infos[0].metadata["general.architecture"] == "llama"
    assert infos[0].licence == "Apache License 2.0"
    assert infos[0].quantisation == "Q4_0"
    assert infos[0].size_bytes == 4000 * 2**20
    assert infos[0].digest != infos[1].digest


async def test_numbers_per_layer_are_asked_for_where_the_server_leaves_them_out(server, endpoint):
    heads = [8, 8, 0, 8, 8, 8]
    server.models["layered:latest"] = ServedModel(1, {"general.architecture": "l", "l.attention.head_count_kv": heads})
    assert (await endpoint.describe("layered")).metadata["l.attention.head_count_kv"] == heads


async def test_a_pull_reports_its_progress_and_brings_the_model(server, endpoint):
    server.pullable["new:1b"] = ServedModel()
    seen = []
    await endpoint.pull("new:1b", seen.append)
    assert [(step.completed, step.total) for step in seen if step.total] == [(0, 100), (50, 100), (100, 100)]
    assert seen[-1].status == "success"
    assert "new:1b" in {info.name for info in await endpoint.models()}


async def test_one_connection_pool_serves_all_calls_and_ends_with_the_endpoint(server):
    async with OllamaEndpoint("small", server.url) as endpoint:
        await endpoint.probe()
        first = endpoint._client._connection.client
        await endpoint.resident()
        assert endpoint._client._connection.client is first
    assert first._client.is_closed


async def test_a_proxy_of_the_outside_world_is_not_used_on_loopback(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with OllamaEndpoint("small", server.url) as endpoint:
        assert (await endpoint.probe()).ok


@asynccontextmanager
async def answering(answer: str, body: bytes = b"") -> AsyncIterator[str]:
    """The address of a server that gives this answer, whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length))
                writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async with await asyncio.start_server(serve, "127.0.0.1") as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_a_server_behind_something_that_redirects_is_followed(server):
    async with (
        answering(f"307 Over There\r\nLocation: {server.url}/api/chat") as url,
        OllamaEndpoint("small", url) as endpoint,
    ):
        answer = await endpoint.call(Request("small", MODEL, (Message("user", "hi"),), 8192))
    assert answer.text


async def test_an_answer_that_something_between_has_compressed_is_read():
    part = {"message": {"role": "assistant", "content": "hello"}, "done": True, "eval_count": 1}
    body = gzip.compress(json.dumps(part).encode() + b"\n")
    async with (
        answering("200 OK\r\nContent-Encoding: gzip", body=body) as url,
        OllamaEndpoint("small", url) as endpoint,
    ):
        answer = await endpoint.call(Request("small", MODEL, (Message("user", "hi"),), 8192))
    assert answer.text == "hello"


@given(st.text(max_size=8), st.text(max_size=12), st.lists(st.integers(0, 20), max_size=6))
def test_an_echo_is_taken_off_however_it_is_cut(prefill, rest, cuts):
    answer = prefill + rest
    bounds = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    echo = EchoFilter(prefill)
    out = [echo.feed(answer[start:end]) for start, end in pairwise(bounds)]
    assert "".join(out) + echo.finish() == rest


@given(st.text("ab", min_size=1, max_size=6), st.lists(st.text("ab", max_size=3), max_size=6))
def test_an_answer_that_does_not_begin_with_the_prefill_is_left_whole(prefill, pieces):
    answer = "".join(pieces)
    echo = EchoFilter(prefill)
    got = "".join(map(echo.feed, pieces)) + echo.finish()
    assert got == answer.removeprefix(prefill)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("gpu-box", "http://gpu-box:11434"),
        ("10.0.0.2:8000", "http://10.0.0.2:8000"),
        (":11500", "http://127.0.0.1:11500"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11435", "http://127.0.0.1:11435"),
        ("http://0.0.0.0:11435/", "http://127.0.0.1:11435"),
        ("http://box", "http://box:80"),
        ("https://box/ollama/", "https://box:443/ollama"),
        ("[::]:11434", "http://[::1]:11434"),
        (' "127.0.0.1:11434" ', "http://127.0.0.1:11434"),
    ],
)
def test_every_form_of_ollama_host_is_understood(text, url, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", text)
    assert server_url() == url
    assert OllamaEndpoint("small").url == url


@pytest.mark.parametrize("text", ["ftp://box", "box:port", "box:99999", "http://[::1"])
def test_what_is_no_address_is_named(text):
    with pytest.raises(EndpointUnavailable, match="host:port") as caught:
        server_url(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "one"),
    [("Mistral", MODEL), ("mistral:7B-Q4_0", "mistral:7b-q4_0"), ("hub:5000/me/x", "hub:5000/me/x:latest")],
)
def test_a_model_has_one_spelling(name, one):
    assert canonical(name) == one


async def test_the_time_of_a_probe_begins_when_the_package_it_asks_with_is_imported(endpoint, monkeypatch):
    asked = []

    async def version() -> str:
        asked.append(True)
        return "0.33.0"

    monkeypatch.setattr(endpoint._client, "version", version)
    monkeypatch.setitem(sys.modules, "ollama", None)  # an import that fails shows when it is made
    with pytest.raises(ImportError):
        await endpoint.probe()
    assert asked == []
