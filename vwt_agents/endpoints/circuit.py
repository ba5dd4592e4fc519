"""Whether to try an endpoint at all, after it did not answer: a state machine. Pure; time is an argument.

Closed: calls go through. Open: after `_FAILURES` connections in a row that found nobody, over `_GRACE_S` at least, calls fail
at once until a back-off has passed; the grace is what a server may take to be started again, however many callers find nobody
meanwhile. Half-open: then one call tries, the others still fail; it closes the circuit or opens it again, for twice as long.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from vwt_agents.types import Seconds

__all__ = ["Circuit", "CircuitState", "jitter"]

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]

_FAILURES: Final = 3
_GRACE_S: Final[Seconds] = 5.0
_FIRST_S: Final[Seconds] = 2.0
_LONGEST_S: Final[Seconds] = 60.0


def jitter(name: str, number: int) -> float:
    """A share from 0.75 to 1.25 that is always the same for these: clients of one name do not come back in step."""
    return 0.75 + 0.5 * (zlib.crc32(f"{name}/{number}".encode()) / 0xFFFFFFFF)


@dataclass(slots=True)
class Circuit:
    """One endpoint's circuit: `admits(now)`, then of that call `answered()`, `failed(now, why)` or `abandoned(now)`."""

    name: str
    state: CircuitState = "closed"
    why: str = ""
    until: Seconds = 0.0
    _failures: int = 0
    _openings: int = 0
    _since: Seconds = 0.0

    def admits(self, now: Seconds) -> bool:
        """Whether a call may try now; the one that is let through after the back-off is the trial."""
        if self.state == "closed":
            return True
        if self.state == "half-open" or now < self.until:
            return False
        self.state = "half-open"
        return True

    def answered(self) -> None:
        """Somebody is there, whatever they said."""
        self.state, self.why = "closed", ""
        self._failures = self._openings = 0

    def failed(self, now: Seconds, why: str) -> None:
        """Nobody was there."""
        self.why = why
        if not self._failures:
            self._since = now
        self._failures += 1
        gone = self._failures >= _FAILURES and now - self._since >= _GRACE_S
        if self.state == "half-open" or (self.state == "closed" and gone):
            self.state = "open"
            self.until = now + min(_LONGEST_S, _FIRST_S * 2.0**self._openings) * jitter(self.name, self._openings)
            self._openings += 1

    def abandoned(self, now: Seconds) -> None:
        """A call was given up before it knew; a trial that was is made again by the next."""
        if self.state == "half-open":
            self.state, self.until = "open", now
