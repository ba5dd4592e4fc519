"""The world a run happens in: endpoints that were probed, the models they offer, the memory there is. Decides nothing."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.app.budgets import measured_budgets, misplaced
from vwt_agents.app.claims import evictable
from vwt_agents.app.outside import Outside
from vwt_agents.config import canonical
from vwt_agents.devices import Budget, Device, Reader
from vwt_agents.endpoints.base import Health
from vwt_agents.errors import EndpointAsleep, JournalError, ModelMissing, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.footprint import Conditions, Measurement, shape_from_metadata
from vwt_agents.journal import JournalReader
from vwt_agents.routing import ModelOffer, Offer, device_kind
from vwt_agents.types import MIB, Mib

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Set

    from vwt_agents.config import EndpointSettings, Settings
    from vwt_agents.endpoints.base import Endpoint, ModelInfo
    from vwt_agents.endpoints.measuring import Believed, Expects
    from vwt_agents.endpoints.on_demand import OnDemandEndpoint
    from vwt_agents.journal import Journal

__all__ = ["THIS_MACHINE", "World", "make_endpoint", "measuring", "offer_of", "open_world"]

log = get_logger(__name__)


@dataclass(slots=True)
class World:
    """Endpoints by name with what a probe of each found, what they offer, and the budget of each device with its arithmetic.

    `budgets` is what models may take there now, which is what routes are planned with; `allowances` has their ceilings too,
    which hold once what others take is counted from moment to moment.
    `on_demand` are those of them whose server is started when it is needed; `say` is told, in a line, what takes long.
    `outside` is what endpoints and devices are made by.
    """

    settings: Settings
    outside: Outside
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
    measurements: tuple[Measurement, ...] = ()
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def conditions(self, endpoint: str, info: ModelInfo, *, num_ctx: int, slots: int) -> Conditions:
        """All that a model's memory depends on where it is loaded on this endpoint with so many slots allotted."""
        settings, health = self.settings.endpoints[endpoint], self.health[endpoint]
        engine = f"{settings.kind} {health.version or ''}".strip()
        return Conditions(info.digest, num_ctx, slots, settings.cache_type, engine, device_kind(settings))

    def set_budgets(self, allowances: Mapping[str, Budget]) -> None:
        """What models may take on each device."""
        self.allowances = dict(allowances)
        self.budgets = {name: allowance.mib for name, allowance in allowances.items()}
        self.arithmetic = {name: allowance.arithmetic for name, allowance in allowances.items()}

    async def wake(self, name: str) -> None:
        """Start the server of an endpoint that is asleep, and ask it what it has. EndpointUnavailable with its words."""
        await self.on_demand[name].start()
        await _look(self, name)

    async def reach(self, lost: Set[str]) -> None:
        """Open every endpoint that is not lost and look which of the tiers' models it has, wherever agents.toml lists them."""
        names = [name for name in self.settings.endpoints if name not in lost]
        await _open(self, self.stack, names)
        anything = dict.fromkeys(model for tier in self.settings.tiers.values() for model in tier.models)
        async with anyio.create_task_group() as tasks:
            for name in names:
                if name in self.endpoints:
                    tasks.start_soon(_look, self, name, [*self.settings.listed(name), *anything])


def make_endpoint(settings: EndpointSettings) -> Endpoint:
    """The endpoint agents.toml describes, not yet opened."""
    if settings.kind == "embedded":
        from vwt_agents.endpoints.embedded import EmbeddedEndpoint

        return EmbeddedEndpoint(
            settings.name,
            device=settings.device,
            threads=settings.threads,
            cache_type=settings.cache_type,
            flash_attention=settings.flash_attention,
        )
    from vwt_agents.endpoints.guarded import GuardedEndpoint
    from vwt_agents.endpoints.ollama import OllamaEndpoint

    return GuardedEndpoint(OllamaEndpoint(settings.name, settings.url, device=settings.device))


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


THIS_MACHINE: Final = Outside(make_endpoint, Reader)


@asynccontextmanager
async def open_world(
    settings: Settings,
    *,
    everything: bool = False,
    say: Callable[[str], None] | None = None,
    outside: Outside = THIS_MACHINE,
) -> AsyncIterator[World]:
    """Open and probe the endpoints the tiers name; a tier's `otherwise` only where its endpoint does not answer, or
    has no model of any tier.

    With `everything`, every endpoint of agents.toml is opened: for a look around. Nothing is started that agents.toml
    would have started on demand.
    """
    found = outside.look()
    working = (device.name for device in found.devices if device.kind == "gpu" and not device.problem)
    settings = settings.on(next(working, "cpu"))
    world = World(settings, outside, devices=found.devices, no_gpu=found.reason, gpu_hint=found.hint, say=say)
    world.set_budgets(measured_budgets(settings, world.devices))
    try:
        world.measurements = await JournalReader().measurements()
    except JournalError as error:  # then it is estimated
        log.info("footprint.unread", error=error.message)
        if say is not None:
            say(f"note: {error.message}; footprints are estimated")
    async with world.stack as stack:
        first = list(settings.endpoints) if everything else [tier.endpoint for tier in settings.tiers.values()]
        await _open(world, stack, first)
        silent = [
            tier.otherwise.endpoint
            for tier in settings.tiers.values()
            if tier.otherwise and not world.offers[tier.endpoint].useful
        ]
        await _open(world, stack, silent)
        world.set_budgets(measured_budgets(settings, world.devices, await evictable(world)))
        yield world


async def _open(world: World, stack: AsyncExitStack, names: list[str]) -> None:
    new = [name for name in dict.fromkeys(names) if name not in world.health]
    for name in new:
        settings = world.settings.endpoints[name]
        try:
            endpoint = world.outside.endpoint(settings)
        except (
            VwtError
        ) as error:  # its address is none: a finding like any other, and the other endpoints are still there
            world.health[name] = Health(ok=False, detail=error.message)
            world.offers[name] = Offer(name, answers=False, detail=error.message)
            continue
        if (on_demand := started_on_demand(endpoint, settings, world.say)) is not None:
            endpoint = world.on_demand[name] = on_demand
        world.endpoints[name] = await stack.enter_async_context(endpoint)
    async with anyio.create_task_group() as tasks:
        for name in new:
            if name in world.endpoints:
                tasks.start_soon(_look, world, name)
    for name in new:
        for model in world.offers[name].unknown:
            await _borrow(world, name, model)


async def _look(world: World, name: str, models: Iterable[str] | None = None) -> None:
    """Probe one endpoint and describe the models that agents.toml would have it serve, or those given."""
    endpoint = world.endpoints[name]
    health = await endpoint.probe()
    why = misplaced(world.settings.endpoints[name], world.settings, world.devices)
    if health.ok and why:
        # It answers, but nothing may be loaded there: to a tier that is as good as no answer.
        health = replace(health, ok=False, detail=why)
    world.health[name] = health
    offers: dict[str, ModelOffer] = {}
    unknown: set[str] = set()
    wanted = tuple(dict.fromkeys(world.settings.listed(name) if models is None else models))
    missing = 0
    untold: dict[str, str] = {}
    others: set[str] = set()
    if health.ok:
        for model in wanted:
            try:
                info = await endpoint.describe(model)
            except ModelMissing as error:
                missing += 1
                others.update(error.here)
                continue
            except EndpointAsleep:
                unknown.add(model)
                continue
            except VwtError as error:
                # One model with a broken file must not hide the others.
                untold[model] = error.message
                world.health[name] = Health(health.ok, f"{health.detail}; {model}: {error.message}", health.version)
                continue
            world.infos[name, model] = info
            offers[model] = offer_of(world, name, model, info)
    world.offers[name] = Offer(
        name,
        health.ok,
        health.detail,
        MappingProxyType(offers),
        health.asleep,
        frozenset(unknown),
        empty=missing == len(wanted) > 0,
        others=frozenset(others),
        untold=MappingProxyType(untold),
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
        models = MappingProxyType({**offer.models, model: offer_of(world, name, model, info)})
        world.offers[name] = replace(offer, detail=detail, models=models, unknown=offer.unknown - {model})
        return


def offer_of(world: World, endpoint: str, model: str, info: ModelInfo) -> ModelOffer:
    """What routing is told of a model that an endpoint described, with what was measured of it under these conditions."""
    first = model
    if world.settings.endpoints[endpoint].kind == "ollama":  # the embedded engine has a worker for each name
        tags = (name for (place, name), one in world.infos.items() if place == endpoint and _same(one, info))
        first = next(tags, model)
    return ModelOffer(
        model,
        shape_from_metadata(info.metadata, size_bytes=info.size_bytes) if info.metadata else None,
        info.size_bytes // MIB,
        licence=info.licence,
        tasks=info.tasks,
        installed=info.installed,
        measured=MappingProxyType(_measured(world, endpoint, info)),
        resident=first if canonical(first) != canonical(model) else "",
    )


def _same(one: ModelInfo, other: ModelInfo) -> bool:
    """Whether a server has one runner for both."""
    return bool(one.digest) and one.installed and other.installed and one.digest == other.digest


def _measured(world: World, endpoint: str, info: ModelInfo) -> dict[tuple[int, int], Measurement]:
    """What it took here, by context and slots; where it spilled, more than the budget that it was believed to fit."""
    here = world.conditions(endpoint, info, num_ctx=0, slots=0)
    ceiling = world.allowances[world.settings.endpoints[endpoint].device].ceiling
    found = {}
    for one in world.measurements:
        num_ctx, slots = one.conditions.num_ctx, one.conditions.slots
        if info.digest and one.conditions == here._replace(num_ctx=num_ctx, slots=slots):
            found[num_ctx, slots] = one if one.fitted is None else replace(one, mib=max(one.mib, ceiling + 1))
    return found


def measuring(
    world: World, name: str, journal: Journal, used: Callable[[], Awaitable[Mib | None]] | None = None
) -> Endpoint:
    """An endpoint with its loads measured, and the measurements kept in the journal. `used` reads its device's used MiB."""
    from vwt_agents.endpoints.measuring import MeasuringEndpoint

    return MeasuringEndpoint(world.endpoints[name], _expects(world, name), journal.remember, used=used)


def _expects(world: World, name: str) -> Expects:
    from vwt_agents.endpoints.measuring import Believed

    def expects(model: str, *, num_ctx: int, slots: int) -> Believed | None:
        info, offer = world.infos.get((name, model)), world.offers[name].find(model)
        if info is None or offer is None or not info.digest:
            return None
        settings = world.settings.endpoints[name]
        allotted = offer.allotted(settings, slots)
        return Believed(
            world.conditions(name, info, num_ctx=num_ctx, slots=allotted),
            offer.expected(settings, num_ctx=num_ctx, slots=allotted),
            offer.need(settings, num_ctx=num_ctx, slots=slots).mib,
        )

    return expects
