"""What doctor finds out about an Ollama server, and what it says to do about it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vwt_agents.app import World, open_world
from vwt_agents.app.checks import check_all
from vwt_agents.app.findings import Finding
from vwt_agents.app.inspection import environment_for, look_at_servers
from vwt_agents.app.matrix import model_matrix
from vwt_agents.app.slots import count_slots
from vwt_agents.config import parse_settings
from vwt_agents.endpoints.ollama import OllamaClient
from vwt_agents.endpoints.server_facts import ServerEnvironment
from vwt_agents.journal import JournalReader
from vwt_agents.ledger import Ledger, Resource
from vwt_agents.messages import Chunk, OnChunk, Request, Response
from vwt_agents.testing import OllamaServer, ServedModel

METADATA = {
    "general.architecture": "llama", "general.file_type": 2, "llama.block_count": 32, "llama.vocab_size": 32768,
    "llama.embedding_length": 4096, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
    "llama.context_length": 32768,
}  # fmt: skip
MISTRAL = "mistral:latest"

CONFIG = """
[budget]
gpu0 = "14 GiB"
[endpoints.small]
kind = "ollama"
url = "{url}"
device = "gpu0"
parallel = {parallel}
{more}
[tiers.small]
endpoint = "small"
models = ["mistral:latest"]
num_ctx = 4096
[agents.coder]
num_ctx = 8192
"""


def mistral(slots: int = 4, **more: Any) -> ServedModel:
    """4096 tokens a slot: 3850 MiB of weights, 512 MiB a slot, 73 MiB to compute with."""
    return ServedModel(3850 + 512 * slots + 73, METADATA, file_mib=3923, **more)


@asynccontextmanager
async def world(
    models: Mapping[str, ServedModel], *, parallel: int = 4, more: str = "", **server: Any
) -> AsyncIterator[tuple[World, OllamaServer]]:
    async with OllamaServer(models, **server) as serving:
        text = CONFIG.format(url=serving.url, parallel=parallel, more=more)
        async with open_world(parse_settings(text)) as opened:
            yield opened, serving


async def findings(opened: World, **values: str) -> dict[str, Finding]:
    known = ServerEnvironment(values, "the environment of process 7") if values else None
    (look,) = await look_at_servers(opened, environment=lambda _url: known)
    return {finding.what: finding for finding in look.findings}


async def somebody_loads(server: OllamaServer, model: str, num_ctx: int = 4096) -> None:
    async with OllamaClient(server.url) as client:
        await client.preload(model, num_ctx)


async def test_a_server_of_today_says_how_it_places_models_and_one_of_yesterday_is_to_be_updated() -> None:
    async with world({MISTRAL: mistral()}) as (opened, _server):
        assert (await findings(opened))["version of small"].level == "ok"
    async with world({MISTRAL: mistral()}, version="0.9.2") as (opened, _server):
        old = (await findings(opened))["version of small"]
    assert (old.level, "update" in (old.fix or "")) == ("note", True)


async def test_a_model_that_the_server_would_say_nothing_of_is_offered_as_that_and_not_as_missing() -> None:
    async with OllamaServer({MISTRAL: mistral()}) as server:
        server.fail("/api/show", "reset", times=20)
        async with open_world(parse_settings(CONFIG.format(url=server.url, parallel=4, more=""))) as opened:
            offer = opened.offers["small"]
    assert (offer.answers, offer.empty, list(offer.untold), dict(offer.models)) == (True, False, [MISTRAL], {})
    assert offer.untold[MISTRAL] in opened.health["small"].detail


async def test_slots_that_nothing_tells_are_to_be_counted_by_loading() -> None:
    async with world({MISTRAL: mistral()}) as (opened, server):
        found = (await findings(opened))["slots of small"]
        assert (found.level, server.loads) == ("note", [])
    assert "parallel = 4" in found.detail
    assert "doctor --load" in (found.fix or "")


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ({"OLLAMA_NUM_PARALLEL": "4"}, "ok", "OLLAMA_NUM_PARALLEL=4 in the environment of process 7"),
        ({"OLLAMA_NUM_PARALLEL": "8"}, "missing", "may spill"),
        ({"OLLAMA_NUM_PARALLEL": "2"}, "note", "requests wait inside Ollama"),
        ({"HOME": "/"}, "note", "is not set in the environment of process 7, so 1"),
    ],
)
async def test_the_servers_own_environment_tells_its_slots(said: dict[str, str], level: str, words: str) -> None:
    async with world({MISTRAL: mistral()}) as (opened, _server):
        found = (await findings(opened, **said))["slots of small"]
    assert (found.level, words in found.detail) == (level, True), found
    if level != "ok":
        assert "OLLAMA_NUM_PARALLEL=4, or say parallel =" in (found.fix or "")


@pytest.mark.parametrize(("slots", "level"), [(4, "ok"), (1, "note"), (8, "missing")])
async def test_what_a_resident_model_takes_tells_the_slots(slots: int, level: str) -> None:
    async with world({MISTRAL: mistral(slots)}) as (opened, server):
        await somebody_loads(server, MISTRAL)
        found = (await findings(opened))["slots of small"]
    assert found.level == level
    assert f"{slots} x 4096 tokens, 512 MiB a slot" in found.detail


async def test_options_of_the_server_are_compared_with_what_is_counted_on() -> None:
    async with world({MISTRAL: mistral()}) as (opened, _server):
        same = await findings(opened, OLLAMA_CONTEXT_LENGTH="8192")
        other = await findings(opened, OLLAMA_KV_CACHE_TYPE="q8_0", OLLAMA_FLASH_ATTENTION="1")
    assert same["context default of small"].detail.startswith("8192 tokens")
    assert same["KV cache of small"].level == "ok"
    assert (other["KV cache of small"].level, 'cache_type = "q8_0"' in (other["KV cache of small"].fix or "")) == (
        "missing",
        True,
    )
    assert "4096, 32768 or 262144" in other["context default of small"].detail
    async with world({MISTRAL: mistral()}, more='cache_type = "q8_0"') as (opened, _server):
        unseen = (await findings(opened))["KV cache of small"]
    assert (unseen.level, unseen.fix) == ("note", "start it with OLLAMA_KV_CACHE_TYPE=q8_0")


async def test_what_somebody_else_has_loaded_is_named_and_how_it_leaves() -> None:
    async with world({MISTRAL: mistral()}) as (opened, server):
        await somebody_loads(server, MISTRAL)
        there = (await findings(opened))["mistral:latest on small"]
    assert (there.level, there.fix) == ("note", "ollama stop mistral:latest")
    assert "counts against the budget" in there.detail


async def test_a_model_that_is_partly_on_the_cpu_now_is_missing_memory() -> None:
    async with world({MISTRAL: mistral()}, vram_mib=3000) as (opened, server):
        await somebody_loads(server, MISTRAL)
        spilt = (await findings(opened))["mistral:latest on small"]
    assert spilt.level == "missing"
    assert "3000 of its 5971 MiB are on the GPU (50 %)" in spilt.detail


async def test_a_server_that_keeps_fewer_models_than_are_listed_evicts_what_would_fit() -> None:
    large = '[tiers.large]\nendpoint = "small"\nmodels = ["llama2:13b"]'
    async with world({MISTRAL: mistral()}, more=large) as (opened, _server):
        one = (await findings(opened, OLLAMA_MAX_LOADED_MODELS="1"))["models of small"]
        both = await findings(opened, OLLAMA_MAX_LOADED_MODELS="2")
        unset = await findings(opened, HOME="/")
    assert (one.level, one.fix) == ("note", "start it with OLLAMA_MAX_LOADED_MODELS=2")
    assert "models of small" not in both.keys() | unset.keys()


async def test_tags_of_the_same_weights_are_fine_until_their_options_differ() -> None:
    one, same = (
        mistral(weights="w", parameters="temperature 0.2\nnum_ctx 4096"),
        mistral(weights="w", parameters='num_ctx                        4096\nstop "[INST]"'),
    )
    async with world({MISTRAL: one, "mine:latest": same}) as (opened, server):
        fine = (await findings(opened))["mistral:latest and mine:latest on small"]
        server.models["mine:latest"] = mistral(weights="w", parameters="num_ctx 8192\nnum_gpu 10")
        differ = (await findings(opened))["mistral:latest and mine:latest on small"]
    assert fine.level == "ok"
    assert differ.level == "note"
    assert "mistral:latest: num_ctx 4096; mine:latest: num_ctx 8192, num_gpu 10" in differ.detail


async def test_the_environment_to_set_is_that_of_the_agents_planned() -> None:
    async with world({MISTRAL: mistral()}, more='cache_type = "q8_0"') as (opened, _server):
        assert environment_for(opened, "small") == {
            "OLLAMA_NUM_PARALLEL": "4",
            "OLLAMA_CONTEXT_LENGTH": "8192",
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_FLASH_ATTENTION": "1",
            "OLLAMA_KV_CACHE_TYPE": "q8_0",
            "LLAMA_ARG_CACHE_RAM": "1024",
        }


async def test_a_server_that_does_not_answer_has_no_findings_but_an_environment() -> None:
    async with world({MISTRAL: mistral()}) as (opened, server):
        await server.refuse()
        (look,) = await look_at_servers(opened, environment=lambda _url: None)
        assert look.findings[0].level == "note"
        async with open_world(opened.settings) as later:
            (look,) = await look_at_servers(later)
            assert (look.answers, look.findings, look.wanted["OLLAMA_NUM_PARALLEL"]) == (False, (), "4")


async def counted(server: OllamaServer, opened: World, at_once: int) -> Finding:
    """Count with the answers held after their first piece, until that of `at_once` of them has been read."""
    gate, heard = server.hold("piece"), [0]
    endpoint = opened.endpoints["small"]
    call = endpoint.call

    async def listening(request: Request, on_chunk: OnChunk | None = None) -> Response:
        def hear(chunk: Chunk) -> None:
            assert on_chunk is not None
            on_chunk(chunk)
            heard[0] += 1
            if heard[0] == at_once:
                gate.set()

        return await call(request, hear)

    endpoint.call = listening  # type: ignore[method-assign]
    return (await count_slots(opened))[0]


@pytest.mark.parametrize(
    ("gives", "level", "words"),
    [(2, "ok", "2 of 3 calls"), (1, "note", "one after another"), (5, "missing", "3 or more of 3 calls")],
)
async def test_slots_are_counted_by_answers_that_are_written_at_the_same_time(
    gives: int, level: str, words: str
) -> None:
    models = {MISTRAL: mistral(gives), "big:latest": mistral(gives)}
    async with world(models, parallel=2, script=lambda _: ["1"] * 8) as (opened, server):
        server.memory.parallel = gives
        found = await counted(server, opened, min(gives, 3))
        assert server.resident == {}
    assert found.what == "slots of small"
    assert (found.level, words in found.detail) == (level, True), found


async def test_counting_says_why_it_could_not_and_leaves_nothing_loaded() -> None:
    async with world({MISTRAL: mistral()}) as (opened, server):
        server.fail("load", "oom")
        (failed,) = await count_slots(opened)
        server.fail("/api/chat", "error", times=9)
        (broken,) = await count_slots(opened)
        assert server.resident == {}
        opened.budgets["gpu0"] = 100
        (none,) = await count_slots(opened)
    assert "out of memory" in failed.detail
    assert "while running the model" in broken.detail
    assert "no model" in none.detail


async def test_what_was_measured_counts_in_the_next_world_and_what_spilled_is_said() -> None:
    async with world({MISTRAL: mistral()}, script=lambda _: ["1"] * 8) as (opened, server):
        await count_slots(opened)
        (kept,) = await JournalReader().measurements()
        assert (kept.model, kept.mib, kept.conditions.slots) == (MISTRAL, mistral().footprint + 384, 4)
        async with open_world(opened.settings) as again:
            (row,) = await model_matrix(again)
            assert (row["footprint_mib"], row["measured"], row["fits"]) == (kept.mib, kept.on, True)
        server.vram_mib = 3000
        (finding,) = await count_slots(again)
        assert "spilled" in finding.detail
        async with open_world(opened.settings) as again:
            (row,) = await model_matrix(again)
            assert (row["spilled"], row["fits"], row["footprint_mib"]) == (kept.on, False, 14 * 1024 + 1)
            found = (await findings(again))["mistral:latest on small"]
    assert "only 3000 MiB fitted" in found.detail
    assert "models forget mistral:latest" in (found.fix or "")


async def test_a_measurement_of_another_version_or_cache_type_does_not_count() -> None:
    async with world({MISTRAL: mistral()}, script=lambda _: ["1"] * 8) as (opened, server):
        await count_slots(opened)
        server.version = "0.34.0"
        async with open_world(opened.settings) as again:
            (row,) = await model_matrix(again)
    assert row["measured"] is None


async def test_the_matrix_says_which_of_the_tiers_models_fit_beside_each_other() -> None:
    models = {MISTRAL: mistral(), "mine:latest": mistral(weights="w"), "same:latest": mistral(weights="w")}
    text = '[tiers.large]\nendpoint = "small"\nmodels = ["mine:latest", "same:latest"]\nworkers = 4\nnum_ctx = 4096'
    async with OllamaServer(models) as server:
        config = CONFIG.format(url=server.url, parallel=4, more="") + text
        async with open_world(parse_settings(config)) as opened:
            rows = {row["model"]: row for row in await model_matrix(opened)}
            assert rows[MISTRAL]["beside"] == ["mine:latest"]
            assert rows["same:latest"]["loaded_as"] == "mine:latest"
            assert rows["same:latest"]["beside"] == rows["mine:latest"]["beside"] == [MISTRAL]
        async with open_world(parse_settings(config.replace("14 GiB", "8 GiB"))) as opened:
            rows = {row["model"]: row for row in await model_matrix(opened)}
            assert (rows[MISTRAL]["beside"], rows[MISTRAL]["alone"]) == ([], True)


async def test_a_server_that_loads_nothing_any_more_is_seen_though_it_answers() -> None:
    async with world({}, more="") as (opened, server):
        server.models["tiny:latest"] = mistral()
        server.fail("load", "oom", times=9)
        found = {finding.what: finding for finding in (await check_all(opened, load=True))[0]}
    assert found["slots of small"].detail.startswith("not counted")
    assert (found["loads of small"].level, found["loads of small"].fix) == ("missing", "restart that server")
    assert "out of memory" in found["loads of small"].detail


async def test_doctor_says_who_holds_memory_on_this_machine() -> None:
    with Ledger.open("run x") as ledger:
        ledger.claim("cpu", Resource("abc", "http://127.0.0.1:1"), 300, 1000, name="mistral:latest")
        async with world({MISTRAL: mistral()}) as (opened, _server):
            found = {finding.what: finding for finding in (await check_all(opened))[0]}
    assert found["ledger"].level == "ok"
    assert f"cpu: 300 MiB for mistral:latest by run x, process {os.getpid()}" in found["ledger"].detail


async def _ledger_finding() -> Finding:
    async with world({MISTRAL: mistral()}) as (opened, _server):
        return next(finding for finding in (await check_all(opened))[0] if finding.what == "ledger")


async def test_doctor_says_that_nothing_can_be_claimed_where_the_ledger_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VWT_LEDGER", str(tmp_path / "full"))
    pwrite = os.pwrite

    def full(fd: int, text: Any, place: int) -> int:
        if len(text) > 20:
            raise OSError(28, "No space left on device")
        return pwrite(fd, text, place)  # of who has the lock: it takes no room

    monkeypatch.setattr(os, "pwrite", full)
    found = await _ledger_finding()
    assert found.level == "missing"
    assert "no memory can be claimed: the ledger at" in found.detail
    assert "No space left on device" in found.detail
    assert "set VWT_LEDGER to another folder" in (found.fix or "")


async def test_doctor_says_that_nothing_can_be_claimed_beside_a_page_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unread"
    monkeypatch.setenv("VWT_LEDGER", str(folder))
    folder.mkdir()
    with (folder / "x.page").open("wb") as page:
        page.write(b"of another version")
        page.flush()
        fcntl.flock(page, fcntl.LOCK_EX)
        found = await _ledger_finding()
    assert (found.level, "cannot be read" in found.detail) == ("missing", True)
    assert (await _ledger_finding()).level == "ok"
    assert [path.name for path in folder.iterdir() if path.name != "lock"] == []


async def test_doctor_says_what_it_means_that_the_ledger_is_shared_with_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VWT_LEDGER", "/proc/no/such/folder")
    found = await _ledger_finding()
    assert (found.level, "a run takes the whole budget" in found.detail) == ("note", True)
    monkeypatch.setenv("VWT_LEDGER", "off")
    assert "whole budget" not in (await _ledger_finding()).detail
