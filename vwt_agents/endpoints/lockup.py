"""Is a load slow, or will it never end? Told apart by what the server shows while it loads. Pure; asks nobody.

Ollama's scheduler can wait for ever for a victim that a call has revived (ollama#17408): every cold load hangs, while
`/api/tags`, `/api/ps` and the resident models answer as ever. From outside that is a load that takes longer than any load of
its size, beside resident models of which none has left since it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vwt_agents.endpoints.base import Residence
    from vwt_agents.types import Mib, Seconds

__all__ = ["LoadWatch", "longest_load"]

_BASE_S: Final[Seconds] = 60.0
_SLOWEST_MIB_S: Final = 40.0
_UNKNOWN_MIB: Final[Mib] = 4000


def longest_load(size_mib: Mib) -> Seconds:
    """More seconds than a load of these weights takes: a minute for eviction and start, the rest at a USB 2 disk's pace.

    0 MiB stands for a size that is not known. Loads of 4 to 8 GB that people logged took 4 to 10 s.
    """
    return _BASE_S + (size_mib or _UNKNOWN_MIB) / _SLOWEST_MIB_S


@dataclass(slots=True)
class LoadWatch:
    """One load that is under way at `url`: what was resident when it was asked for, and who has left since."""

    model: str
    size_mib: Mib
    before: dict[str, Residence] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    looked: bool = False

    @property
    def bound(self) -> Seconds:
        """From when on the load counts as one that may never end."""
        return longest_load(self.size_mib)

    def look(self, resident: Iterable[Residence]) -> None:
        """What is in memory now; the model itself is absent while it loads."""
        now = {seen.model: seen for seen in resident if seen.model != self.model}
        if not self.looked:
            self.before, self.looked = now, True
        self.left |= self.before.keys() - now.keys()
        self.before.update({name: seen for name, seen in now.items() if name in self.before})

    def verdict(self, waited: Seconds) -> str | None:
        """Why the load will never end, in words; None while it may be slow, or where the server's state does not say so."""
        if waited < self.bound or not self.before or self.left:
            return None
        stays = ", ".join(_told(seen) for seen in self.before.values())
        return (
            f"after {waited:.0f} s, where a load of {self.size_mib or _UNKNOWN_MIB} MiB ends within {self.bound:.0f} s; "
            f"resident there all that time, and not leaving: {stays}. Those still answer, no other model will"
        )


def _told(seen: Residence) -> str:
    if seen.expires_in is not None and seen.expires_in < 0:
        return f"{seen.model} (told to leave {-seen.expires_in:.0f} s ago)"
    return seen.model
