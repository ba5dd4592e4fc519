"""What the stages of all runs took, summed up entry by entry: every call is counted in the run that made it, and once.

Pure. A run's own summary will not do for that: it speaks of the session that ended it, and a fork's counts what it has from
its parent.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vwt_agents.board import TRIED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.entries import Entry, EntryKind

__all__ = ["TALLIED", "Tallies"]

TALLIED: Final[tuple[EntryKind, ...]] = ("attempt", "call", "stage")
"""The kinds of entries that say what a stage took."""

Key: TypeAlias = tuple[str, str]
"""Pipeline and stage."""


class Tallies:
    """Sums by pipeline and stage. `pipelines` are those of the runs by id; what any other run wrote is left out."""

    def __init__(self, pipelines: Mapping[str, str]) -> None:
        self._pipelines = pipelines
        self._sums: dict[str, Counter[Key]] = {}
        self._turns: set[tuple[str, str]] = set()

    def take(self, entry: Entry) -> None:
        """Count an entry; those of a run come oldest first. Its texts are not looked at."""
        pipeline = self._pipelines.get(entry.run)
        if pipeline is None:
            return
        key = pipeline, entry.name
        if entry.kind == "attempt":
            self._turns.add((entry.run, entry.name))
            self._add("attempts", key, 1)
        elif entry.kind == "stage":
            self._add("seconds", key, entry.seconds or 0.0)
            tried = entry.status in TRIED and (entry.run, entry.name) not in self._turns
            self._add("attempts", key, int(tried))  # one without a loop of attempts is one
        elif entry.kind == "call":
            self._add("calls", key, 1)
            said: dict[str, Any] = json.loads(entry.payload or "{}")
            for name, figure in said.get("response", {}).get("usage", {}).items():
                self._add(name, key, figure or 0)

    def of(self, name: str) -> Counter[Key]:
        """`calls`, `attempts`, `seconds`, or a field of Usage, by pipeline and stage."""
        return self._sums.get(name, Counter())

    def _add(self, name: str, key: Key, figure: float) -> None:
        self._sums.setdefault(name, Counter())[key] += figure  # type: ignore[assignment] # seconds are sums too
