"""The Endpoint protocol: one place that serves models, whatever is behind it.

An endpoint does what it is told (load, unload, call) and reports what it sees (resident, probe, describe). It never decides
what is resident: the core does, and the dispatcher carries it out through these verbs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Mib, Seconds

__all__ = ["Endpoint", "Health", "ModelInfo", "OnProgress", "Progress", "Residence", "Undo"]


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe found. `detail` is one sentence for people; `version` is the engine's own.

    `asleep`: no server is running there, and the first load or call starts it. That is in order, so `ok` is True.
    """

    ok: bool
    detail: str
    version: str | None = None
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an endpoint knows of a model before it is loaded.

    `metadata` holds the GGUF keys (`general.architecture`, `qwen2.block_count`, ...) that `footprint` reads; `size_bytes` is
    the weights file; `installed` is False for a model that only the catalogue knows. `digest` is the sha256 of the weights,
    `licence` an id or the full text, `licence_url` where that can be read.
    `options` are the parameters that the model's own definition sets (a Modelfile's PARAMETER lines).
    `thinks`: it can be asked to think before it answers.
    """

    name: str
    size_bytes: int
    digest: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quantisation: str = ""
    parameters: str = ""
    licence: str = ""
    licence_url: str = ""
    installed: bool = True
    tasks: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    thinks: bool = False


@dataclass(frozen=True, slots=True)
class Residence:
    """A model seen in memory: all it takes, the part of it in device memory, and its context per slot (0 = not said).

    `expires_in` is when it would leave by itself, in seconds (None: not said); the past for one that was told to leave.
    """

    model: str
    size_mib: Mib
    device_mib: Mib
    num_ctx: int = 0
    expires_in: Seconds | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull has come; `total` is 0 while unknown."""

    status: str
    completed: int = 0
    total: int = 0


OnProgress: TypeAlias = Callable[[Progress], None]

Undo: TypeAlias = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Given a model and what unloads it, does that, unless somebody else uses the model."""


class Endpoint(Protocol):
    """A place that serves models. An async context manager: what it started ends with its block.

    `url` is its server's, spelt as by everybody who uses it; empty where models are in processes of its own.
    """

    name: str
    kind: str
    device: str
    url: str

    async def __aenter__(self) -> Endpoint: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def probe(self) -> Health:
        """Does it answer? Never raises for a server that is down; bounded to a few seconds."""
        ...

    async def deep_probe(self) -> Health:
        """Do models answer and load too? May load a small one, evicts nobody; never raises, bounded to a few minutes."""
        ...

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models it can load now, and for the embedded engine also those it could pull (installed=False)."""
        ...

    async def describe(self, model: str) -> ModelInfo:
        """One model's metadata; ModelMissing with the command that brings it, EndpointUnavailable."""
        ...

    async def load(  # the limit is the endpoint's to keep: only it knows how to undo a load half done
        self,
        model: str,
        *,
        num_ctx: int,
        slots: int,
        timeout: Seconds,  # noqa: ASYNC109
    ) -> Residence:
        """Load and return once it can serve, with the memory it really takes. LoadFailed with the engine's own words."""
        ...

    def undo_by(self, undo: Undo) -> None:
        """From now on, what a load or an unload that did not succeed may have left in memory is unloaded through `undo`.

        For servers that others use too: what is in memory there may be in use by them.
        """
        ...

    async def unload(self, model: str) -> None:
        """Unload and return once its memory is free. Unloading what is not resident is not an error."""
        ...

    async def resident(self) -> tuple[Residence, ...]:
        """What is in memory there now, whoever loaded it."""
        ...

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Answer one request of a resident model. Cancelling frees the slot. CallFailed, CallTimeout, EndpointUnavailable."""
        ...

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Bring a model here; resumable, verified. PullFailed says which sources were tried and why each failed."""
        ...
