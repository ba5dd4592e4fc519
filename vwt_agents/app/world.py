"""The world a run happens in: endpoints that were probed, the models they offer, the memory there is. Decides nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from vwt_agents.devices import Device, budget, find
from vwt_agents.errors import ModelMissing, VwtError
from vwt_agents.footprint import shape_from_metadata
from vwt_agents.routing import ModelOffer, Offer
from vwt_agents.types import MIB, Mib

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Set

    from vwt_agents.config import EndpointSettings, Settings
    from vwt_agents.endpoints.base import Endpoint, Health, ModelInfo

__all__ = ["World", "make_endpoint", "measured_budgets", "offer_of", "open_world"]


@dataclass(slots=True)
class World:
    """Endpoints by name with what a probe of each found, what they offer, and the budget of each device with its arithmetic."""

    settings: Settings
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    infos: dict[tuple[str, str], ModelInfo] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    no_gpu: str = ""
    budgets: dict[str, Mib] = field(default_factory=dict)
    arithmetic: dict[str, str] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def reach(self, lost: Set[str]) -> None:
        """Open every endpoint that is not lost and look which of the tiers' models it has, wherever agents.toml lists them."""
        names = [name for name in self.settings.endpoints if name not in lost]
        await _open(self, self.stack, names)
        anything = dict.fromkeys(model for tier in self.settings.tiers.values() for model in tier.models)
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(_look, self, name, [*self.settings.listed(name), *anything])


def make_endpoint(settings: EndpointSettings) -> Endpoint:
    """The endpoint agents.toml describes, not yet opened."""
    if settings.kind == "embedded":
        from vwt_agents.endpoints.embedded import EmbeddedEndpoint

        return EmbeddedEndpoint(settings.name, device=settings.device, threads=settings.threads)
    from vwt_agents.endpoints.guarded import GuardedEndpoint
    from vwt_agents.endpoints.ollama import OllamaEndpoint

    return GuardedEndpoint(OllamaEndpoint(settings.name, settings.url, device=settings.device))


@asynccontextmanager
async def open_world(settings: Settings, *, everything: bool = False) -> AsyncIterator[World]:
    """Open and probe the endpoints the tiers name; a tier's `otherwise` only where its endpoint does not answer.

    With `everything`, every endpoint of agents.toml is opened: for a look around.
    """
    found = find()
    settings = settings.on(next((device.name for device in found.devices if device.kind == "gpu"), "cpu"))
    world = World(settings, devices=found.devices, no_gpu=found.reason)
    world.budgets, world.arithmetic = measured_budgets(settings, world.devices)
    async with world.stack as stack:
        first = list(settings.endpoints) if everything else [tier.endpoint for tier in settings.tiers.values()]
        await _open(world, stack, first)
        silent = [tier for tier in settings.tiers.values() if not world.health[tier.endpoint].ok and tier.otherwise]
        await _open(world, stack, [tier.otherwise.endpoint for tier in silent if tier.otherwise])
        yield world


async def _open(world: World, stack: AsyncExitStack, names: list[str]) -> None:
    new = [name for name in dict.fromkeys(names) if name not in world.endpoints]
    for name in new:
        world.endpoints[name] = await stack.enter_async_context(make_endpoint(world.settings.endpoints[name]))
    async with anyio.create_task_group() as tasks:
        for name in new:
            tasks.start_soon(_look, world, name)


async def _look(world: World, name: str, models: Iterable[str] | None = None) -> None:
    """Probe one endpoint and describe the models that agents.toml would have it serve, or those given."""
    endpoint = world.endpoints[name]
    health = world.health[name] = await endpoint.probe()
    offers: dict[str, ModelOffer] = {}
    if health.ok:
        for model in dict.fromkeys(world.settings.listed(name) if models is None else models):
            try:
                info = await endpoint.describe(model)
            except ModelMissing:
                continue
            except VwtError as error:
                # One model with a broken file must not hide the others.
                world.health[name] = type(health)(
                    health.ok, f"{health.detail}; {model}: {error.message}", health.version
                )
                continue
            world.infos[name, model] = info
            offers[model] = offer_of(model, info)
    world.offers[name] = Offer(name, health.ok, health.detail, MappingProxyType(offers))


def offer_of(model: str, info: ModelInfo) -> ModelOffer:
    """What routing is told of a model that an endpoint described."""
    return ModelOffer(
        model,
        shape_from_metadata(info.metadata, size_bytes=info.size_bytes) if info.metadata else None,
        info.size_bytes // MIB,
        licence=info.licence,
        tasks=info.tasks,
        installed=info.installed,
    )


def measured_budgets(settings: Settings, devices: tuple[Device, ...]) -> tuple[dict[str, Mib], dict[str, str]]:
    """The budget of each device that agents.toml names, and how it was come by; a device that is not there has 0 MiB."""
    by_name: Mapping[str, Device] = {device.name: device for device in devices}
    budgets: dict[str, Mib] = {}
    arithmetic: dict[str, str] = {}
    named = dict.fromkeys([*settings.budget.devices, *(endpoint.device for endpoint in settings.endpoints.values())])
    for name in named:
        device, setting = by_name.get(name), settings.budget.devices.get(name, "auto")
        if device is None and setting == "auto":
            budgets[name], arithmetic[name] = 0, "no such device on this machine"
        elif device is None:
            budgets[name], arithmetic[name] = (
                int(setting),
                f"{setting} MiB as agents.toml says; the device could not be measured",
            )
        else:
            allowance = budget(device, setting, settings.budget.reserve)
            budgets[name], arithmetic[name] = allowance.mib, allowance.arithmetic
    return budgets, arithmetic
