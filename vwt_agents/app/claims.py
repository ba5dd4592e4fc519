"""What the ledger calls the models of a world, and the memory that plans may count on though it is taken now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from vwt_agents.config import canonical
from vwt_agents.errors import VwtError
from vwt_agents.hosts import one_server
from vwt_agents.ledger import Ledger, Resource

if TYPE_CHECKING:
    from vwt_agents.app.world import World
    from vwt_agents.types import Mib

__all__ = ["evictable", "resource_of"]


def resource_of(world: World, endpoint: str, model: str) -> Resource:
    """What the ledger calls a model: by its weights on a server, so that all tags of them, all processes and all ways to
    write the server's address mean the same.
    """
    info = world.infos.get((endpoint, model))
    server = one_server(world.endpoints[endpoint].url)
    return Resource((info.digest if info is not None else "") or canonical(model), server)


async def evictable(world: World) -> dict[str, Mib]:
    """By device, MiB in memory that may be had in time: what processes in the ledger have claimed, and models of agents.toml
    that nobody alive uses. Plans count them as free; runs wait for them.
    """
    with await run_sync(Ledger.open, "plan") as ledger:
        held = (await run_sync(ledger.snapshot)).holders
    found: dict[tuple[str, Resource], Mib] = {}
    for number, holder in enumerate(held):  # without a server it is somebody's own, however alike the names
        own = holder.resource if holder.resource.server else replace(holder.resource, model=f"{number}")
        found[holder.device, own] = max(found.get((holder.device, own), 0), holder.mib)
    for name, endpoint in world.endpoints.items():
        listed = {canonical(model): model for model in world.settings.listed(name)}
        health = world.health[name]
        if endpoint.kind != "ollama" or not health.ok or health.asleep:
            continue
        try:
            residences = await endpoint.resident()
        except VwtError:
            continue
        for each in residences:
            if (model := listed.get(canonical(each.model))) is not None:
                found.setdefault((endpoint.device, resource_of(world, name, model)), each.device_mib)
    return {device: sum(mib for (at, _), mib in found.items() if at == device) for device in {at for at, _ in found}}
