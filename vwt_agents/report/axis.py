"""The time axis of a run: seconds since it began, less the time during which nobody worked on it.

A run that was resumed was worked on in several sessions, maybe a night apart; a chart over the night would show nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vwt_agents.types import Seconds

__all__ = ["Axis"]

GAP: Final[Seconds] = 2.0
"""What is left of the time between two sessions, so that one sees that there was some."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps moments to seconds; `starts` and `offsets` are those of the sessions, `origin` the run's own start."""

    origin: datetime
    starts: tuple[Seconds, ...]
    offsets: tuple[Seconds, ...]

    @classmethod
    def of(cls, origin: datetime, sessions: Sequence[tuple[datetime, datetime]]) -> Axis:
        """The axis over sessions, each from its start to its end, in their order."""
        starts: list[Seconds] = []
        offsets: list[Seconds] = []
        cut = 0.0
        before: Seconds | None = None
        for began, ended in sessions:
            start = (began - origin).total_seconds()
            if before is not None and start - before > GAP:
                cut += start - before - GAP
            starts.append(start)
            offsets.append(cut)
            before = max(start, (ended - origin).total_seconds())
        return cls(origin, tuple(starts) or (0.0,), tuple(offsets) or (0.0,))

    def at(self, moment: datetime) -> Seconds:
        """Where a moment is on the axis; never before its beginning."""
        seconds = (moment - self.origin).total_seconds()
        return max(0.0, round(seconds - self.offsets[max(0, bisect_right(self.starts, seconds) - 1)], 6))

    @property
    def seams(self) -> list[Seconds]:
        """Where a later session begins."""
        return [round(start - cut, 6) for start, cut in zip(self.starts[1:], self.offsets[1:], strict=True)]
