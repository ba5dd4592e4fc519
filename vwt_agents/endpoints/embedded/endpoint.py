"""The embedded engine as an endpoint: a worker process per loaded model, from weights in our own store.

Owns: its workers, and that none outlives its block. What is asked of a worker goes through the same client as Ollama's servers.
Never decides what is resident; never downloads anything but in `pull`.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from vwt_agents.endpoints.base import Health, ModelInfo, OnProgress, Residence, Undo
from vwt_agents.endpoints.embedded.catalogue import Catalogue, ModelEntry, load_catalogue
from vwt_agents.endpoints.embedded.gguf import BrokenFile, read_header
from vwt_agents.endpoints.embedded.memory import process_mib
from vwt_agents.endpoints.embedded.process import WorkerProcess
from vwt_agents.endpoints.embedded.store import Store
from vwt_agents.endpoints.embedded.worker import Spec
from vwt_agents.endpoints.ollama import OllamaClient
from vwt_agents.errors import (
    CallFailed,
    CallTimeout,
    EndpointUnavailable,
    LoadFailed,
    ModelMissing,
    did_you_mean,
)

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import CacheType, Seconds

__all__ = ["EmbeddedEndpoint", "import_file", "user_catalogue"]

_INSTALL: Final = "pip install 'vwt-agents[embedded]'"
_DEATH_S: Final = 1.0  # a broken connection and the end of its process are heard of in either order


def user_catalogue() -> Path:
    """The file of the user's own catalogue entries, which need not exist."""
    from platformdirs import user_config_path

    return user_config_path("vwt-agents") / "catalogue.toml"


async def import_file(file: Path, name: str | None = None) -> str:
    """Copy a GGUF file of this machine into the default store; the name it has there. UsageError when it cannot be one."""

    def work() -> str:
        return Store().bring_in(file, name=name, catalogue=load_catalogue(user_catalogue())).name

    return await anyio.to_thread.run_sync(work)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights that are on this disk, and what is known of them besides their header."""

    path: Path
    sha256: str
    size: int
    licence: str
    tasks: tuple[str, ...]
    parameters: str = ""
    licence_url: str = ""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: WorkerProcess
    client: OllamaClient


class EmbeddedEndpoint:
    """llama.cpp without a server to install. `threads` None is all cores but one, and at least two where there are two."""

    kind = "embedded"
    url = ""

    def __init__(
        self,
        name: str,
        *,
        device: str = "cpu",
        threads: int | None = None,
        cache_type: CacheType = "f16",
        flash_attention: bool = True,
        store: Store | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.name = name
        self.device = device
        self.threads = threads or _default_threads()
        self.cache_type = cache_type
        self.flash_attention = flash_attention
        self.store = store or Store()
        self._catalogue = catalogue
        self._workers: dict[str, _Worker] = {}

    async def __aenter__(self) -> EmbeddedEndpoint:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for model in list(self._workers):
                    tasks.start_soon(self._drop, model)

    @property
    def catalogue(self) -> Catalogue:
        """What can be pulled: the shipped entries, and the user's."""
        if self._catalogue is None:
            self._catalogue = load_catalogue(user_catalogue())
        return self._catalogue

    async def probe(self) -> Health:
        """Whether the engine's library is installed; nothing is started."""
        if find_spec("xllamacpp") is None:
            return Health(ok=False, detail=f"xllamacpp is not installed: `{_INSTALL}`")
        number = version("xllamacpp")
        return Health(ok=True, detail=f"xllamacpp {number}, models in {self.store.root}", version=number)

    async def deep_probe(self) -> Health:
        """The same as `probe`: there is no server that could be stuck."""
        return await self.probe()

    async def models(self) -> tuple[ModelInfo, ...]:
        """What is in the store, then what the catalogue could bring."""
        self._require_engine()
        return await anyio.to_thread.run_sync(self._models)

    async def describe(self, model: str) -> ModelInfo:
        """One model's metadata, from its file when it is here, else from the catalogue (installed=False)."""
        self._require_engine()
        return await anyio.to_thread.run_sync(self._describe, model)

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109 - the protocol
        """Start a worker for the model, and return once it can serve. One that is there with other slots is replaced."""
        self._require_engine()
        weights = await anyio.to_thread.run_sync(self._weights, model)
        if weights is None:
            raise self._missing(model)
        await anyio.to_thread.run_sync(_check, model, weights.path)
        there = self._workers.get(model)
        if there is not None:
            spec = there.process.spec
            if there.process.alive and (spec.num_ctx, spec.slots) == (num_ctx, slots):
                return await self._residence(model, there)
            await self._drop(model)
        spec = Spec(
            path=str(weights.path.absolute()),
            name=model,
            sha256=weights.sha256,
            num_ctx=num_ctx,
            slots=slots,
            threads=self.threads,
            device=self.device,
            token=secrets.token_urlsafe(24),
            parent=os.getpid(),
            cache_type=self.cache_type,
            flash_attention=self.flash_attention,
        )
        process = await WorkerProcess.start(spec, limit=timeout)
        worker = _Worker(process, OllamaClient(f"http://127.0.0.1:{process.port}", token=spec.token))
        self._workers[model] = worker
        return await self._residence(model, worker)

    def undo_by(self, undo: Undo) -> None:
        """Nothing: its workers are its own."""

    async def unload(self, model: str) -> None:
        """End the model's worker and return once its process is gone."""
        await self._drop(model)

    async def resident(self) -> tuple[Residence, ...]:
        """The models with a living worker."""
        for model in [model for model, worker in self._workers.items() if not worker.process.alive]:
            await self._drop(model)
        return tuple([await self._residence(model, worker) for model, worker in list(self._workers.items())])

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Answer one request. Cancelling closes the connection, which frees the slot; a worker's death is a CallFailed."""
        worker = self._workers.get(request.model)
        if worker is None:
            raise CallFailed(f"{request.model!r} is not loaded on the embedded engine {self.name!r}", retryable=True)
        try:
            return await worker.client.chat(request, on_chunk)
        except CallTimeout:
            raise
        except (CallFailed, EndpointUnavailable) as error:
            broken = isinstance(error, EndpointUnavailable) or error.retryable
            if broken and await worker.process.ended_within(_DEATH_S):
                raise CallFailed(
                    f"the call broke: {worker.process.epitaph()}",
                    hint="loading it again starts a new worker",
                    retryable=True,
                ) from error
            raise

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Bring a catalogue entry's weights into the store; resumable, verified by their sha256."""
        from vwt_agents.endpoints.embedded.pull import pull

        await pull(self.catalogue[model], self.store, on_progress)

    async def _drop(self, model: str) -> None:
        worker = self._workers.pop(model, None)
        if worker is not None:
            with anyio.CancelScope(shield=True):
                await worker.process.stop()
                await worker.client.__aexit__()

    async def _residence(self, model: str, worker: _Worker) -> Residence:
        size = await anyio.to_thread.run_sync(process_mib, worker.process.pid)
        # Host memory is the device where the device is the CPU; what a GPU gives is not seen from here.
        on_device = size if self.device == "cpu" else 0
        return Residence(model, size, on_device, worker.process.spec.num_ctx)

    def _require_engine(self) -> None:
        if find_spec("xllamacpp") is None:
            raise EndpointUnavailable(
                "the embedded engine needs xllamacpp, which is not installed", hint=f"`{_INSTALL}`"
            )

    def _weights(self, model: str) -> _Weights | None:
        entry = self.catalogue.find(model)
        if entry is not None and (path := self.store.find(entry.sha256, entry.size)):
            return _Weights(
                path, entry.sha256, entry.size, entry.licence, entry.tasks, entry.parameters, entry.licence_url
            )
        named = self.store.named(model)
        if named is not None and (path := self.store.find(named.sha256, named.size)):
            return _Weights(path, named.sha256, named.size, named.licence, named.tasks)
        return None

    def _describe(self, model: str) -> ModelInfo:
        weights = self._weights(model)
        if weights is None:
            entry = self.catalogue.find(model)
            if entry is None:
                raise self._missing(model)
            return _not_here(model, entry)
        try:
            header = read_header(weights.path)
        except (BrokenFile, OSError) as error:
            raise _broken(model, weights.path, error) from None
        return ModelInfo(
            name=model,
            size_bytes=weights.size,
            digest=weights.sha256,
            metadata=header.metadata,
            quantisation=header.quantisation,
            parameters=weights.parameters or str(header.metadata.get("general.size_label", "")),
            licence=weights.licence or str(header.metadata.get("general.license", "")),
            licence_url=weights.licence_url or str(header.metadata.get("general.license.link", "")),
            tasks=weights.tasks,
        )

    def _models(self) -> tuple[ModelInfo, ...]:
        entries = {entry.name for entry in self.catalogue}
        names = [manifest.name for manifest in self.store.manifests() if manifest.name not in entries]
        known = [self._describe_or_broken(name) for name in (*entries, *names)]
        return tuple(sorted(known, key=lambda info: (not info.installed, info.name)))

    def _describe_or_broken(self, name: str) -> ModelInfo:
        """A broken file must not hide the other models of a list; it is shown without its metadata."""
        try:
            return self._describe(name)
        except LoadFailed:
            weights = self._weights(name)
            return ModelInfo(name, weights.size if weights else 0, weights.sha256 if weights else "")

    def _missing(self, model: str) -> ModelMissing:
        if self.catalogue.find(model) is not None:
            hint = f"bring it with `python -m vwt_agents models pull {model}`"
            return ModelMissing(f"the model {model!r} is not in the store at {self.store.root}", hint=hint)
        names = {known for entry in self.catalogue for known in (entry.name, *entry.aliases)}
        names |= {manifest.name for manifest in self.store.manifests()}
        missing = ModelMissing(f"the embedded engine knows no model {model!r}", hint=did_you_mean(model, names))
        missing.here = tuple(sorted(names))
        return missing


def _not_here(model: str, entry: ModelEntry) -> ModelInfo:
    return ModelInfo(
        name=model,
        size_bytes=entry.size,
        digest=entry.sha256,
        metadata=entry.metadata,
        quantisation=entry.quantisation,
        parameters=entry.parameters,
        licence=entry.licence,
        licence_url=entry.licence_url,
        installed=False,
        tasks=entry.tasks,
    )


def _check(model: str, path: Path) -> None:
    """A broken file is told from its header, before a process is started for it."""
    try:
        read_header(path)
    except (BrokenFile, OSError) as error:
        raise _broken(model, path, error) from None


def _broken(model: str, path: Path, error: Exception) -> LoadFailed:
    return LoadFailed(
        f"{model} cannot be loaded from {path}: {error}", hint=f"bring it again: delete that file and pull {model}"
    )


def _default_threads() -> int:
    """One core is left to everything else; of two, both work: half the speed is worse than a busy machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(cores, 2), cores - 1)
