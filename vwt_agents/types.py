"""Ids and quantities. Owns the small value types every layer shares; never imports another module of the package."""

from __future__ import annotations

import math
import re
from typing import Final, Literal, TypeAlias

__all__ = [
    "MIB",
    "CacheType",
    "DeviceKind",
    "Importance",
    "Mib",
    "RequestId",
    "Seconds",
    "TierName",
    "parse_duration",
    "parse_size",
]

MIB: Final = 1024 * 1024

Mib: TypeAlias = int
"""A quantity of memory in MiB (2**20 bytes)."""

Seconds: TypeAlias = float
"""A duration, or a moment on the monotonic clock, in seconds."""

RequestId: TypeAlias = int
"""One model call; unique within a process, increasing in order of submission."""

Importance: TypeAlias = Literal["normal", "high"]
TierName: TypeAlias = Literal["small", "large"]

CacheType: TypeAlias = Literal["f32", "f16", "q8_0", "q4_0"]
"""How the KV cache's numbers are kept: 4, 2, 1.0625 or 0.5625 bytes each."""

DeviceKind: TypeAlias = Literal["gpu", "cpu"]

_SIZE_UNITS: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TIME_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")


def parse_size(text: str) -> Mib:
    """Whole MiB in a size such as `"14 GiB"` or `"900 MiB"`; ValueError says which units there are."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size; write a number and a unit, such as '14 GiB' or '900 MiB'")
    return int(float(match[1]) * _SIZE_UNITS[match[2].lower()]) // MIB


def parse_duration(written: object, *, zero: bool = False) -> Seconds:
    """Seconds in a duration: text such as `"90s"`, `"1.5 h"` or `"250ms"`, or a number of seconds. The one reader of them all.

    ValueError for what is neither or never ends, and, without `zero`, for what is over at once: it says which units there are.
    """
    seconds = math.nan
    if isinstance(written, str):
        match = _QUANTITY.fullmatch(written)
        if match is not None and match[2].lower() in _TIME_UNITS:
            seconds = float(match[1]) * _TIME_UNITS[match[2].lower()]
    elif isinstance(written, int | float) and not isinstance(written, bool):
        seconds = float(written)
    if not 0 <= seconds < math.inf or (seconds == 0 and not zero):
        positive = "" if zero else " above 0"
        raise ValueError(
            f"{written!r} is not a duration; write a number{positive} and a unit (ms, s, m, h, d), such as '15s' or '10m'"
        )
    return seconds
