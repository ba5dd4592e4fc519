"""An endpoint around one whose server is brought up when it is first needed, and stopped when nobody has used it for a while.

Owns when the server is wanted: as long as this process has a model there, or a call or a pull under way. Opening it, a probe
and a question start nothing: what the server has is then told as it was when it was last up.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.endpoints.address import canonical
from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.endpoints.base import Health, ModelInfo
from vwt_agents.errors import EndpointAsleep, EndpointUnavailable, ModelMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from vwt_agents.deployments.folder import ServerFolder, Use
    from vwt_agents.deployments.kept import KeptServer
    from vwt_agents.endpoints.base import Endpoint, OnProgress, Residence
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Seconds

__all__ = ["Memory", "OnDemandEndpoint"]

_FILE: Final = "known.json"


class OnDemandEndpoint(EndpointAround):
    """`inner` with a server that `load`, `call` and `pull` bring up. EndpointUnavailable has the words of a failed start."""

    def __init__(self, inner: Endpoint, server: KeptServer) -> None:
        super().__init__(inner)
        self.server = server
        self._memory = Memory(server.folder)
        self._starting = anyio.Lock()
        self._use: Use | None = None
        self._models: set[str] = set()
        self._busy = 0

    async def __aexit__(self, *exc: object) -> None:
        self._release()
        await self.inner.__aexit__(*exc)

    async def probe(self) -> Health:
        """As the server answers; where it does not but can be started, that is in order too (`asleep`)."""
        health = await self.inner.probe()
        if health.ok:
            return health
        shown = self.server.deployment.shown()
        if (why := self.server.startable()) is not None:
            return Health(ok=False, detail=f"{health.detail}, and `{shown}` cannot start one: {why}")
        url = self.server.deployment.url
        return Health(ok=True, detail=f"not running; `{shown}` is run when {url} is needed", asleep=True)

    async def deep_probe(self) -> Health:
        """As the server answers; one that is asleep is left so."""
        health = await self.probe()
        return health if health.asleep or not health.ok else await self.inner.deep_probe()

    async def start(self) -> None:
        """Bring the server up now; it stays until nobody has used it for a while."""
        async with self._used():
            pass

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models of the server; those it had when it was last up, while it is not running."""
        try:
            found = await self.inner.models()
        except EndpointUnavailable:
            if not await self._asleep():
                raise
            return self._memory.present()
        self._memory.note(found)
        return found

    async def describe(self, model: str) -> ModelInfo:
        """One model; as it was when the server was last up, while it is not running. EndpointAsleep if never noted."""
        try:
            info = await self.inner.describe(model)
        except ModelMissing:
            self._memory.note_absent(model)
            raise
        except EndpointUnavailable:
            if not await self._asleep():
                raise
            return self._memory.recall(model, self.name)
        self._memory.note([info])
        return info

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Bring the server up, within the time limit of a start, then load within `timeout`; it stays up for the model."""
        async with self._used(sure=True):
            residence = await self.inner.load(model, num_ctx=num_ctx, slots=slots, timeout=timeout)
            self._models.add(canonical(model))
        return residence

    async def unload(self, model: str) -> None:
        """Unload; what was in a server that is gone is out of memory. Without a model here, the server may be stopped."""
        try:
            await self.inner.unload(model)
        except EndpointUnavailable:
            if not await self._asleep():
                raise
        self._models.discard(canonical(model))
        self._let_go()

    async def resident(self) -> tuple[Residence, ...]:
        """What is in memory there now: nothing, where the server is not running."""
        try:
            return await self.inner.resident()
        except EndpointUnavailable:
            if not await self._asleep():
                raise
            return ()

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Answer one request; the server is brought up for it if no model is held here."""
        async with self._used():
            return await self.inner.call(request, on_chunk)

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Bring the server up, and have it fetch a model."""
        async with self._used(sure=True):
            await self.inner.pull(model, on_progress)

    async def _asleep(self) -> bool:
        return (await self.probe()).asleep

    @asynccontextmanager
    async def _used(self, *, sure: bool = False) -> AsyncIterator[None]:
        """The server is up, and stays so, for the block; `sure`: it is asked, also if it was up before."""
        self._busy += 1
        try:
            async with self._starting:  # one start for many who wait in this process
                if self._use is None or (sure and not (await self.inner.probe()).ok):
                    use = await self.server.up()
                    self._release()
                    self._use = use
            yield
        finally:
            self._busy -= 1
            self._let_go()

    def _let_go(self) -> None:
        if not self._busy and not self._models:
            self._release()

    def _release(self) -> None:
        use, self._use = self._use, None
        self._models.clear()  # a server that had to be started anew has none of them
        if use is not None:
            use.end()


class Memory:
    """What a server had when it was last up, by model: its description, or that it was not there."""

    def __init__(self, folder: ServerFolder) -> None:
        self._folder = folder

    def note(self, infos: Iterable[ModelInfo]) -> None:
        """These are there."""
        self._add({canonical(info.name): _data(info) for info in infos})

    def note_absent(self, model: str) -> None:
        """This one is not."""
        self._add({canonical(model): None})

    def present(self) -> tuple[ModelInfo, ...]:
        """All that were there."""
        return tuple(_info(data) for data in self._folder.read(_FILE).values() if data is not None)

    def recall(self, model: str, endpoint: str) -> ModelInfo:
        """One of them; ModelMissing if it was not there, EndpointAsleep if that was never asked."""
        known, name = self._folder.read(_FILE), canonical(model)
        if name not in known:
            raise EndpointAsleep(
                f"{endpoint} is not running, and nothing is known yet of its {model}",
                endpoint=endpoint,
                hint=f"start it once, and it is remembered: python -m vwt_agents endpoints up {endpoint}",
            )
        if known[name] is None:
            hint = f"bring it with `python -m vwt_agents models pull {model} --endpoint {endpoint}`"
            raise ModelMissing(f"{endpoint} did not have the model {model!r} when it was last up", hint=hint)
        return replace(_info(known[name]), name=model)

    def _add(self, found: dict[str, Any]) -> None:
        known = self._folder.read(_FILE)
        merged = {**known, **found}
        if merged != known:
            try:
                self._folder.make()
                self._folder.write(_FILE, merged)
            except OSError:
                return  # then it is asked again the next time


def _data(info: ModelInfo) -> dict[str, Any]:
    return asdict(replace(info, metadata=dict(info.metadata), options=dict(info.options)))


def _info(data: dict[str, Any]) -> ModelInfo:
    frozen = {name: MappingProxyType(data[name]) for name in ("metadata", "options")}
    return ModelInfo(**{**data, **frozen, "tasks": tuple(data["tasks"])})
