"""An Endpoint around an Endpoint: it claims memory in the ledger before it loads, and gives it back after it unloaded.

Owns which claims were made for this endpoint's models. What others hold is not unloaded; what a dead process left on this
server can be. Never decides what is loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync

from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.errors import MemoryTaken, WorldError
from vwt_agents.eventlog import get_logger
from vwt_agents.ledger.books import STALE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vwt_agents.endpoints.base import Endpoint, Residence
    from vwt_agents.ledger import Holder, Ledger, Resource
    from vwt_agents.types import Mib, Seconds

__all__ = ["LedgeredEndpoint", "Need", "terms_of"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Need:
    """What a model is in the ledger, and the MiB that it is expected to take."""

    resource: Resource
    mib: Mib


@dataclass(frozen=True, slots=True, eq=False)
class _Stay:
    """One stay of a model in memory, and the MiB it takes: a later one of the same model is another."""

    resource: Resource
    mib: Mib


async def _at_once(_mib: Mib) -> None:
    """Memory that a server says is free counts as free."""


def terms_of(num_ctx: int) -> str:
    """What all who share a model have to agree on, or it would be loaded again in turns."""
    return f"num_ctx {num_ctx}"


class LedgeredEndpoint(EndpointAround):
    """The inner endpoint, within the memory that all processes of the machine share.

    `ceiling` is what everybody's models may take on the device, asked at each load; `need` what a model will take; `freed`
    returns once so many MiB, which the server says are free, are seen to be. The device's name in the ledger is the
    endpoint's, unless `device` gives one that all processes agree on.
    """

    def __init__(
        self,
        inner: Endpoint,
        ledger: Ledger,
        *,
        ceiling: Callable[[], Mib],
        need: Callable[[str], Need],
        freed: Callable[[Mib], Awaitable[Any]] = _at_once,
        device: str | None = None,
    ) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._ceiling = ceiling
        self._need = need
        self._freed = freed
        self._memory = device or inner.device
        self._loaded: dict[str, _Stay] = {}
        self._waits: dict[str, tuple[Seconds, Seconds]] = {}
        self._claiming = anyio.Lock()  # no claim begins while an older one on the same resource is being dropped

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Claim, then load. MemoryTaken, with who holds what, when the claim is refused now; it is then wanted.

        A load that is refused is to be tried again every few seconds, else its turn passes to others.
        """
        need = self._need(model)
        await self._claim(model, need, terms_of(num_ctx))
        try:
            residence = await self.inner.load(model, num_ctx=num_ctx, slots=slots, timeout=timeout)
            mib = residence.device_mib or residence.size_mib
            await run_sync(self._ledger.settle, need.resource, mib)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.drop, need.resource)
            raise
        self._loaded[residence.model] = _Stay(need.resource, mib)
        return residence

    async def unload(self, model: str) -> None:
        """Give the claim back, and unload unless another process uses the model there."""
        resource = self._need(model).resource
        mib = next((stay.mib for stay in self._loaded.values() if stay.resource == resource), 0)
        self._loaded = {name: stay for name, stay in self._loaded.items() if stay.resource != resource}
        if not await run_sync(self._ledger.leave, resource):
            log.info("model.left_to_others", endpoint=self.name, model=model)
            return
        try:
            await self.inner.unload(model)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.stay, resource)
            raise
        try:
            await self._freed(mib)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.drop, resource)

    async def resident(self) -> tuple[Residence, ...]:
        """As the inner endpoint; claims on what is no longer there end with it."""
        expected = dict(self._loaded)
        found = await self.inner.resident()
        seen = {residence.model for residence in found}
        for name, stay in expected.items():
            if name not in seen and self._loaded.get(name) is stay:
                del self._loaded[name]
                await run_sync(self._ledger.drop, stay.resource)
        return found

    async def release(self, unused: Callable[[Resource], bool]) -> None:
        """End claims on what was loaded here and is used no more, whatever became of it: nothing is unloaded."""
        for name, stay in list(self._loaded.items()):
            async with self._claiming:
                if self._loaded.get(name) is stay and unused(stay.resource):
                    del self._loaded[name]
                    await run_sync(self._ledger.drop, stay.resource)

    async def reclaim(self, server: str) -> int:
        """Unload what dead processes left on this endpoint's server; how many models that were. Never fails for one."""
        count = 0
        for orphan in await run_sync(self._ledger.orphans, server):
            if await run_sync(self._ledger.adopt, orphan.resource):
                count += await self._reclaimed(orphan)
        return count

    async def _reclaimed(self, orphan: Holder) -> bool:
        done = False
        try:
            await self.inner.unload(orphan.name)
            done = True
        except WorldError as error:
            log.warning("model.reclaim_failed", endpoint=self.name, model=orphan.name, error=error.message)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.drop if done else self._ledger.disown, orphan.resource)
        if done:
            log.info("model.reclaimed", endpoint=self.name, model=orphan.name, mib=orphan.mib)
        return done

    async def _claim(self, model: str, need: Need, terms: str) -> None:
        claim = partial(
            self._ledger.claim, self._memory, need.resource, need.mib, self._ceiling(), name=model, terms=terms
        )
        async with self._claiming:
            refused = await run_sync(claim)
        if refused is not None and need.resource.server and await self.reclaim(need.resource.server):
            refused = await run_sync(claim)
        if refused is None:
            self._waits.pop(model, None)
            return
        now = time.monotonic()
        since, last = self._waits.get(model, (now, now))
        since = since if now - last < STALE_S else now  # who asks again after so long had given up meanwhile
        self._waits[model] = since, now
        await run_sync(
            partial(self._ledger.want, self._memory, need.resource, need.mib, since, name=model, terms=terms)
        )
        raise MemoryTaken(refused.reason, hint=refused.hint)
