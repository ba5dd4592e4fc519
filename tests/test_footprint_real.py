"""Estimates against the real memory of the embedded engine's workers: within 10 %, never under by more than 3 %."""

from __future__ import annotations

from pathlib import Path

import pytest

from vwt_agents.endpoints.embedded import EmbeddedEndpoint
from vwt_agents.errors import ModelMissing
from vwt_agents.footprint import estimate, shape_from_metadata
from vwt_agents.messages import Message, Options, Request
from vwt_agents.types import CacheType


async def compared(model: str, num_ctx: int, slots: int, cache_type: CacheType, words: int) -> tuple[int, int]:
    """The MiB estimated, and the MiB that the worker takes after a prompt of so many words, whoever else has its files."""
    async with EmbeddedEndpoint("here", threads=2, cache_type=cache_type) as endpoint:
        info = await endpoint.describe(model)
        await endpoint.load(model, num_ctx=num_ctx, slots=slots, timeout=120)
        await endpoint.call(
            Request("here", model, (Message("user", "word " * words),), num_ctx, Options(num_predict=2))
        )
        real = _own_mib(endpoint._workers[model].process.pid)
    shape = shape_from_metadata(info.metadata, size_bytes=info.size_bytes)
    need = estimate(shape, num_ctx=num_ctx, slots=slots, cache_type=cache_type, device_kind="cpu")
    return need.total, real


def _own_mib(pid: int) -> int:
    """Pss, but of the weights and the engine's library all that is there: somebody else may have them mapped as well."""
    kib, whole = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            whole = bool(rest) and ("/blobs/" in rest[-1] or "xllamacpp" in rest[-1])
        elif name in ({"Rss:"} if whole else {"Pss:"}):
            kib += int(rest[0])
    return -(-kib // 1024)


def close(estimated: int, real: int) -> bool:
    return real * 0.97 <= estimated <= real * 1.10


@pytest.mark.model
@pytest.mark.parametrize("num_ctx", [1024, 4096])
@pytest.mark.parametrize("slots", [1, 4])
async def test_the_smallest_model_takes_what_was_estimated(num_ctx: int, slots: int) -> None:
    estimated, real = await compared("smollm2:135m", num_ctx, slots, "f16", 40)
    assert close(estimated, real), (estimated, real)


@pytest.mark.model
@pytest.mark.parametrize("cache_type", ["q8_0", "q4_0"])
async def test_a_quantised_kv_cache_takes_what_was_estimated(cache_type: CacheType) -> None:
    estimated, real = await compared("smollm2:135m", 4096, 4, cache_type, 40)
    assert close(estimated, real), (estimated, real)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("num_ctx", [2048, 4096])
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("cache_type", ["f16", "q8_0"])
async def test_the_model_that_codes_takes_what_was_estimated(num_ctx: int, slots: int, cache_type: CacheType) -> None:
    try:
        estimated, real = await compared("qwen2.5-coder:0.5b", num_ctx, slots, cache_type, num_ctx // 2)
    except ModelMissing as error:
        pytest.skip(str(error))
    assert close(estimated, real), (estimated, real)
