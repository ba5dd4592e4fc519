"""How much of a device others take, from what is seen of it. Pure: no clock, no I/O; a look is an argument.

Two bounds hold at once, and the tighter one counts:

- what is shared out: the ceiling less what other processes have reserved in the ledger, and less what strangers have loaded
  on our servers;
- what is there: the device's total less what is kept, less all that is used and not by us, less what others have reserved
  and are loading just now, which the device does not show yet.

A figure that is too high only lets a load wait; one that is too low lets two loads collide. So a rise is believed at once,
and a fall only when it was seen twice and nothing of ours was on its way in or out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vwt_agents.types import Mib

__all__ = ["PATIENCE", "STEP", "Sample", "Taken", "occupied"]

STEP: Final[Mib] = 64
"""A change of fewer MiB is not worth a decision: a desktop's windows come and go by as much."""

PATIENCE: Final = 10
"""So many looks in a row must agree on a smaller fall: without it a model that needs the very last MiB would wait forever."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a device, in MiB.

    `total` and `used` are the device's, `used` counting everybody; `total` is None where it cannot be measured. `ours` is
    what our residencies take, loading and unloading included. `ledger` is what other processes have reserved, `loading` the
    part of it whose load has not ended; `foreign` what strangers, who are in no ledger, have loaded on our servers.
    """

    total: Mib | None
    used: Mib = 0
    ours: Mib = 0
    ledger: Mib = 0
    loading: Mib = 0
    foreign: Mib = 0


def occupied(sample: Sample, others: Mib, *, ceiling: Mib, kept: Mib) -> Mib:
    """The part of the ceiling that is not to be had now, where `others` is what they take of what is used there."""
    available = ceiling - sample.ledger - sample.foreign
    if sample.total is not None:
        available = min(available, sample.total - kept - others - sample.loading)
    return ceiling - max(0, min(ceiling, available))


class Taken:
    """What others take of one device, look after look, and what of it was last told.

    `mapped` is for host memory: models' weights are files mapped into memory there, which the system counts as free.
    """

    def __init__(self, *, ceiling: Mib, kept: Mib, mapped: bool = False) -> None:
        self.ceiling = ceiling
        self.kept = kept
        self.told: Mib = 0
        self._mapped = mapped
        self._others: Mib | None = None  # as believed
        self._seen: Mib | None = None  # as last seen, before it is believed
        self._lower: Mib | None = None  # a fall that was seen once
        self._before: tuple[Sample, bool] | None = None
        self._recent: deque[Mib] = deque(maxlen=PATIENCE)

    @property
    def others(self) -> Mib | None:
        """What others take of what is used there, as believed; None before the first look."""
        return self._others

    def look(self, sample: Sample, *, steady: bool) -> Mib | None:
        """What is occupied, when it has changed enough to tell; else None.

        `steady`: nothing of ours is being loaded or unloaded there. While it is, the device's figure and ours are of
        different moments: a model half loaded counts in full as ours, so that others would seem to take less than they do.
        """
        if sample.total is not None:
            self._seen = self._see(sample, steady=steady)
            self._others = self._believe(self._seen, steady=steady)
        self._before = (sample, steady)
        now = occupied(sample, self._others or 0, ceiling=self.ceiling, kept=self.kept)
        self._recent.append(now)
        if abs(now - self.told) >= STEP:
            return self._tell(now)
        settled = max(self._recent)
        return self._tell(settled) if len(self._recent) == PATIENCE and settled < self.told else None

    def _tell(self, mib: Mib) -> Mib:
        self.told = mib
        self._recent.clear()
        return mib

    def _see(self, sample: Sample, *, steady: bool) -> Mib:
        rest = max(0, sample.used - sample.ours)
        if not self._mapped or self._seen is None or self._before is None:
            return rest
        # Mapped weights are ours but not in `used`, so the rest is too little by an unknown part of them. What others take
        # changes as `used` does while ours stands still, and is anything between the rest and all that is used.
        before, was_steady = self._before
        still = steady and was_steady and before.ours == sample.ours
        others = self._seen + (sample.used - before.used if still else 0)
        return max(rest, min(others, sample.used))

    def _believe(self, seen: Mib, *, steady: bool) -> Mib:
        believed, lower = self._others, self._lower
        self._lower = None
        if believed is None or seen >= believed:
            return seen
        if not steady:
            return believed
        self._lower = seen
        return believed if lower is None else max(seen, lower)
