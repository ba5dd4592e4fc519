"""An Endpoint around an Endpoint: it claims memory in the ledger before it loads, and gives it back after it unloaded.

Owns which claims were made for this endpoint's models, and on which terms: where others hold a model with a longer context
than is needed, theirs is used. What others hold is not unloaded, also not by a load that failed; what a dead process left on
this server can be. Never decides what is loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync

from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.errors import MemoryTaken, WorldError
from vwt_agents.eventlog import get_logger
from vwt_agents.ledger import Claim, Terms
from vwt_agents.ledger.books import STALE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from vwt_agents.endpoints.base import Endpoint, Residence
    from vwt_agents.ledger import Ledger, Refusal, Resource
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Mib, Seconds

__all__ = ["LedgeredEndpoint", "Need"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Need:
    """What a model is in the ledger, and the MiB that it is expected to take."""

    resource: Resource
    mib: Mib


@dataclass(frozen=True, slots=True, eq=False)
class _Stay:
    """One stay of a model in memory, with the MiB and the context it has: a later one of the same model is another."""

    resource: Resource
    mib: Mib
    num_ctx: int


async def _at_once(_mib: Mib) -> None:
    """Memory that a server says is free counts as free."""


class LedgeredEndpoint(EndpointAround):
    """The inner endpoint, within the memory that all processes of the machine share.

    `ceiling` is what everybody's models may take on the device, asked at each load; `need` what a model will take; `freed`
    returns once so many MiB, which the server says are free, are seen to be. `beside` are all of this process: two of them
    may lead to one server, where a model is one claim. The device's name in the ledger is the endpoint's, unless `device`
    gives one that all processes agree on.
    """

    def __init__(
        self,
        inner: Endpoint,
        ledger: Ledger,
        *,
        ceiling: Callable[[], Mib],
        need: Callable[[str], Need],
        freed: Callable[[Mib], Awaitable[Any]] = _at_once,
        beside: Collection[LedgeredEndpoint] = (),
        device: str | None = None,
    ) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._ceiling = ceiling
        self._need = need
        self._freed = freed
        self._beside = beside
        self._memory = device or inner.device
        self._loaded: dict[str, _Stay] = {}
        self._asked: dict[str, Resource] = {}  # of the loads that were begun here
        self._loading: set[Resource] = set()
        self._left: set[Resource] = set()  # of loads that failed, and may be in memory all the same
        self._waits: dict[str, tuple[Seconds, Seconds]] = {}
        self._claiming = anyio.Lock()  # no claim begins while an older one on the same resource is being dropped
        if not ledger.alone:
            self.undo_by(self._undo)

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Claim, then load. MemoryTaken, with who holds what, when the claim is refused now; it is then wanted.

        A load that is refused is to be tried again every few seconds, else its turn passes to others. Where others hold the
        model with a longer context it is loaded, and called, with theirs.
        """
        need = self._need(model)
        terms = await self._claim(model, need, Terms(num_ctx, self.device == "cpu"))
        self._asked[model] = need.resource
        self._loading.add(need.resource)
        try:
            residence = await self.inner.load(model, num_ctx=terms.num_ctx, slots=slots, timeout=timeout)
            mib = residence.device_mib or residence.size_mib
            await run_sync(self._ledger.settle, need.resource, mib)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._end_failed(need.resource)
            raise
        finally:
            self._loading.discard(need.resource)
            self._left.discard(need.resource)
        self._loaded[residence.model] = _Stay(need.resource, mib, terms.num_ctx)
        return residence

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the inner endpoint, with the context the model was loaded with: another would load it again."""
        there = self._stay(self._need(request.model).resource)
        if there is not None and there.num_ctx != request.num_ctx:
            request = replace(request, num_ctx=there.num_ctx)
        return await self.inner.call(request, on_chunk)

    async def unload(self, model: str) -> None:
        """Give the claim back, and unload unless another process uses the model there."""
        resource = self._need(model).resource
        there = self._stay(resource)
        others = self._other_stay(resource) is not None or not await run_sync(self._ledger.leave, resource)
        before = self._forget(resource)  # or a look that misses it would end the claim before its memory is free
        if others:
            log.info("model.left_to_others", endpoint=self.name, model=model)
            return
        try:
            await self.inner.unload(model)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.stay, resource)
            self._loaded |= before
            raise
        try:
            await self._freed(there.mib if there is not None else 0)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.drop, resource)

    async def resident(self) -> tuple[Residence, ...]:
        """As the inner endpoint; claims on what is no longer there end with it."""
        expected = dict(self._loaded)
        found = await self.inner.resident()
        seen = {residence.model for residence in found}
        for name, stay in expected.items():
            if name not in seen:
                await self._end(name, stay)
        return found

    async def release(self, unused: Callable[[Resource], bool]) -> None:
        """End claims on what was loaded here and is used no more, whatever became of it: nothing is unloaded."""
        for name, stay in list(self._loaded.items()):
            if unused(stay.resource):
                await self._end(name, stay)

    async def reclaim(self, server: str) -> int:
        """Unload what dead processes left on this endpoint's server; how many models that were. Never fails for one."""
        count = 0
        for orphan in (await run_sync(self._ledger.snapshot)).orphans(server):
            if await run_sync(self._ledger.adopt, orphan.resource):
                count += await self._evict(orphan.name, orphan.resource, orphan.mib)
        return count

    async def clear(self, model: str, resource: Resource, mib: Mib) -> bool:
        """Unload what is in memory there and nobody in the ledger holds; False where somebody does, or it would not leave.

        Nobody can take it up meanwhile, and its memory counts until it is free.
        """
        found = Claim(self._memory, resource, mib, model)
        return await run_sync(self._ledger.adopt, resource, found) and await self._evict(model, resource, mib)

    async def _evict(self, model: str, resource: Resource, mib: Mib) -> bool:
        """Unload what was adopted; what does not leave stays an orphan."""
        done = False
        try:
            await self.inner.unload(model)
            done = True
            await self._freed(mib)
        except WorldError as error:
            log.warning("model.reclaim_failed", endpoint=self.name, model=model, error=error.message)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(self._ledger.drop if done else self._ledger.disown, resource)
        if done:
            log.info("model.reclaimed", endpoint=self.name, model=model, mib=mib)
        return done

    async def _undo(self, model: str, unload: Callable[[], Awaitable[None]]) -> None:
        """Unload what a load that failed may have left in memory, unless others use it; nobody can take it up meanwhile.

        What stays is an orphan: it counts until somebody makes it leave.
        """
        resource = self._asked.get(model)
        if resource is None:  # no load of ours: what the dead left is an orphan again, for whoever needs the room
            return
        if resource in self._loading:  # within the load, whose claim goes on: it may be tried again
            self._left.add(resource)
            if self._other_stay(resource) or not await run_sync(partial(self._ledger.leave, resource, undo=True)):
                log.info("model.left_to_others", endpoint=self.name, model=model)
                return
            await unload()
            self._left.discard(resource)
            await run_sync(self._ledger.stay, resource)
        elif await run_sync(self._ledger.adopt, resource):
            await self._evict(model, resource, 0)

    async def _end(self, name: str, stay: _Stay) -> None:
        async with self._claiming:
            if self._loaded.get(name) is stay:
                del self._loaded[name]
                if self._other_stay(stay.resource) is None:
                    await run_sync(self._ledger.drop, stay.resource)

    async def _end_failed(self, resource: Resource) -> None:
        """The claim of a load that failed ends, or goes on where something may still be in memory for it."""
        if (other := self._other_stay(resource)) is not None:
            await run_sync(self._ledger.settle, resource, other.mib)
        elif resource in self._left:
            await run_sync(self._ledger.disown, resource)
        else:
            await run_sync(self._ledger.drop, resource)

    def _stay(self, resource: Resource) -> _Stay | None:
        return next((stay for stay in self._loaded.values() if stay.resource == resource), None)

    def _other_stay(self, resource: Resource) -> _Stay | None:
        """What another endpoint of this process has of it, where both lead to one server."""
        others = (each for each in self._beside if each is not self and resource.server)
        return next((stay for each in others if (stay := each._stay(resource)) is not None), None)  # noqa: SLF001 - its own kind

    def _forget(self, resource: Resource) -> dict[str, _Stay]:
        """Its stays are over; what they were."""
        before = {name: stay for name, stay in self._loaded.items() if stay.resource == resource}
        for name in before:
            del self._loaded[name]
        return before

    async def _claim(self, model: str, need: Need, terms: Terms) -> Terms:
        """The terms on which it was claimed; MemoryTaken."""
        if (other := self._other_stay(need.resource)) is not None:
            terms = replace(terms, num_ctx=max(terms.num_ctx, other.num_ctx))
        refused = await self._try(model, need, terms)
        if refused is not None and refused.held is not None:
            theirs = Terms.of(refused.held.terms)
            if theirs is not None and theirs.serve(terms):
                as_it_is = Need(need.resource, max(need.mib, refused.held.mib))
                refused = await self._try(model, as_it_is, theirs)
                if refused is None:
                    log.info("model.used_as_it_is", endpoint=self.name, model=model, num_ctx=theirs.num_ctx)
                    terms = theirs
        in_the_way = refused is not None and refused.held is None
        if in_the_way and need.resource.server and await self.reclaim(need.resource.server):
            refused = await self._try(model, need, terms)
        if refused is None:
            self._waits.pop(model, None)
            return terms
        now = time.monotonic()
        since, last = self._waits.get(model, (now, now))
        since = since if now - last < STALE_S else now  # who asks again after so long had given up meanwhile
        self._waits[model] = since, now
        want = partial(self._ledger.want, self._memory, need.resource, need.mib, since, name=model, terms=str(terms))
        await run_sync(want)
        raise MemoryTaken(refused.reason, hint=refused.hint)

    async def _try(self, model: str, need: Need, terms: Terms) -> Refusal | None:
        claim = partial(self._ledger.claim, name=model, terms=str(terms))
        async with self._claiming:
            refused = await run_sync(claim, self._memory, need.resource, need.mib, self._ceiling())
            if refused is None:
                self._forget(need.resource)  # what was there has gone: its end is not to end the new claim
            return refused
