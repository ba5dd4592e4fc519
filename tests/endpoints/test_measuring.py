"""Loads are measured and remembered, and a report that can't be true changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from vwt_agents.endpoints.measuring import Believed, MeasuringEndpoint
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import EndpointUnavailable, JournalError, LoadFailed, Spilled
from vwt_agents.footprint import Conditions, Footprint, Measurement
from vwt_agents.messages import Message, Request
from vwt_agents.testing import OllamaServer, ScriptedEndpoint, ServedModel

MODEL = "mistral:latest"
CONDITIONS = Conditions("d1", 4096, 4, "f16", "ollama 0.33.0", "gpu")
FOOTPRINT = Footprint(3900, 2048, 73, 384, least=5300)
BELIEVED = Believed(CONDITIONS, FOOTPRINT, planned=6405)


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with OllamaServer({MODEL: ServedModel(6000)}, parallel=4) as serving:
        yield serving


class Kept(list[Measurement]):
    async def __call__(self, measurement: Measurement) -> None:
        self.append(measurement)


def measured(server: OllamaServer, kept: Kept, *, believed: Believed | None = BELIEVED, **more) -> MeasuringEndpoint:
    inner = OllamaEndpoint("small", server.url)
    return MeasuringEndpoint(inner, lambda _model, *, num_ctx, slots: believed, kept, **more)


async def load(endpoint: MeasuringEndpoint) -> int:
    return (await endpoint.load(MODEL, num_ctx=4096, slots=4, timeout=5)).device_mib


async def test_what_a_load_took_is_kept_with_its_conditions_and_told_with_the_process_context(server) -> None:
    kept = Kept()
    async with measured(server, kept) as endpoint:
        assert await load(endpoint) == 6384
        assert [(one.conditions, one.model, one.mib, one.fitted) for one in kept] == [(CONDITIONS, MODEL, 6384, None)]
        assert (await endpoint.call(Request("small", MODEL, (Message("user", "hi"),), 4096))).text == "ok"
        await endpoint.unload(MODEL)
    assert (server.resident, len(kept)) == ({}, 1)


async def test_a_drivers_difference_is_taken_where_there_is_one(server) -> None:
    kept, readings = Kept(), iter([700, 7000])

    async def used() -> int:
        return next(readings)

    async with measured(server, kept, used=used) as endpoint:
        assert await load(endpoint) == 6300
    assert kept[0].mib == 6300


async def test_a_report_that_lacks_a_part_is_not_kept_and_the_plan_holds(server) -> None:
    server.models[MODEL] = ServedModel(3900)
    kept = Kept()
    async with measured(server, kept) as endpoint:
        assert await load(endpoint) == 6405
    assert kept == []


async def test_a_model_that_spilled_is_kept_as_what_it_would_have_taken(server) -> None:
    server.vram_mib = 5000
    kept = Kept()
    async with measured(server, kept) as endpoint:
        with pytest.raises(Spilled, match="spilled to the CPU"):
            await load(endpoint)
        assert server.resident == {}
    assert [(one.mib, one.fitted) for one in kept] == [(6405, 5000)]


async def test_a_load_of_which_nothing_is_known_is_left_as_it_is(server) -> None:
    kept = Kept()
    async with measured(server, kept, believed=None) as endpoint:
        assert await load(endpoint) == 6000
        await endpoint.unload(MODEL)
        server.vram_mib = 5000
        with pytest.raises(Spilled):
            await load(endpoint)
    assert kept == []


async def test_a_load_that_fails_leaves_nothing_to_remember(server) -> None:
    server.fail("load", "oom")
    kept = Kept()
    async with measured(server, kept) as endpoint:
        with pytest.raises(LoadFailed, match="out of memory"):
            await load(endpoint)
    assert kept == []


async def test_a_measurement_that_cannot_be_written_does_not_fail_the_load(server) -> None:
    async def broken(_measurement: Measurement) -> None:
        raise JournalError("the disk is full")

    inner = OllamaEndpoint("small", server.url)
    async with MeasuringEndpoint(inner, lambda _model, *, num_ctx, slots: BELIEVED, broken) as endpoint:
        assert await load(endpoint) == 6384


async def test_the_rest_is_the_inner_endpoints(server) -> None:
    async with measured(server, Kept()) as endpoint:
        assert (endpoint.name, endpoint.kind, endpoint.device) == ("small", "ollama", "gpu0")
        assert (await endpoint.probe()).ok
        assert [info.name for info in await endpoint.models()] == [MODEL]
        assert (await endpoint.describe(MODEL)).name == MODEL
        assert await endpoint.resident() == ()
        server.pullable["new:1b"] = ServedModel(1)
        await endpoint.pull("new:1b")
    assert "new:1b" in server.models


class Worker(ScriptedEndpoint):
    """An engine of ours: its process grows while it is used."""

    kind = "embedded"
    grown = 0

    async def resident(self):
        if self.grown < 0:
            raise EndpointUnavailable("gone")
        return tuple(replace(one, device_mib=one.device_mib + self.grown) for one in await super().resident())


@pytest.mark.parametrize(("grown", "remembered"), [(9, [345, 354]), (-1, [345])])
async def test_a_worker_is_measured_again_before_it_goes(grown, remembered) -> None:
    """What it has grown to counts; one that has gone by itself is not an error."""
    on_cpu = Believed(CONDITIONS._replace(device_kind="cpu"), Footprint(94, 192, 34, 28, least=257), planned=348)
    kept, inner = Kept(), Worker({MODEL: 345})
    async with MeasuringEndpoint(inner, lambda _model, *, num_ctx, slots: on_cpu, kept) as endpoint:
        assert await load(endpoint) == 348
        inner.grown = grown
        await endpoint.unload(MODEL)
    assert ([one.mib for one in kept], inner.unloads) == (remembered, [MODEL])


TAGS = {"a:7b": ServedModel(4000, weights="w"), "b:7b": ServedModel(4000, weights="w"), "c:7b": ServedModel(100)}


async def test_a_model_that_is_there_under_another_tag_of_its_weights_is_loaded_and_can_be_unloaded() -> None:
    """A server has one runner for both, and lists it by the name it was loaded by first."""
    async with OllamaServer(TAGS) as server, OllamaEndpoint("small", server.url) as endpoint:
        await endpoint.load("c:7b", num_ctx=4096, slots=1, timeout=5)
        await endpoint.load("b:7b", num_ctx=4096, slots=1, timeout=5)
        residence = await endpoint.load("a:7b", num_ctx=4096, slots=1, timeout=5)
        assert (residence.model, residence.size_mib) == ("a:7b", 4000)
        assert server.loads == [("c:7b", 4096), ("b:7b", 4096)]
        await endpoint.unload("a:7b")
        assert server.resident == {"c:7b": 4096}
