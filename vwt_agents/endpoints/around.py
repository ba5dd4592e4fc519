"""An endpoint around an endpoint: passes everything on. What adds something to an endpoint overrides what it adds to.

The order in a run, from the outside: within the ledger, measured, brought up on demand, guarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from vwt_agents.endpoints.base import Endpoint, Health, ModelInfo, OnProgress, Residence, Undo
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Seconds

__all__ = ["EndpointAround"]


class EndpointAround:
    """`inner`, with its name, kind, device and url."""

    def __init__(self, inner: Endpoint) -> None:
        self.inner = inner
        self.name = inner.name
        self.kind = inner.kind
        self.device = inner.device
        self.url = inner.url

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.inner.__aexit__(*exc)

    async def probe(self) -> Health:
        """As the inner one."""
        return await self.inner.probe()

    async def deep_probe(self) -> Health:
        """As the inner one."""
        return await self.inner.deep_probe()

    async def models(self) -> tuple[ModelInfo, ...]:
        """As the inner one."""
        return await self.inner.models()

    async def describe(self, model: str) -> ModelInfo:
        """As the inner one."""
        return await self.inner.describe(model)

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """As the inner one."""
        return await self.inner.load(model, num_ctx=num_ctx, slots=slots, timeout=timeout)

    def undo_by(self, undo: Undo) -> None:
        """As the inner one."""
        self.inner.undo_by(undo)

    async def unload(self, model: str) -> None:
        """As the inner one."""
        await self.inner.unload(model)

    async def resident(self) -> tuple[Residence, ...]:
        """As the inner one."""
        return await self.inner.resident()

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the inner one."""
        return await self.inner.call(request, on_chunk)

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """As the inner one."""
        await self.inner.pull(model, on_progress)
