"""A look at a server that sees what `/api/tags` does not: do models answer, and do they still load? Evicts nobody.

With a model of ours resident, that one has to say a token; with nothing resident, the smallest is loaded and let go. Beside
other clients' models nothing is tried: a cold load might evict them, and a call with other options would load them again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.endpoints.lockup import longest_load
from vwt_agents.errors import WorldError
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.endpoints.base import Health
    from vwt_agents.endpoints.ollama import OllamaClient, OllamaEndpoint
    from vwt_agents.types import Seconds

__all__ = ["deep_probe"]

_ANSWER_S: Final[Seconds] = 30.0
_NUM_CTX: Final = 2048


async def deep_probe(endpoint: OllamaEndpoint, client: OllamaClient, held: Mapping[str, int]) -> Health:
    """What the look found; `held` are the models loaded by us, with their num_ctx."""
    health = await endpoint.probe()
    try:
        return await _look(endpoint, client, held, health) if health.ok else health
    except WorldError as error:
        return replace(health, ok=False, detail=f"{health.detail}, but {error.message}")


async def _look(endpoint: OllamaEndpoint, client: OllamaClient, held: Mapping[str, int], health: Health) -> Health:
    resident = await client.ps()
    ours = next((seen.model for seen in resident if seen.model in held), None)
    if ours is not None:
        with anyio.move_on_after(_ANSWER_S):
            await client.poke(ours, held[ours])
            return replace(health, detail=f"{health.detail}; {ours} answers")
        return replace(health, ok=False, detail=f"{health.detail}, but {ours} said nothing in {_ANSWER_S:g} s")
    if resident:
        names = ", ".join(seen.model for seen in resident)
        return replace(health, detail=f"{health.detail}; no load was tried, because that might evict {names}")
    local = [info for info in await client.tags() if not info.name.endswith("cloud")]
    if not local:
        return health
    smallest = min(local, key=lambda info: info.size_bytes)
    limit = longest_load(-(-smallest.size_bytes // MIB))
    await endpoint.load(smallest.name, num_ctx=_NUM_CTX, slots=1, timeout=limit)
    await endpoint.unload(smallest.name)
    return replace(health, detail=f"{health.detail}; {smallest.name} could be loaded")
