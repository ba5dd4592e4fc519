"""An endpoint within the memory that all processes of a machine share: two of them, on one server."""

from __future__ import annotations

import random
import time
from contextlib import asynccontextmanager

import anyio
import pytest
from ledgers import BUDGET, SERVER, die, ledger

from vwt_agents.errors import LedgerUnavailable, LoadFailed, MemoryTaken, UnloadFailed
from vwt_agents.ledger import Resource
from vwt_agents.ledgered import LedgeredEndpoint, Need
from vwt_agents.testing import ScriptedEndpoint

MODELS = {"qwen": 6000, "mistral": 3900, "llama": 7000}


def need(model: str) -> Need:
    return Need(Resource(model, SERVER), MODELS[model] + 100)


class Server:
    """One server, and processes that use it, each through a ledger of its own."""

    def __init__(self, folder) -> None:
        self.inner = ScriptedEndpoint(MODELS, "yes", name="small")
        self.folder = folder
        self.ledgers = []

    def process(self, who: str) -> LedgeredEndpoint:
        self.ledgers.append(ledger(self.folder, who, time.monotonic))
        return LedgeredEndpoint(self.inner, self.ledgers[-1], ceiling=lambda: BUDGET, need=need)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "shared")
    yield server
    for each in server.ledgers:
        each.close()


async def load(endpoint, model):
    return await endpoint.load(model, num_ctx=4096, slots=1, timeout=60.0)


async def resident(server):
    return {residence.model for residence in await server.inner.resident()}


@asynccontextmanager
async def held(server, verb, model, work, *args):
    """Within the block the work has come to a gate at the server."""
    gate = server.inner.hold(verb, model)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, *args)
        await server.inner.reached(verb, model)
        yield tasks
        gate.set()


async def test_a_model_is_claimed_before_it_loads_and_takes_what_was_measured_after(server):
    a, b = server.process("a"), server.process("b")
    watching = server.ledgers[1]
    async with held(server, "load", "qwen", load, a, "qwen"):
        assert watching.snapshot().others("gpu0") == 6100
        with pytest.raises(MemoryTaken):
            await load(b, "llama")
    assert watching.snapshot().others("gpu0") == 6000
    await a.unload("qwen")
    assert watching.snapshot().others("gpu0") == 0
    assert await resident(server) == set()


async def test_what_does_not_fit_beside_others_is_not_loaded_and_says_who_has_it(server):
    a, b = server.process("run a"), server.process("run b")
    await load(a, "qwen")
    with pytest.raises(MemoryTaken, match="6000 MiB for qwen by run a, process") as caught:
        await load(b, "llama")
    assert caught.value.hint
    assert await resident(server) == {"qwen"}
    assert [want.name for want in server.ledgers[0].snapshot().pressing("gpu0")] == ["llama"]
    await a.unload("qwen")
    await load(b, "llama")
    assert server.ledgers[0].snapshot().pressing("gpu0") == ()


async def test_who_was_refused_first_loads_first(server):
    a, b, c = (server.process(who) for who in "abc")
    await load(a, "qwen")
    with pytest.raises(MemoryTaken):
        await load(b, "llama")
    with pytest.raises(MemoryTaken, match="has waited longer"):
        await load(c, "mistral")
    await a.unload("qwen")
    with pytest.raises(MemoryTaken, match="has waited longer"):
        await load(c, "mistral")
    await load(b, "llama")


async def test_a_model_that_both_use_is_there_once_and_leaves_with_the_last(server):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")
    await load(b, "qwen")
    await load(a, "mistral")
    await a.unload("qwen")
    assert server.inner.unloads == []
    await b.unload("qwen")
    assert server.inner.unloads == ["qwen"]


async def test_memory_counts_until_the_unload_is_over(server):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")
    async with held(server, "unload", "qwen", a.unload, "qwen"):
        with pytest.raises(MemoryTaken):
            await load(b, "llama")
        with pytest.raises(MemoryTaken, match="is being unloaded"):
            await load(b, "qwen")
    await load(b, "llama")


async def test_a_load_that_fails_or_is_cancelled_leaves_no_claim(server):
    a = server.process("a")
    watching = ledger(server.folder)
    server.inner.fail_loads["qwen"] = LoadFailed("out of memory")
    with pytest.raises(LoadFailed):
        await load(a, "qwen")
    assert watching.snapshot().others("gpu0") == 0
    async with held(server, "load", "mistral", load, a, "mistral") as tasks:
        assert watching.snapshot().others("gpu0") == 4000
        tasks.cancel_scope.cancel()
    assert watching.snapshot().others("gpu0") == 0


async def test_a_model_that_would_not_leave_is_still_held(server, monkeypatch):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")

    async def refuse(model):
        raise UnloadFailed("still there")

    with monkeypatch.context() as patch:
        patch.setattr(server.inner, "unload", refuse)
        with pytest.raises(UnloadFailed):
            await a.unload("qwen")
    assert server.ledgers[1].snapshot().others("gpu0") == 6000
    await load(b, "qwen")


async def test_the_claim_on_a_model_that_vanished_ends_when_it_is_missed(server):
    a = server.process("a")
    watching = ledger(server.folder)
    await load(a, "qwen")
    await load(a, "mistral")
    server.inner.vanish("qwen")
    assert [residence.model for residence in await a.resident()] == ["mistral"]
    assert watching.snapshot().others("gpu0") == 3900


async def test_a_look_that_misses_a_model_does_not_end_the_claim_of_its_next_load(server):
    a = server.process("a")
    watching = ledger(server.folder)
    await load(a, "qwen")
    server.inner.vanish("qwen")
    async with held(server, "load", "qwen", load, a, "qwen"):
        await a.resident()
        assert watching.snapshot().others("gpu0") == 6100
    assert watching.snapshot().others("gpu0") == 6000


async def test_a_look_that_misses_a_model_does_not_end_its_claim_before_its_memory_is_free(server):
    mine, free = ledger(server.folder, "a", time.monotonic), anyio.Event()

    async def freed(mib):
        await a.resident()
        assert server.ledgers[0].snapshot().others("gpu0") == mib == 6000
        free.set()

    a = LedgeredEndpoint(server.inner, mine, ceiling=lambda: BUDGET, need=need, freed=freed)
    server.process("watching")
    await load(a, "qwen")
    await a.unload("qwen")
    assert free.is_set()
    assert server.ledgers[0].snapshot().others("gpu0") == 0
    mine.close()


async def test_claims_on_what_is_used_no_more_end_and_nothing_is_unloaded(server):
    a = server.process("a")
    watching = ledger(server.folder)
    await load(a, "qwen")
    await load(a, "mistral")
    await a.release(lambda resource: resource.model == "qwen")
    assert watching.snapshot().others("gpu0") == 3900
    assert await resident(server) == {"qwen", "mistral"}


async def test_what_a_dead_process_left_on_the_server_makes_room(server):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")
    await load(a, "mistral")
    die(server.ledgers[0])
    assert server.ledgers[1].snapshot().others("gpu0") == 9900
    await load(b, "llama")
    assert server.inner.unloads == ["qwen", "mistral"]
    assert server.ledgers[1].snapshot().others("gpu0") == 0


async def test_what_a_dead_process_left_is_used_rather_than_loaded_again(server):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")
    die(server.ledgers[0])
    await load(b, "qwen")
    assert server.inner.unloads == []
    assert server.ledgers[1].snapshot().orphans(SERVER) == ()


async def test_an_orphan_that_cannot_be_unloaded_stays_one(server, monkeypatch):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")
    die(server.ledgers[0])

    async def refuse(model):
        raise UnloadFailed("still there")

    monkeypatch.setattr(server.inner, "unload", refuse)
    with pytest.raises(MemoryTaken, match="which has ended"):
        await load(b, "llama")
    assert [orphan.name for orphan in server.ledgers[1].snapshot().orphans(SERVER)] == ["qwen"]


async def test_who_asks_again_after_a_long_time_waits_from_then(server, monkeypatch):
    a, b = server.process("a"), server.process("b")
    await load(a, "qwen")
    with pytest.raises(MemoryTaken):
        await load(b, "llama")
    (first,) = server.ledgers[0].snapshot().pressing("gpu0")
    with pytest.raises(MemoryTaken):
        await load(b, "llama")
    assert server.ledgers[0].snapshot().pressing("gpu0")[0].since == first.since
    monkeypatch.setattr("vwt_agents.ledgered.STALE_S", 0.0)
    monkeypatch.setattr("vwt_agents.ledger.ledger.STALE_S", 0.0)
    with pytest.raises(MemoryTaken):
        await load(b, "llama")
    assert server.ledgers[0].snapshot().pressing("gpu0")[0].since > first.since


async def test_nothing_loads_when_the_ledger_cannot_be_written(server):
    a = server.process("a")
    die(server.ledgers[0])
    with pytest.raises(LedgerUnavailable):
        await load(a, "qwen")
    assert server.inner.loads == []


async def test_what_four_processes_do_at_random_never_overfills_their_server(server):
    """The server counts for itself: a model takes memory from the start of its load to the end of its unload."""
    taken: dict[str, int] = {}
    peaks: list[int] = []
    load_inner, unload_inner = server.inner.load, server.inner.unload

    async def counted_load(model, **how):
        taken[model] = MODELS[model]
        peaks.append(sum(taken.values()))
        return await load_inner(model, **how)

    async def counted_unload(model):
        await unload_inner(model)
        taken.pop(model, None)

    server.inner.load, server.inner.unload = counted_load, counted_unload
    refused = 0

    async def work(endpoint, dice):
        nonlocal refused
        mine = set()
        for _ in range(30):
            model = dice.choice(sorted(MODELS))
            if model in mine:
                await endpoint.unload(model)
                mine.discard(model)
                continue
            try:
                await load(endpoint, model)
                mine.add(model)
            except MemoryTaken:
                refused += 1
            assert mine <= taken.keys(), "what is held is not unloaded by others"
        for model in mine:
            await endpoint.unload(model)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for seed in range(4):
                tasks.start_soon(work, server.process(str(seed)), random.Random(seed))
    assert max(peaks) <= BUDGET
    assert len(peaks) > 2, "models came and went"
    assert refused > 0
    assert taken == {}
    assert await resident(server) == set()
