"""Processes that share an Ollama: what one of them undoes or gives back is never what another uses."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import pytest
from ledgers import die, ledger

from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import LedgerUnavailable, LoadFailed, MemoryTaken, Spilled
from vwt_agents.ledger import Resource
from vwt_agents.ledgered import LedgeredEndpoint, Need
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ServedModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vwt_agents.endpoints.base import Residence

BUDGET = 10_000
QWEN = "qwen:latest"


class Processes:
    """Each `process` has an endpoint and a ledger of its own, on one server; `watching` belongs to none of them."""

    def __init__(self, server: OllamaServer, folder: Path, stack: AsyncExitStack) -> None:
        self.server = server
        self.qwen = Resource("sha256:qwen", server.url)
        self._folder = folder
        self._stack = stack
        self.watching = ledger(folder, "watching", time.monotonic)

    async def process(self, who: str, *, device: str = "gpu0") -> LedgeredEndpoint:
        inner = await self._stack.enter_async_context(OllamaEndpoint("here", self.server.url, device=device))
        mine = ledger(self._folder, who, time.monotonic)
        self._stack.callback(mine.close)
        return LedgeredEndpoint(inner, mine, ceiling=lambda: BUDGET, need=lambda _: Need(self.qwen, 6100))

    def claimed(self) -> int:
        return self.watching.snapshot().others("gpu0")


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(OllamaServer({QWEN: ServedModel(6000)}, "yes"))
        processes = Processes(server, tmp_path / "ledger", stack)
        yield processes
        processes.watching.close()


async def load(endpoint: LedgeredEndpoint, num_ctx: int = 4096) -> Residence:
    return await endpoint.load(QWEN, num_ctx=num_ctx, slots=1, timeout=20.0)


# -- a load that did not succeed ------------------------------------------------------------------------------------


async def test_a_load_that_fails_leaves_the_model_to_those_who_use_it(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(a)
    shared.server.fail("/api/generate", "busy")
    with pytest.raises(LoadFailed):
        await load(b)
    assert (shared.server.resident, shared.server.unloads) == ({QWEN: 4096}, [])
    await a.unload(QWEN)
    assert (shared.server.resident, shared.claimed()) == ({}, 0)


async def test_a_load_that_is_cancelled_leaves_the_model_to_those_who_use_it(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(a)
    gate = shared.server.hold("/api/ps")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load, b)
        await shared.server.reached("/api/ps")
        tasks.cancel_scope.cancel()
    gate.set()
    assert (shared.server.resident, shared.server.unloads) == ({QWEN: 4096}, [])
    assert [holder.who for holder in shared.watching.snapshot().holders if not holder.orphan] == ["a"]


async def test_a_load_that_fails_alone_is_undone_and_gives_its_memory_back(shared: Processes) -> None:
    a = await shared.process("a")
    shared.server.vram_mib = 4000
    with pytest.raises(Spilled):
        await load(a)
    assert (shared.server.unloads, shared.claimed()) == ([QWEN], 0)


async def test_nobody_joins_a_load_that_is_being_undone(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    shared.server.vram_mib = 4000
    gate = shared.server.hold("unload")
    async with anyio.create_task_group() as tasks:

        async def spills() -> None:
            with pytest.raises(Spilled):
                await load(a)

        tasks.start_soon(spills)
        await shared.server.reached("unload")
        with pytest.raises(MemoryTaken, match="is being unloaded"):
            await load(b)
        gate.set()


async def test_what_a_failed_load_could_not_get_out_of_memory_still_counts(
    shared: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vwt_agents.endpoints.ollama.endpoint._CLEAN_UP_S", 0.1)
    a = await shared.process("a")
    shared.server.vram_mib = 4000
    gate = shared.server.hold("unload")
    with pytest.raises(Spilled):
        await load(a)
    assert shared.claimed() == 6100
    gate.set()
    shared.server.vram_mib = 16000
    await load(a)
    await a.unload(QWEN)
    assert shared.claimed() == 0


async def test_what_was_left_to_another_who_left_meanwhile_is_nobodys_and_counts(shared: Processes) -> None:
    """Each of two leaves a model to the other: then it is an orphan, and not memory that nobody counts."""
    a, b = await shared.process("a"), await shared.process("b")
    await load(a)
    gate = shared.server.hold("/api/generate")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load, b)
        await shared.server.reached("/api/generate")
        await a.unload(QWEN)
        assert shared.server.resident == {QWEN: 4096}
        tasks.cancel_scope.cancel()
        gate.set()
    if shared.server.resident:
        assert shared.claimed() > 0
        assert await b.reclaim(shared.server.url) == 1
    assert (shared.server.resident, shared.claimed()) == ({}, 0)


async def test_a_process_that_ends_does_not_unload_what_another_has_taken_over(shared: Processes) -> None:
    async with OllamaEndpoint("here", shared.server.url) as inner:
        mine = ledger(shared._folder, "a", time.monotonic)
        a = LedgeredEndpoint(inner, mine, ceiling=lambda: BUDGET, need=lambda _: Need(shared.qwen, 6100))
        await load(a)
        gate = shared.server.hold("unload")
        with anyio.move_on_after(0.1):
            await a.unload(QWEN)
        mine.close()
        b = await shared.process("b")
        await load(b)
        gate.set()
    assert (shared.server.resident, shared.server.unloads) == ({QWEN: 4096}, [])


async def test_nothing_is_unloaded_while_it_is_not_known_who_else_uses_it(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(a)
    await load(b)
    page = next(shared._folder.glob(f"{b._ledger._own._shelf.owner}.page"))
    text = page.read_bytes()
    page.write_bytes(b"garbage")
    with pytest.raises(LedgerUnavailable, match="cannot be read"):
        await a.unload(QWEN)
    page.write_bytes(text)
    await a.unload(QWEN)
    assert shared.server.resident == {QWEN: 4096}


# -- two endpoints of one process on one server ---------------------------------------------------------------------


@pytest.fixture
async def twins(shared: Processes) -> AsyncIterator[tuple[LedgeredEndpoint, LedgeredEndpoint]]:
    mine, both = ledger(shared._folder, "a", time.monotonic), list[LedgeredEndpoint]()
    async with OllamaEndpoint("here", shared.server.url) as here, OllamaEndpoint("alias", shared.server.url) as alias:
        for inner in (here, alias):
            need = Need(shared.qwen, 6100)
            both.append(
                LedgeredEndpoint(inner, mine, ceiling=lambda: BUDGET, need=lambda _, need=need: need, beside=both)
            )
        yield both[0], both[1]
    mine.close()


async def test_a_model_that_a_process_has_by_two_names_of_a_server_leaves_with_the_last_of_them(
    shared: Processes, twins: tuple[LedgeredEndpoint, LedgeredEndpoint]
) -> None:
    here, alias = twins
    await load(here, 4096)
    assert (await load(alias, 2048)).num_ctx == 4096
    await here.unload(QWEN)
    assert (shared.server.resident, shared.claimed()) == ({QWEN: 4096}, 6000)
    await alias.unload(QWEN)
    assert (shared.server.resident, shared.claimed()) == ({}, 0)


async def test_a_load_that_fails_by_one_name_of_a_server_leaves_the_model_to_the_other(
    shared: Processes, twins: tuple[LedgeredEndpoint, LedgeredEndpoint]
) -> None:
    here, alias = twins
    await load(here)
    shared.server.fail("/api/generate", "busy")
    with pytest.raises(LoadFailed):
        await load(alias)
    await alias.release(lambda _: True)
    assert (shared.server.resident, shared.claimed()) == ({QWEN: 4096}, 6000)
    assert shared.watching.snapshot().loading("gpu0") == 0


# -- what nobody in the ledger has ----------------------------------------------------------------------------------


async def test_what_an_earlier_run_left_counts_and_cannot_be_joined_until_it_is_out(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await shared.server.load_by_another(QWEN, num_ctx=4096)
    gate = shared.server.hold("unload")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(a.clear, QWEN, shared.qwen, 6000)
        await shared.server.reached("unload")
        assert shared.claimed() == 6000
        with pytest.raises(MemoryTaken, match="is being unloaded"):
            await load(b)
        gate.set()
    assert (shared.server.resident, shared.claimed()) == ({}, 0)


async def test_what_somebody_has_taken_up_since_it_was_seen_is_not_cleared_away(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(b)
    assert not await a.clear(QWEN, shared.qwen, 6000)
    assert shared.server.resident == {QWEN: 4096}


# -- other settings -------------------------------------------------------------------------------------------------


async def test_a_longer_context_that_others_hold_is_used_as_it_is(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(a, 4096)
    residence = await load(b, 2048)
    assert residence.num_ctx == 4096
    asked = Request("here", QWEN, (Message("user", "well?"),), 2048)
    assert (await b.call(asked)).text == "yes"
    await a.unload(QWEN)
    assert (await b.call(asked)).text == "yes"
    assert shared.server.loads == [(QWEN, 4096)]
    assert shared.claimed() == 6000
    await b.unload(QWEN)
    assert (shared.server.resident, shared.claimed()) == ({}, 0)


async def test_a_shorter_context_that_others_hold_is_waited_for_by_name(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(a, 2048)
    with pytest.raises(MemoryTaken, match="qwen:latest is held with num_ctx 2048 by process"):
        await load(b, 4096)
    (want,) = shared.watching.snapshot().pressing("gpu0")
    assert str(want) == "qwen:latest with num_ctx 4096"
    await a.unload(QWEN)
    await load(b, 4096)
    assert shared.server.loads == [(QWEN, 2048), (QWEN, 4096)]


async def test_who_waits_for_another_context_is_not_passed_by_who_could_use_the_present_one(shared: Processes) -> None:
    a, b, c = [await shared.process(who) for who in "abc"]
    await load(a, 2048)
    with pytest.raises(MemoryTaken, match="is held with"):
        await load(b, 4096)
    with pytest.raises(MemoryTaken, match="has waited longer"):
        await load(c, 1024)


async def test_a_model_on_the_gpu_is_not_moved_to_the_cpu_under_its_users(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b", device="cpu")
    await load(a, 4096)
    with pytest.raises(MemoryTaken, match="with num_ctx 4096 on the CPU the two would reload it in turns"):
        await load(b, 4096)
    assert shared.server.loads == [(QWEN, 4096)]


async def test_what_a_dead_process_held_with_another_context_is_loaded_anew(shared: Processes) -> None:
    a, b = await shared.process("a"), await shared.process("b")
    await load(a, 2048)
    die(a._ledger)
    await load(b, 4096)
    assert shared.server.loads == [(QWEN, 2048), (QWEN, 4096)]
