"""A server as an endpoint: a load is wholly on its device or it failed, an unload has ended when its memory is free.

Owns what the core relies on; decides nothing of what is resident, and retries nothing.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.endpoints.address import canonical, server_url
from vwt_agents.endpoints.base import Health, ModelInfo, OnProgress, Residence, Undo
from vwt_agents.endpoints.deep_probe import deep_probe
from vwt_agents.endpoints.loading import watched
from vwt_agents.endpoints.lockup import LoadWatch
from vwt_agents.endpoints.ollama.client import OllamaClient
from vwt_agents.endpoints.ollama.listing import joined, mib
from vwt_agents.endpoints.truncation import Window
from vwt_agents.errors import (
    CallFailed,
    EndpointUnavailable,
    LoadFailed,
    LoadsHang,
    ModelMissing,
    Spilled,
    UnloadFailed,
    WorldError,
    nearest,
)
from vwt_agents.messages import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Mib, Seconds

__all__ = ["OllamaEndpoint"]

_PROBE_S: Final = 3.0
_UNLOAD_S: Final = 60.0
_CLEAN_UP_S: Final = 10.0
_LAST_SWEEP_S: Final = 1.0
_OPEN: Final = "what is to be gone on with"
_DIED: Final = re.compile(
    r"unexpectedly stopped|encountered while running the model|process (has terminated|no longer running)"
)


class OllamaEndpoint:
    """An Ollama server as an endpoint. `url` defaults to OLLAMA_HOST, else the local server; it loads on `device`.

    How many slots a model has there is the server's OLLAMA_NUM_PARALLEL, which no API shows: configure both to agree.
    """

    kind = "ollama"

    def __init__(self, name: str, url: str | None = None, *, device: str = "gpu0") -> None:
        self.name = name
        self.device = device
        self.url = server_url(url)
        self._client = OllamaClient(self.url)
        self._spelling: dict[str, str] = {}
        self._shown: dict[str, str] = {}  # our models that the server lists under another tag of their weights
        self._sizes: dict[str, Mib] = {}
        self._held: dict[str, int] = {}
        self._leaving: set[str] = set()
        self._remains: set[str] = set()
        self._windows: dict[str, Window] = {}
        self._undo: Undo = _for_oneself
        self._thinks: dict[str, bool] = {}
        self._closing: dict[str, bool] = {}  # whether a model's template closes what it is to go on with
        self._dead: set[str] = set()  # whose runner died: the server lists them until they are next asked for
        self._counts = True

    async def __aenter__(self) -> OllamaEndpoint:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._remains |= self._leaving
        with anyio.move_on_after(_LAST_SWEEP_S, shield=True), contextlib.suppress(WorldError):
            await self._sweep()
        await self._client.__aexit__(*exc)

    async def probe(self) -> Health:
        """Whether the server answers within 3 seconds."""
        import ollama  # noqa: F401 - which may itself take seconds where the machine is busy: those are not the server's

        try:
            with anyio.move_on_after(_PROBE_S):
                version = await self._client.version()
                # Before 0.4 the count left out what was cached; 0.0.0 is a build of one's own.
                self._counts = not re.match(r"0\.[0-3]\.(?!0$)", version)
                return Health(ok=True, detail=f"Ollama {version} at {self.url}", version=version)
        except WorldError as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=False, detail=f"{self.url} accepts connections but did not answer within {_PROBE_S:g} s")

    async def deep_probe(self) -> Health:
        """Whether models answer and load too, which `probe` does not see; evicts nobody, bounded to a few minutes."""
        return await deep_probe(self, self._client, self._held)

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models in the server's store, with metadata; those that run in Ollama's cloud are left out."""
        local = await self._local()
        found: dict[str, ModelInfo] = {}
        limit = anyio.CapacityLimiter(4)

        async def look(info: ModelInfo) -> None:
            async with limit:
                with contextlib.suppress(ModelMissing):  # removed since it was listed
                    found[info.name] = joined(info, await self._show(info.name))

        async with anyio.create_task_group() as tasks:
            for info in local:
                tasks.start_soon(look, info)
        return tuple(found[info.name] for info in local if info.name in found)

    async def _local(self) -> list[ModelInfo]:
        return [info for info in await self._client.tags() if not info.name.endswith("cloud")]

    async def describe(self, model: str) -> ModelInfo:
        """One model's metadata; ModelMissing with the command that brings it, and what is there instead."""
        try:
            shown = await self._show(model)
        except ModelMissing as error:
            with contextlib.suppress(WorldError):
                error.here = tuple(info.name for info in await self._local())
            if error.here:
                error.hint = f"{error.hint}; it has {nearest(model, error.here)}"
            raise
        name = canonical(model)
        listed = next((info for info in await self._client.tags() if info.name == name), shown)
        self._sizes[name] = mib(listed.size_bytes)
        return replace(joined(listed, shown), name=model)

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Load to stay, wholly on the device, else LoadFailed and nothing is left in memory there."""
        self._spelling[canonical(model)] = model
        watch = LoadWatch(canonical(model), self._sizes.get(canonical(model), 0))
        done = False
        try:
            with anyio.move_on_after(timeout):
                await self._sweep()
                on_cpu = self.device == "cpu"
                load = partial(self._client.preload, model, num_ctx, on_cpu=on_cpu)
                if hang := await watched(load, self._client.ps, watch):
                    raise LoadsHang(
                        f"{self.url} will not load {model!r}: {hang}",
                        hint="restart that server; no client of it should send `keep_alive` with its calls (ollama#17408)",
                    )
                residence = await self._whole(model, num_ctx, slots)
                if canonical(model) not in self._thinks:
                    await self._show(model)
                self._held[canonical(model)] = num_ctx
                self._dead -= self._names(model)
                done = True
                return residence
        finally:
            if not done:
                await self._clean_up(model)
        raise LoadFailed(
            f"{self.url} had not loaded {model!r} (num_ctx {num_ctx}) after {timeout:g} s",
            hint="see the server's log; a slow disk needs a longer time limit",
        )

    def undo_by(self, undo: Undo) -> None:
        """From now on, what loads and unloads that did not succeed may have left in memory is unloaded through `undo`."""
        self._undo = undo

    async def unload(self, model: str) -> None:
        """Unload and return once it is gone from there; calls in flight finish first. UnloadFailed after a minute."""
        self._held.pop(canonical(model), None)
        self._leaving.add(model)
        with anyio.move_on_after(_UNLOAD_S):
            await self._gone(model)
            self._leaving.discard(model)
            return
        raise UnloadFailed(
            f"{self.url} still shows {model!r} {_UNLOAD_S:g} s after it was told to unload it",
            hint="someone else is using it there; `ollama ps` shows it, `ollama stop` ends it",
        )

    async def resident(self) -> tuple[Residence, ...]:
        """What is in memory there now, under the names it was loaded by here, else Ollama's own."""
        return tuple(
            self._seen(residence) for residence in await self._client.ps() if residence.model not in self._dead
        )

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Answer one request, all of whose prompt was read. Cancelling closes the connection, which frees the slot."""
        try:
            told = self._told_to_think(request)
            prompt = await self._left_open(told) if told.prefill else None
            response = await self._client.chat(told, on_chunk, prompt=prompt)
        except CallFailed as error:
            if _DIED.search(error.message):
                self._dead |= self._names(request.model)
            raise
        window = self._windows.setdefault(request.model, Window())
        texts = tuple(message.content for message in request.messages)
        if self._counts and (cut := window.judge(texts, request.num_ctx, response.usage.prompt_tokens)):
            raise CallFailed(
                f"{self.url} cut the prompt of {request.model!r} to fit its num_ctx {request.num_ctx}: {cut}",
                hint="raise the agent's num_ctx, give it less, or use a newer Ollama, which refuses such a prompt itself",
            )
        return response

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Have the server fetch and verify a model; what has arrived is kept when it is broken off."""
        await self._client.pull(model, on_progress)

    async def _show(self, model: str) -> ModelInfo:
        shown = await self._client.show(model)
        self._thinks[canonical(model)] = shown.thinks
        return shown

    def _told_to_think(self, request: Request) -> Request:
        """The request, which says of a model that can think whether it is to, and of others nothing: they would refuse it."""
        think = (request.options.think or False) if self._thinks.get(canonical(request.model)) else None
        if think is request.options.think:
            return request
        return replace(request, options=replace(request.options, think=think))

    async def _left_open(self, request: Request) -> str | None:
        """The prompt with its prefill at the end, where the template would close it; None where the server leaves it open.

        Templates of mistral and of chatml end every message: the model would begin another one, and mistral's leaves out the
        system's as well.
        """
        name = canonical(request.model)
        if name not in self._closing:
            trial = replace(request, messages=(Message("user", "?"), Message("assistant", _OPEN)))
            shown = await self._client.rendered(trial)
            self._closing[name] = shown is not None and not shown.rstrip().endswith(_OPEN)
        if not self._closing[name]:
            return None
        shown = await self._client.rendered(replace(request, messages=request.messages[:-1]))
        return None if shown is None else shown + request.prefill

    async def _whole(self, model: str, num_ctx: int, slots: int) -> Residence:
        name = canonical(model)
        seen = next((found for found in await self._client.ps() if found.model == name), None)
        if seen is None:
            seen = await self._other_tag(name)
        if seen is None:
            gone = LoadFailed(
                f"{self.url} said it loaded {model!r}, but it is not in memory there",
                hint="another client's request may have evicted it: let nobody else load models on that server",
            )
            gone.retryable = True
            raise gone
        if self.device != "cpu" and seen.device_mib < seen.size_mib:
            raise Spilled(
                f"{model!r} spilled to the CPU at {self.url}: of its {seen.size_mib} MiB"
                f" (num_ctx {num_ctx} x {slots} slots) only {seen.device_mib} MiB fitted on {self.device}: unloaded",
                hint="lower num_ctx, or the server's OLLAMA_NUM_PARALLEL, or take a smaller model",
                size_mib=seen.size_mib,
                device_mib=seen.device_mib,
            )
        if self.device == "cpu" and seen.device_mib > 0:
            raise LoadFailed(
                f"{model!r} was to stay on the CPU at {self.url}, but {seen.device_mib} MiB of it are on a GPU: unloaded",
                hint="another client's load may have moved it; or give that endpoint the GPU as its device in agents.toml",
            )
        return self._seen(seen)

    async def _other_tag(self, name: str) -> Residence | None:
        """The residence of these weights under another tag: a server has one runner for them, and lists its first name."""
        weights = (await self._client.show(name)).digest
        for found in await self._client.ps():
            with contextlib.suppress(ModelMissing):
                if weights and (await self._client.show(found.model)).digest == weights:
                    self._shown[name] = found.model
                    self._spelling[found.model] = self._spelling.get(name, name)
                    return found
        return None

    def _names(self, model: str) -> set[str]:
        """The names under which the server may list it."""
        name = canonical(model)
        return {name, self._shown.get(name, name)}

    async def _gone(self, model: str) -> None:
        pause = 0.02
        names = self._names(model)
        while any(found.model in names for found in await self._client.ps()):
            # told again each time: another client's request in between may have given it a new stay
            with contextlib.suppress(ModelMissing):
                await self._client.unload(model)
            await anyio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    async def _clean_up(self, model: str) -> None:
        """After a load that did not succeed: whatever of it came to be leaves again, also when we are cancelled. What could not
        be made to leave is remembered, and no other load begins before it has: the core knows nothing of it.
        """
        self._remains.add(model)
        pause = 0.1
        with anyio.move_on_after(_CLEAN_UP_S, shield=True):
            while self._remains:
                with contextlib.suppress(WorldError):
                    await self._sweep()
                    return
                await anyio.sleep(pause)
                pause *= 2

    async def _sweep(self) -> None:
        for model in tuple(self._remains):
            await self._undo(model, partial(self._swept, model))
            self._remains.discard(model)

    async def _swept(self, model: str) -> None:
        try:
            await self._client.unload(model)
            await self._gone(model)
        except ModelMissing:
            pass
        except EndpointUnavailable as error:
            if not error.refused:
                raise

    def _seen(self, residence: Residence) -> Residence:
        on_device = residence.size_mib - residence.device_mib if self.device == "cpu" else residence.device_mib
        return replace(residence, model=self._spelling.get(residence.model, residence.model), device_mib=on_device)


async def _for_oneself(_model: str, unload: Callable[[], Awaitable[None]]) -> None:
    """Nobody else uses the models there."""
    await unload()
