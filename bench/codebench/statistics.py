"""How sure a figure is. Pure; the bootstrap draws from a fixed seed, so that a report is the same each time it is printed."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Interval", "bootstrap_mean", "mcnemar", "wilson"]

_Z: Final = 1.959963984540054  # two-sided 95 %


class Interval(NamedTuple):
    """From `low` to `high`, 95 %."""

    low: float
    high: float


def wilson(passed: int, total: int) -> Interval:
    """Wilson's interval of a share; all of 0..1 where nothing was counted."""
    if not total:
        return Interval(0.0, 1.0)
    share, square = passed / total, _Z**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total**2)) / (1 + square / total)
    low = 0.0 if passed == 0 else max(0.0, middle - half)
    high = 1.0 if passed == total else min(1.0, middle + half)
    return Interval(low, high)


def bootstrap_mean(values: Sequence[float], *, rounds: int = 10_000) -> Interval:
    """The percentile interval of the mean of paired differences, tasks drawn with replacement."""
    if not values:
        raise ValueError("there is nothing to draw from")
    draw, count = random.Random(0), len(values)
    means = sorted(math.fsum(draw.choices(values, k=count)) / count for _ in range(rounds))
    return Interval(means[int(0.025 * (rounds - 1))], means[math.ceil(0.975 * (rounds - 1))])


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p that two contenders are equally good, from the tasks only one of them solved."""
    count, fewer = only_first + only_second, min(only_first, only_second)
    ways = sum(math.comb(count, number) for number in range(fewer + 1))
    return float(min(1.0, 2 * ways / 2**count))
