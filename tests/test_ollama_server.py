"""The test server behaves as Ollama does where it hurts, so that a pipeline tested with it meets no surprise."""

from __future__ import annotations

import anyio
import httpx
from click.testing import CliRunner
from virtual_time import run

from vwt_agents.endpoints.ollama import OllamaClient
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ServedModel
from vwt_agents.testing.__main__ import main

MODELS = {"a:latest": ServedModel(4000), "b:latest": ServedModel(5000), "c:latest": ServedModel(3000)}


def with_server(play, **options) -> None:
    async def main() -> None:
        async with (
            OllamaServer(MODELS, **options) as server,
            httpx.AsyncClient(base_url=server.url, timeout=None) as http,
        ):
            await play(server, http)

    run(main())


async def generate(http, model: str, **more):
    return await http.post("/api/generate", json={"model": model, "stream": False, **more})


def test_a_model_that_does_not_fit_beside_others_makes_idle_ones_leave_shortest_stay_first() -> None:
    async def play(server, http) -> None:
        await generate(http, "a", keep_alive=-1)
        await generate(http, "c", keep_alive="60s")
        await generate(http, "b", keep_alive=-1)
        assert (list(server.resident), server.unloads) == (["a:latest", "b:latest"], ["c:latest"])

    with_server(play, vram_mib=10000)


def test_any_other_num_ctx_num_batch_or_shift_loads_again_and_the_same_does_not() -> None:
    async def play(server, http) -> None:
        options = {"num_ctx": 2048, "num_batch": 512}
        for more in (
            {"options": options},
            {"options": options},
            {"options": {**options, "temperature": 0.5}},
            {"options": {**options, "num_batch": 1024}},
            {"options": options, "shift": False},
            {},
            {},
        ):
            await generate(http, "a", **more)
        assert [num_ctx for _, num_ctx in server.loads] == [2048, 2048, 2048, 4096]

    with_server(play)


def test_only_cold_requests_meet_a_full_queue() -> None:
    async def play(server, http) -> None:
        await generate(http, "a")
        server.memory.max_queue = 0
        assert (await generate(http, "a")).status_code == 200
        busy = await generate(http, "b")
        assert (busy.status_code, busy.json()["error"][:11]) == (503, "server busy")

    with_server(play)


def test_an_out_of_memory_takes_every_model_with_it() -> None:
    async def play(server, http) -> None:
        await generate(http, "a")
        server.fail("load", "oom")
        failed = await generate(http, "b")
        assert (failed.status_code, server.resident) == (500, {})
        assert "out of memory" in failed.json()["error"]

    with_server(play)


def test_a_client_that_leaves_aborts_its_load() -> None:
    async def play(server, http) -> None:
        server.load_s = 60
        with anyio.move_on_after(10):
            await generate(http, "a")
        await anyio.sleep(120)
        assert server.loads == []

    with_server(play)


def test_an_idle_model_leaves_when_its_stay_is_over_and_ps_says_when() -> None:
    async def play(server, http) -> None:
        await generate(http, "a", keep_alive="60s")
        (seen,) = await OllamaClient(server.url).ps()
        assert 0 < (seen.expires_in or 0) <= 60
        await anyio.sleep(61)
        assert server.resident == {}

    with_server(play)


def test_a_wait_for_a_load_is_in_load_duration_and_one_for_a_slot_only_in_the_total() -> None:
    async def play(server, http) -> None:
        server.load_s, server.piece_s = 20.0, 10.0
        usages = []
        async with OllamaClient(server.url) as client, anyio.create_task_group() as tasks:

            async def ask() -> None:
                usages.append((await client.chat(Request("s", "a:latest", (Message("user", "hi"),), 4096))).usage)

            tasks.start_soon(ask)
            tasks.start_soon(ask)
        waits = [usage.total_s - usage.load_s - usage.prompt_s - usage.output_s for usage in usages]
        assert [round(usage.load_s, 1) for usage in usages] == [20.5, 20.5]
        assert [round(wait) for wait in waits] == [0, 10]

    with_server(play, script=["one", "two"], parallel=1)


def test_a_prompt_is_cut_silently_unless_it_is_told_not_to_and_by_an_old_version_in_any_case() -> None:
    async def play(server, http) -> None:
        async def counted(**more):
            body = {"model": "a", "messages": [{"role": "user", "content": "word " * 5000}], **more}
            return (await http.post("/api/chat", json=body)).text

        assert '"prompt_eval_count": 2050' in await counted()
        assert "exceeds the available context size" in await counted(truncate=False)
        assert "longer than the context length" in await counted(shift=False)
        server.obeys_truncate = False
        assert '"prompt_eval_count": 2050' in await counted(truncate=False, shift=False)

    with_server(play)


def test_a_model_told_to_leave_while_it_answers_shows_a_stay_that_is_past() -> None:
    async def play(server, http) -> None:
        await generate(http, "a")
        async with server.memory.use("a:latest", server.memory.runners["a:latest"], None):
            await generate(http, "a", keep_alive=0)
            (seen,) = await OllamaClient(server.url).ps()
            assert (seen.expires_in or 0) < 0
        await anyio.sleep(0.01)
        assert server.resident == {}

    with_server(play)


def test_a_load_by_another_client_with_other_options_replaces_ours() -> None:
    async def play(server, http) -> None:
        await generate(http, "a", options={"num_ctx": 2048})
        await server.load_by_another("a", num_ctx=8192)
        assert server.resident == {"a:latest": 8192}
        assert (await generate(http, "a", prompt="hi", options={"num_ctx": 8192})).json()["response"] == "ok"

    with_server(play)


def test_a_size_that_is_none_is_a_wrong_option_and_no_traceback() -> None:
    said = CliRunner().invoke(main, ["--model", "a:1=much"])
    assert (said.exit_code, "'a:1=much' is not NAME=MIB" in said.output) == (2, True)


def test_what_a_real_server_refuses_is_refused() -> None:
    """The words are those of Ollama 0.33."""

    async def play(server, http) -> None:
        asked = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
        for more, status, words in (
            ({"keep_alive": "300"}, 400, 'time: missing unit in duration "300"'),
            ({"think": True}, 400, '"a" does not support thinking'),
            ({"tools": [{}]}, 400, "registry.ollama.ai/library/a does not support tools"),
            ({"format": "xml"}, 500, 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'),
        ):
            reply = await http.post("/api/chat", json=asked | more)
            assert (reply.status_code, reply.json()["error"]) == (status, words)
        assert server.loads == []

    with_server(play)


def test_how_long_a_model_stays_is_said_in_seconds_or_in_words() -> None:
    async def play(server, http) -> None:
        for said, seconds in ((60, 60), ("5m", 300), ("1h30m", 5400), ("-1s", float("inf")), (-1, float("inf"))):
            await generate(http, "a", keep_alive=said)
            assert server.memory.runners["a:latest"].keep_alive == seconds

    with_server(play)


def test_a_chat_without_messages_loads_and_unloads() -> None:
    async def play(server, http) -> None:
        reply = await http.post("/api/chat", json={"model": "a", "messages": []})
        assert (reply.json()["done_reason"], list(server.resident)) == ("load", ["a:latest"])
        reply = await http.post("/api/chat", json={"model": "a", "messages": [], "keep_alive": 0})
        assert reply.json()["done_reason"] == "unload"
        await anyio.sleep(1)
        assert server.resident == {}

    with_server(play)


def test_no_model_gets_more_context_than_it_was_trained_for() -> None:
    async def play(server, http) -> None:
        metadata = {"general.architecture": "llama", "llama.context_length": 8192}
        server.models["small:latest"] = ServedModel(100, metadata=metadata)
        await generate(http, "small", options={"num_ctx": 100_000})
        await generate(http, "small", options={"num_ctx": 8192})
        assert server.loads == [("small:latest", 8192)]

    with_server(play)
