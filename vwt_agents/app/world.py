"""The world a run happens in: endpoints that were probed, the models they offer, the memory there is. Decides nothing."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from vwt_agents.app.budgets import measured_budgets, misplaced
from vwt_agents.app.neighbours import evictable
from vwt_agents.devices import Budget, Device, find
from vwt_agents.errors import EndpointAsleep, ModelMissing, VwtError
from vwt_agents.footprint import shape_from_metadata
from vwt_agents.routing import ModelOffer, Offer
from vwt_agents.types import MIB, Mib

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from vwt_agents.config import EndpointSettings, Settings
    from vwt_agents.endpoints.base import Endpoint, Health, ModelInfo
    from vwt_agents.endpoints.on_demand import OnDemandEndpoint

__all__ = ["World", "make_endpoint", "offer_of", "open_world"]


@dataclass(slots=True)
class World:
    """Endpoints by name with what a probe of each found, what they offer, and the budget of each device with its arithmetic.

    `budgets` is what models may take there now, which is what routes are planned with; `allowances` has their ceilings too,
    which hold once what others take is counted from moment to moment.
    `on_demand` are those of them whose server is started when it is needed; `say` is told, in a line, what takes long.
    """

    settings: Settings
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    on_demand: dict[str, OnDemandEndpoint] = field(default_factory=dict)
    say: Callable[[str], None] | None = None
    health: dict[str, Health] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    infos: dict[tuple[str, str], ModelInfo] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    no_gpu: str = ""
    gpu_hint: str = ""
    allowances: dict[str, Budget] = field(default_factory=dict)
    budgets: dict[str, Mib] = field(default_factory=dict)
    arithmetic: dict[str, str] = field(default_factory=dict)

    async def wake(self, name: str) -> None:
        """Start the server of an endpoint that is asleep, and ask it what it has. EndpointUnavailable with its words."""
        await self.on_demand[name].start()
        await _look(self, name)


def make_endpoint(settings: EndpointSettings) -> Endpoint:
    """The endpoint agents.toml describes, not yet opened."""
    if settings.kind == "embedded":
        from vwt_agents.endpoints.embedded import EmbeddedEndpoint

        return EmbeddedEndpoint(settings.name, device=settings.device, threads=settings.threads)
    from vwt_agents.endpoints.ollama import OllamaEndpoint

    return OllamaEndpoint(settings.name, settings.url, device=settings.device)


def started_on_demand(
    inner: Endpoint, settings: EndpointSettings, say: Callable[[str], None] | None = None
) -> OnDemandEndpoint | None:
    """The endpoint with its server started when it is needed, if agents.toml says how that is done; never on Windows."""
    if settings.start is None or sys.platform == "win32":
        return None
    from vwt_agents.deployments import deployment_of
    from vwt_agents.deployments.folder import ServerFolder
    from vwt_agents.deployments.kept import KeptServer
    from vwt_agents.endpoints.on_demand import OnDemandEndpoint
    from vwt_agents.journal import default_path

    deployment = deployment_of(settings)
    assert deployment is not None  # agents.toml is refused without a url

    async def answers() -> bool:
        return (await inner.probe()).ok

    folder = ServerFolder(default_path().parent / "servers" / deployment.key)
    return OnDemandEndpoint(inner, KeptServer(deployment, folder, answers, say))


@asynccontextmanager
async def open_world(
    settings: Settings, *, everything: bool = False, say: Callable[[str], None] | None = None
) -> AsyncIterator[World]:
    """Open and probe the endpoints the tiers name; a tier's `otherwise` only where its endpoint does not answer.

    With `everything`, every endpoint of agents.toml is opened: for a look around. Nothing is started that agents.toml
    would have started on demand.
    """
    found = find()
    working = (device.name for device in found.devices if device.kind == "gpu" and not device.problem)
    settings = settings.on(next(working, "cpu"))
    world = World(settings, devices=found.devices, no_gpu=found.reason, gpu_hint=found.hint, say=say)
    async with AsyncExitStack() as stack:
        first = list(settings.endpoints) if everything else [tier.endpoint for tier in settings.tiers.values()]
        await _open(world, stack, first)
        silent = [tier for tier in settings.tiers.values() if not world.health[tier.endpoint].ok and tier.otherwise]
        await _open(world, stack, [tier.otherwise.endpoint for tier in silent if tier.otherwise])
        world.allowances = measured_budgets(settings, world.devices, await evictable(world))
        world.budgets = {name: allowance.mib for name, allowance in world.allowances.items()}
        world.arithmetic = {name: allowance.arithmetic for name, allowance in world.allowances.items()}
        yield world


async def _open(world: World, stack: AsyncExitStack, names: list[str]) -> None:
    new = [name for name in dict.fromkeys(names) if name not in world.endpoints]
    for name in new:
        settings = world.settings.endpoints[name]
        endpoint = make_endpoint(settings)
        if (on_demand := started_on_demand(endpoint, settings, world.say)) is not None:
            endpoint = world.on_demand[name] = on_demand
        world.endpoints[name] = await stack.enter_async_context(endpoint)
    async with anyio.create_task_group() as tasks:
        for name in new:
            tasks.start_soon(_look, world, name)
    for name in new:
        for model in world.offers[name].unknown:
            await _borrow(world, name, model)


async def _look(world: World, name: str) -> None:
    """Probe one endpoint and describe the models that agents.toml would have it serve."""
    endpoint = world.endpoints[name]
    health = await endpoint.probe()
    why = misplaced(world.settings.endpoints[name], world.settings, world.devices)
    if health.ok and why:
        # It answers, but nothing may be loaded there: to a tier that is as good as no answer.
        health = replace(health, ok=False, detail=why)
    world.health[name] = health
    offers: dict[str, ModelOffer] = {}
    unknown: set[str] = set()
    if health.ok:
        for model in world.settings.listed(name):
            try:
                info = await endpoint.describe(model)
            except ModelMissing:
                continue
            except EndpointAsleep:
                unknown.add(model)
                continue
            except VwtError as error:
                # One model with a broken file must not hide the others.
                world.health[name] = type(health)(
                    health.ok, f"{health.detail}; {model}: {error.message}", health.version
                )
                continue
            world.infos[name, model] = info
            offers[model] = offer_of(model, info)
    world.offers[name] = Offer(
        name, health.ok, health.detail, MappingProxyType(offers), health.asleep, frozenset(unknown)
    )


async def _borrow(world: World, name: str, model: str) -> None:
    """What another Ollama says of a model, for one that is asleep: two servers over one store describe it alike."""
    offer = world.offers[name]
    for other, endpoint in world.endpoints.items():
        if other == name or endpoint.kind != "ollama" or not world.health[other].ok:
            continue
        try:
            info = await endpoint.describe(model)
        except VwtError:
            continue
        world.infos[name, model] = info
        detail = f"{offer.detail}; {model} is as {other} describes it"
        models = MappingProxyType({**offer.models, model: offer_of(model, info)})
        world.offers[name] = replace(offer, detail=detail, models=models, unknown=offer.unknown - {model})
        return


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
