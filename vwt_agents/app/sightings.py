"""What servers were last seen to have in memory: asked every second, and compared with what the ledger says.

Owns what was seen, and ends orphans that their server no longer shows. It loads and unloads nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio
from anyio.to_thread import run_sync

from vwt_agents.app.claims import resource_of
from vwt_agents.config import canonical
from vwt_agents.errors import EndpointUnavailable, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.hosts import one_server

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from vwt_agents.app.world import World
    from vwt_agents.core import State
    from vwt_agents.endpoints.base import Endpoint, Residence
    from vwt_agents.ledger import Ledger, Resource, Snapshot
    from vwt_agents.types import Mib, Seconds

__all__ = ["Seen", "Sightings", "Stranger"]

log = get_logger(__name__)

ANSWER_S: Final[Seconds] = 5.0
"""A server that has said nothing for so long is not waited for: what it said last still stands."""

_FOREVER_S: Final[Seconds] = (2**63 - 1) / 1e9
"""What an Ollama adds to the moment of a model's last use where it is to stay (`keep_alive` -1)."""

_SAME_S: Final[Seconds] = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A server's memory at the last look that was answered, by the model's one spelling."""

    at: Seconds
    residences: Mapping[str, Residence]


@dataclass(frozen=True, slots=True)
class Stranger:
    """What a server has in memory that neither this run nor anybody in the ledger holds; `model` in its one spelling.

    `unused_s` is how long nobody has used it, as far as is known: each call of another client extends a model's stay.
    """

    model: str
    resource: Resource
    mib: Mib
    unused_s: Seconds


class Sightings:
    """`endpoints` are the run's, to which more may come; each is asked for itself, and once a look."""

    def __init__(self, world: World, ledger: Ledger, endpoints: Mapping[str, Endpoint]) -> None:
        self._world = world
        self._ledger = ledger
        self._endpoints = endpoints
        self._seen: dict[str, Seen] = {}
        self._stays: dict[tuple[str, str], tuple[Seconds, Seconds]] = {}  # until when each was to stay, and since when

    def of(self, endpoint: str) -> Seen | None:
        """What was seen at an endpoint last; None before it has answered."""
        return self._seen.get(endpoint)

    def residences(self, endpoint: str) -> Mapping[str, Residence]:
        """What it has in memory as far as is known."""
        seen = self._seen.get(endpoint)
        return seen.residences if seen is not None else MappingProxyType({})

    async def look(self, before: Snapshot | None) -> None:
        """Ask every server of the run. `before` is the ledger as it was at the look before this one."""
        async with anyio.create_task_group() as tasks:
            for name, endpoint in list(self._endpoints.items()):
                if endpoint.kind == "ollama":
                    tasks.start_soon(self._look_at, name, endpoint, before)

    async def look_elsewhere(self, devices: Collection[str], before: Snapshot) -> None:
        """Servers that this run does not use, where the dead have left something on these devices: is it still there?"""
        from vwt_agents.endpoints.ollama import OllamaEndpoint

        left = {holder.resource.server for holder in before.holders if holder.orphan and holder.device in devices}
        for url in sorted(left - {one_server(endpoint.url) for endpoint in self._endpoints.values()}):
            shown: set[str] = set()
            try:
                async with OllamaEndpoint("elsewhere", url) as server:
                    with anyio.fail_after(ANSWER_S):
                        shown = {canonical(each.model) for each in await server.resident()}
            except (VwtError, TimeoutError) as error:
                if not (isinstance(error, EndpointUnavailable) and error.refused):
                    continue
            await self._forget(url, shown, before)

    def strangers(self, name: str, state: State, ledger: Snapshot) -> Iterator[Stranger]:
        """What an endpoint's server has in memory that neither this run nor anybody in the ledger holds."""
        server, seen = one_server(self._world.endpoints[name].url), self._seen.get(name)
        if seen is None:
            return
        ours = {  # also what has left since the look
            canonical(key.model)
            for key, model in state.models.items()
            if key.endpoint == name and (key in state.residencies or model.left_at >= seen.at)
        }
        holders = ledger.holders
        resources = {holder.resource for holder in holders}
        named = {(holder.resource.server, canonical(holder.name)) for holder in holders}
        listed = {canonical(model): model for model in self._world.settings.listed(name)}
        for model, residence in seen.residences.items():
            resource = resource_of(self._world, name, listed.get(model, model))
            if model not in ours and resource not in resources and (server, model) not in named:
                yield Stranger(model, resource, residence.device_mib, self._unused_s(name, model, residence, seen.at))

    def foreign(self, device: str, state: State, ledger: Snapshot) -> Mib:
        """MiB of all strangers on a device; of two endpoints with one server each sees the same there."""
        found: dict[tuple[str, str], Mib] = {}
        for name, endpoint in self._world.endpoints.items():
            if endpoint.device == device:
                for stranger in self.strangers(name, state, ledger):
                    found[one_server(endpoint.url), stranger.model] = stranger.mib
        return sum(found.values())

    async def _look_at(self, name: str, endpoint: Endpoint, before: Snapshot | None) -> None:
        at = anyio.current_time()
        try:
            with anyio.fail_after(ANSWER_S):
                residences = await endpoint.resident()
        except (VwtError, TimeoutError) as error:  # calls to it say so; what was seen there last still stands
            log.debug("endpoint.not_seen", endpoint=name, error=str(error))
            return
        for each in residences:
            self._note_stay(name, each, at)
        seen = self._seen[name] = Seen(at, {canonical(each.model): each for each in residences})
        await self._forget(one_server(endpoint.url), seen.residences, before)

    def _note_stay(self, name: str, residence: Residence, at: Seconds) -> None:
        key, until = (name, canonical(residence.model)), time.time() + (residence.expires_in or 0.0)
        before, _ = self._stays.get(key, (inf, at))
        if abs(until - before) > _SAME_S:
            self._stays[key] = (until, at)

    def _unused_s(self, name: str, model: str, residence: Residence, at: Seconds) -> Seconds:
        if residence.expires_in is None:
            return inf
        seen = at - self._stays[name, model][1]
        return max(seen, _FOREVER_S - residence.expires_in) if residence.expires_in > _FOREVER_S / 2 else seen

    async def _forget(self, server: str, shown: Collection[str], before: Snapshot | None) -> None:
        """Orphans of a server that it does not show in its memory are none: those that were orphans a look ago, because a
        model that was being loaded when its process died is in no answer yet, and in memory a moment longer.
        """
        left = before.orphans(server) if before is not None else ()
        if gone := {orphan.resource for orphan in left if canonical(orphan.name) not in shown}:
            await run_sync(self._ledger.forget, gone)
