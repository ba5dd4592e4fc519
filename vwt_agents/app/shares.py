"""Whose the memory of each device is: this run's, others' in the ledger, somebody's outside it. What the monitor asks for.

Owns the figures of the last look and their arithmetic; it looks at nothing itself.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vwt_agents.occupancy.taken import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vwt_agents.app.sightings import Sightings
    from vwt_agents.core import ModelKey, State
    from vwt_agents.ledger import Resource, Snapshot
    from vwt_agents.types import Mib

__all__ = ["Shares"]


class Shares:
    """`state` gives the run's books; `resources` are what its models are in the ledger. All figures are MiB by device."""

    def __init__(
        self, state: Callable[[], State], resources: Mapping[ModelKey, Resource], sightings: Sightings
    ) -> None:
        self._state = state
        self._resources = resources
        self._sightings = sightings
        self._snapshot: Snapshot | None = None
        self._claimed: dict[str, deque[Mib]] = {}
        self._joined: dict[str, Mib] = {}

    def look(self, snapshot: Snapshot, devices: Mapping[str, object]) -> None:
        """What the ledger says from now on."""
        self._snapshot = snapshot
        shared = {resource for resource in self._resources.values() if resource.server}
        ours = {self._resources[key] for key in self._state().residencies if key in self._resources}
        for device in devices:
            joined = {holder.resource: holder.mib for holder in snapshot.on(device)}
            self._joined[device] = sum(mib for resource, mib in joined.items() if resource in shared - ours)
            claimed = snapshot.others(device, but=shared)
            self._claimed.setdefault(device, deque(maxlen=PATIENCE)).append(claimed)

    def ceiling(self, device: str) -> Mib:
        """What all claims on a device together may come to: its budget, less what is taken by who is in no ledger.

        What is occupied falls a few looks after the claim it was for; until then it is still nobody's outside the ledger.
        """
        outside = max(0, self._state().occupied(device) - max(self._claimed.get(device, (0,))))
        return self._state().budget(device) - outside

    def ours(self, device: str) -> Mib:
        """What this run has there, and what others have that it would only join."""
        return self._state().used(device) + self._joined.get(device, 0)

    def changing(self, device: str) -> bool:
        """Whether something of this run's is on its way in or out."""
        return any(residency.phase != "resident" for residency in self._state().on(device))

    async def ledger(self, device: str) -> Mib:
        """What others have claimed, but for what this run would only join."""
        claimed = self._claimed.get(device)
        return claimed[-1] if claimed else 0

    async def loading(self, device: str) -> Mib:
        """The part of what others have claimed that is not in memory yet."""
        return self._snapshot.loading(device) if self._snapshot is not None else 0

    async def foreign(self, device: str) -> Mib:
        """What servers on a device have in memory that neither this run nor anybody in the ledger has loaded."""
        return self._sightings.foreign(device, self._state(), self._snapshot) if self._snapshot is not None else 0
