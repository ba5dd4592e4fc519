"""A load that will never end is told from a slow one, by what is resident while it loads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from virtual_time import run

from vwt_agents.endpoints.base import Residence
from vwt_agents.endpoints.lockup import LoadWatch, longest_load
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import LoadFailed, LoadsHang
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ServedModel

A, B = "a:latest", "b:latest"


def there(model: str, expires_in: float | None = 300.0) -> Residence:
    return Residence(model, 4000, 4000, 4096, expires_in)


def test_a_larger_model_may_take_longer() -> None:
    bounds = [longest_load(size) for size in (100, 4000, 8000, 40000)]
    assert all(less < more for less, more in pairwise(bounds))
    assert longest_load(4000) == longest_load(0) == 160


@pytest.mark.parametrize(
    ("looks", "waited", "hangs"),
    [
        ([[A], [A]], 200.0, True),
        ([[A], [A]], 150.0, False),
        ([[], []], 200.0, False),
        ([[A], []], 200.0, False),
        ([[A], [A, B]], 200.0, True),
    ],
    ids=["nobody leaves", "not yet", "nobody is in the way", "it made way", "the model itself does not count"],
)
def test_a_load_hangs_when_it_takes_too_long_and_nobody_makes_way(looks, waited, hangs) -> None:
    watch = LoadWatch(B, 4000)
    for resident in looks:
        watch.look([there(model) for model in resident])
    assert (watch.verdict(waited) is not None) == hangs


def test_a_model_that_was_told_to_leave_and_stays_is_named_as_such() -> None:
    watch = LoadWatch(B, 4000)
    watch.look([there(A, -30.0)])
    assert "a:latest (told to leave 30 s ago)" in (watch.verdict(200.0) or "")


def test_a_locked_up_server_fails_the_load_with_cause_and_remedy_and_its_models_still_answer() -> None:
    async def play() -> None:
        server = OllamaServer({A: ServedModel(4000), B: ServedModel(4000)})
        async with server, OllamaEndpoint("small", server.url) as endpoint:
            await endpoint.load(A, num_ctx=4096, slots=1, timeout=300)
            server.lock_up()
            with pytest.raises(LoadsHang, match="not leaving: a:latest") as caught:
                await endpoint.load(B, num_ctx=4096, slots=1, timeout=300)
            assert "restart that server" in (caught.value.hint or "")
            assert (await endpoint.call(Request("small", A, (Message("user", "hi"),), 4096))).text == "ok"
            assert (await endpoint.deep_probe()).detail.endswith("a:latest answers")

    run(play())


def test_a_victim_that_a_foreign_call_revives_locks_up_every_cold_load() -> None:
    """ollama#17408, as it comes about."""

    async def play() -> None:
        server = OllamaServer({A: ServedModel(4000), B: ServedModel(4000)}, vram_mib=5000)
        async with server, OllamaEndpoint("small", server.url) as endpoint:
            await endpoint.load(A, num_ctx=4096, slots=1, timeout=300)
            busy = server.memory.runners[A]
            async with server.memory.use(A, busy, None):
                with pytest.raises(LoadFailed):
                    await endpoint.load(B, num_ctx=4096, slots=1, timeout=1)
                assert busy.leaving
                async with server.memory.use(A, busy, 300.0):
                    assert not busy.leaving

    run(play())


def test_a_slow_load_is_waited_for() -> None:
    async def play() -> None:
        server = OllamaServer({A: ServedModel(4000), B: ServedModel(4000)}, vram_mib=5000)
        async with server, OllamaEndpoint("small", server.url) as endpoint:
            await endpoint.load(A, num_ctx=4096, slots=1, timeout=300)
            server.load_s = 250
            assert (await endpoint.load(B, num_ctx=4096, slots=1, timeout=300)).model == B

    run(play())


def test_a_deep_probe_loads_where_it_evicts_nobody_and_touches_nothing_beside_others() -> None:
    async def play() -> None:
        server = OllamaServer({A: ServedModel(4000), B: ServedModel(3000)})
        async with server, OllamaEndpoint("small", server.url) as endpoint:
            assert (await endpoint.deep_probe()).detail.endswith("b:latest could be loaded")
            assert server.resident == {}
            server.lock_up()
            assert not (await endpoint.deep_probe()).ok
            server.memory.lose()
            await server.load_by_another(A)
            health = await endpoint.deep_probe()
            assert health.ok
            assert "might evict a:latest" in health.detail
            assert server.loads == [(B, 2048), (A, 4096)]
            await server.refuse()
            assert not (await endpoint.deep_probe()).ok

    run(play())
