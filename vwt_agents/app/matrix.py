"""The matrix of models: what each endpoint has or could pull, what it takes here, whether it fits, its licence and use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vwt_agents.app.world import offer_of
from vwt_agents.config import DEFAULT_NUM_CTX, canonical, licence_id
from vwt_agents.errors import VwtError
from vwt_agents.routing import tasks_by_name

if TYPE_CHECKING:
    from vwt_agents.app.world import World
    from vwt_agents.endpoints.base import ModelInfo

__all__ = ["model_matrix"]


@dataclass(frozen=True, slots=True)
class _Use:
    """One way a model is served: the context and slots of the tiers that agree on them; no tier where none names it."""

    tiers: tuple[str, ...]
    num_ctx: int
    slots: int


async def model_matrix(world: World) -> list[dict[str, Any]]:
    """A row for each model, endpoint and way of serving it, the tiers' models first.

    A model that a tier names and its endpoint does not have is there too: not installed, its size and fit None.
    """
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
            rows += [
                _absent(world, name, model) for model in world.settings.listed(name) if canonical(model) not in infos
            ]
        rows += [_row(world, name, info, use) for info in infos.values() for use in _uses(world, name, info.name)]
    return sorted([row | _company(row, rows) for row in rows], key=lambda row: not row["tiers"])


def _company(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which of the tiers' other models fit its device at the same time, whether all of them do `together`, or none."""
    others: dict[str, int] = {}
    for other in rows:
        same = (other["endpoint"], other["loaded_as"]) == (row["endpoint"], row["loaded_as"])
        if other["tiers"] and other["device"] == row["device"] and other["fits"] and other["allowed"] and not same:
            others[other["loaded_as"]] = min(
                other["footprint_mib"], others.get(other["loaded_as"], other["footprint_mib"])
            )
    room = row["budget_mib"] - (row["footprint_mib"] or 0)
    beside = [model for model, mib in others.items() if row["fits"] and mib <= room]
    together = sum(others[model] for model in beside) <= room
    return {"beside": beside, "together": together, "alone": bool(row["fits"] and others and not beside)}


def _uses(world: World, endpoint: str, model: str) -> list[_Use]:
    parallel = world.settings.endpoints[endpoint].parallel
    found: dict[tuple[int, int], tuple[str, ...]] = {}
    for tier, way in world.settings.ways(endpoint):
        if any(canonical(one) == canonical(model) for one in way.models):
            key = (way.num_ctx or DEFAULT_NUM_CTX, way.workers or parallel)
            found[key] = (*found.get(key, ()), tier)
    return [_Use(tiers, *key) for key, tiers in found.items()] or [_Use((), DEFAULT_NUM_CTX, parallel)]


def _absent(world: World, name: str, model: str) -> dict[str, Any]:
    device = world.settings.endpoints[name].device
    tiers = list(dict.fromkeys(tier for use in _uses(world, name, model) for tier in use.tiers))
    unknown = dict.fromkeys(["size_mb", "num_ctx", "slots", "footprint_mib", "fits", "measured", "spilled"])
    texts = dict.fromkeys(
        ["quantisation", "parameters", "licence", "licence_url", "arithmetic", "estimate", "digest", "cache_type"], ""
    )
    where = {"endpoint": name, "tiers": tiers, "device": device, "budget_mib": world.budgets.get(device, 0)}
    lists: dict[str, Any] = {"tasks": list(tasks_by_name(model)), "assumptions": []}
    names = {"model": model, "loaded_as": canonical(model)}
    return {**names, **where, "installed": False, **unknown, **texts, "allowed": True, **lists}


def _row(world: World, name: str, info: ModelInfo, use: _Use) -> dict[str, Any]:
    settings = world.settings
    endpoint = settings.endpoints[name]
    offer = offer_of(world, name, info.name, info)
    num_ctx = offer.capped(use.num_ctx)
    need = offer.need(endpoint, num_ctx=num_ctx, slots=use.slots)
    allotted = offer.allotted(endpoint, use.slots)
    expected = offer.expected(endpoint, num_ctx=num_ctx, slots=allotted)
    budget = world.budgets.get(endpoint.device, 0)
    known = need.measured
    return {
        "model": info.name,
        "loaded_as": canonical(offer.loaded_as),
        "endpoint": name,
        "tiers": list(use.tiers),
        "installed": info.installed,
        "size_mb": round(info.size_bytes / 1e6),
        "quantisation": info.quantisation,
        "parameters": info.parameters,
        "num_ctx": num_ctx,
        "slots": use.slots,
        "footprint_mib": need.mib,
        "fits": need.mib <= budget,
        "device": endpoint.device,
        "budget_mib": budget,
        "licence": licence_id(info.licence),
        "licence_url": info.licence_url,
        "allowed": settings.licences.allows(info.name, info.licence),
        "tasks": list(info.tasks or tasks_by_name(info.name)),
        "cache_type": endpoint.cache_type,
        "measured": known.on if known is not None and known.fitted is None else None,
        "spilled": known.on if known is not None and known.fitted is not None else None,
        "arithmetic": need.arithmetic,
        "estimate": expected.arithmetic,
        "assumptions": list(offer.shape.assumptions) if offer.shape is not None else ["no metadata"],
        "digest": info.digest,
    }
