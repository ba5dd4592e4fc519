"""How many slots a server allots to a model, found from what it took or how it answered: no API of Ollama says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vwt_agents.footprint.estimate import estimate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vwt_agents.footprint.shape import ModelShape
    from vwt_agents.types import CacheType, DeviceKind, Mib, Seconds

__all__ = ["ONE_SLOT", "Slots", "overlap", "slots_of"]

ONE_SLOT: Final = ("mllama", "qwen3vl", "qwen35", "qwen3next", "lfm2", "nemotron_h")
"""Architectures (by the beginning of their name) of which Ollama serves one request at a time, whatever it was told."""

_MOST: Final = 32
_CLEAR: Final = 0.3
_LEAST_MIB: Final[Mib] = 48


@dataclass(frozen=True, slots=True)
class Slots:
    """A number of slots, whether it is sure, and the sum it was found by."""

    number: int
    sure: bool
    why: str


def slots_of(
    shape: ModelShape,
    size: Mib,
    *,
    num_ctx: int,
    cache_type: CacheType = "f16",
    device_kind: DeviceKind = "gpu",
    flash_attention: bool = True,
) -> Slots | None:
    """The slots whose KV cache explains that a loaded model takes `size` MiB of buffers; None where none can be told.

    It is sure where the KV cache of a slot is large against what is left over: a small context says little.
    """
    if not shape.kv_known or num_ctx <= 0:
        return None
    sums = []
    for number in range(1, _MOST + 1):
        need = estimate(
            shape,
            num_ctx=num_ctx,
            slots=number,
            cache_type=cache_type,
            device_kind=device_kind,
            flash_attention=flash_attention,
        )
        sums.append((need.total - need.overhead, need.kv))
    number = min(range(1, _MOST + 1), key=lambda one: abs(sums[one - 1][0] - size))
    slot = sums[1][1] - sums[0][1]
    off = size - sums[number - 1][0]
    if not slot or abs(off) > slot:
        return None
    sure = slot >= _LEAST_MIB and abs(off) <= _CLEAR * slot
    why = f"{size} MiB in memory: {sums[number - 1][0]} MiB are expected with {number} x {num_ctx} tokens, {slot} MiB a slot"
    return Slots(number, sure, why)


def overlap(spans: Iterable[tuple[Seconds, Seconds]]) -> int:
    """How many answers were being written at the same time at most, by a first and a last moment of each.

    Requests that were made together and queue for one slot never overlap: so a server has at least so many.
    """
    moments = sorted(moment for start, end in spans for moment in ((start, 1), (end, -1)))
    running = most = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    return most
