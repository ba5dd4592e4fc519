"""What a measurement of a loaded model is worth: what it really took, whether that can be, which of two counts. Pure.

An engine reports its buffers, not the context of its process; a driver reports everybody's memory; a kernel shares pages
among processes. So what is reported is made whole, and what is less than the model can take is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from vwt_agents.footprint.estimate import Footprint
    from vwt_agents.types import CacheType, DeviceKind, Mib

__all__ = ["Conditions", "Measurement", "believed", "better", "from_delta", "spilled"]

_MOST_CONTEXT: Final[Mib] = 1024


class Conditions(NamedTuple):
    """All that a model's memory depends on: weights (sha256), context, slots, cache type, engine with version, device."""

    digest: str
    num_ctx: int
    slots: int
    cache_type: CacheType
    engine: str
    device_kind: DeviceKind


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a model took here under these conditions, and when. `model` is the name it was loaded by, for people.

    `fitted` is None where it was wholly on its device. Otherwise it spilled: `fitted` MiB of it were on the device, and
    `mib` is what it would have taken there.
    """

    conditions: Conditions
    model: str
    mib: Mib
    at: datetime
    fitted: Mib | None = None

    @property
    def on(self) -> str:
        """The day, for people."""
        return f"{self.at:%Y-%m-%d}"


def believed(expected: Footprint, reported: Mib, *, whole: bool, delta: Mib | None = None) -> Mib | None:
    """What a model that is wholly on its device really takes there, by what was reported; None where that can't be.

    `whole`: the report counts the process too, as the kernel's does; otherwise it is an engine's sum of buffers, and its
    context comes on top: by `delta` where a driver saw how much was taken (see `from_delta`), else by the estimate. Less
    than the weights and the KV cache take is a report that lacks a part. Of a whole process, weights that another one has
    mapped too count half or less: so a quarter of them is all that may be missing.
    """
    if reported < (max(expected.least, expected.total - expected.weights // 4) if whole else expected.least):
        return None
    if whole:
        return reported
    return delta if delta is not None else reported + expected.overhead


def from_delta(before: Mib, after: Mib, size_vram: Mib) -> Mib | None:
    """What a load took by the device's used MiB before and after it; None where others came or went meanwhile.

    It is at least what the engine says of itself, and a context more, which is never more than a GiB.
    """
    delta = after - before
    return delta if size_vram <= delta <= size_vram + _MOST_CONTEXT else None


def spilled(expected: Footprint, size: Mib) -> Mib:
    """What a model that spilled would have taken on its device: all of `size`, its context, and no less than estimated."""
    return max(expected.total, size + expected.overhead)


def better(old: Measurement | None, new: Measurement) -> Measurement:
    """Which of two measurements under the same conditions counts from now on.

    On a GPU the newer: all of it is taken at the load. In host memory the greater: pages come with use. That it spilled
    is only taken back by having been seen whole on the device.
    """
    if old is None or new.conditions.device_kind == "gpu" or old.fitted is not None:
        return new
    return new if new.fitted is not None or new.mib >= old.mib else old
