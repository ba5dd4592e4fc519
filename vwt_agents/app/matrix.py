"""The matrix of models: what each endpoint has or could pull, what it takes here, whether it fits, its licence and use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vwt_agents.config import canonical, licence_id
from vwt_agents.errors import VwtError
from vwt_agents.footprint import shape_from_metadata
from vwt_agents.routing import ModelOffer
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from vwt_agents.app.world import World
    from vwt_agents.endpoints.base import ModelInfo

__all__ = ["model_matrix"]


async def model_matrix(world: World) -> list[dict[str, Any]]:
    """One row a model and endpoint, the tiers' models first; a model agents.toml names and nobody has says so."""
    rows: list[dict[str, Any]] = []
    for name, endpoint in world.endpoints.items():
        infos = {canonical(info.name): info for (place, _model), info in world.infos.items() if place == name}
        if world.health[name].ok:
            try:
                infos |= {
                    canonical(info.name): info for info in await endpoint.models() if canonical(info.name) not in infos
                }
            except VwtError:
                continue  # it went away since it was probed; `doctor` says so
        rows += [_row(world, name, info) for info in infos.values()]
    return rows


def _row(world: World, name: str, info: ModelInfo) -> dict[str, Any]:
    settings = world.settings
    endpoint = settings.endpoints[name]
    tiers = [
        (tier_name, way)
        for tier_name, tier in settings.tiers.items()
        for way in (tier, tier.otherwise)
        if way is not None and way.endpoint == name and any(canonical(m) == canonical(info.name) for m in way.models)
    ]
    way = tiers[0][1] if tiers else None
    slots = (way.workers if way is not None and way.workers else None) or endpoint.parallel
    shape = shape_from_metadata(info.metadata, size_bytes=info.size_bytes) if info.metadata else None
    offer = ModelOffer(info.name, shape, info.size_bytes // MIB, info.licence, info.tasks, info.installed)
    num_ctx = offer.capped((way.num_ctx if way is not None else None) or 4096)
    need = offer.need(endpoint, num_ctx=num_ctx, slots=slots)
    budget = world.budgets.get(endpoint.device, 0)
    return {
        "model": info.name,
        "endpoint": name,
        "tiers": [tier_name for tier_name, _way in tiers],
        "installed": info.installed,
        "size_mb": round(info.size_bytes / 1e6),
        "quantisation": info.quantisation,
        "parameters": info.parameters,
        "num_ctx": num_ctx,
        "slots": slots,
        "footprint_mib": need.mib,
        "fits": need.mib <= budget,
        "device": endpoint.device,
        "budget_mib": budget,
        "licence": licence_id(info.licence),
        "allowed": settings.licences.allows(info.name, info.licence),
        "tasks": list(info.tasks),
        "arithmetic": need.arithmetic,
        "digest": info.digest,
    }
