"""A run among others on the same devices: its claims in the ledger, what others take and wait for, told to its core.

Owns the second-by-second look around while a run lasts, and the endpoints as the run may use them: through the ledger. It
decides nothing: what leaves for others is the core's word. See docs/memory.md and docs/devices.md.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyio.to_thread import run_sync

from vwt_agents.app.claims import resource_of
from vwt_agents.config import canonical
from vwt_agents.core import BudgetSet, Loaded, ModelKey, Occupied, Pressed, Vanished
from vwt_agents.errors import EndpointUnavailable, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.hosts import is_loopback, one_server
from vwt_agents.ledger import Ledger, Resource
from vwt_agents.ledgered import LedgeredEndpoint, Need, terms_of
from vwt_agents.occupancy import Monitor, Sources
from vwt_agents.occupancy.taken import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping

    from vwt_agents.app.outside import Looks
    from vwt_agents.app.world import World
    from vwt_agents.core import Event, State
    from vwt_agents.core.state import Model
    from vwt_agents.devices import Found
    from vwt_agents.dispatcher import Dispatcher
    from vwt_agents.endpoints.base import Endpoint, Residence
    from vwt_agents.routing import ModelPlan, Plan
    from vwt_agents.types import Mib, Seconds

__all__ = ["Neighbours", "open_neighbours"]

log = get_logger(__name__)

INTERVAL: Final[Seconds] = 1.0
ADOPT_S: Final[Seconds] = 30.0
"""A model that is there already answers its load at once; one that does not is left alone."""
TELL_S: Final[Seconds] = 3.0
"""A wait for others that lasts so long is said on the screen, also where that is a log."""
ANSWER_S: Final[Seconds] = 5.0
"""A server or a driver that has said nothing for so long is not waited for: what it said last still stands."""


Used: TypeAlias = "Callable[[], Awaitable[Mib | None]]"
MadeFor: TypeAlias = "Callable[[str, Used], Endpoint]"


@asynccontextmanager
async def open_neighbours(world: World, plan: Plan, endpoint: MadeFor, run: str) -> AsyncIterator[Neighbours]:
    """Join the ledger for the length of the block. What the run leaves on a server then is an orphan there, for others.

    `endpoint` makes each of the world's, by name, as the run would use it if it were alone; it is given what reads the MiB
    used on its device.
    """
    ledger = await run_sync(Ledger.open, run)
    reader = world.outside.reader()
    try:
        yield Neighbours(world, plan, endpoint, ledger, reader)
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(ledger.close)
            await run_sync(reader.close)


@dataclass(slots=True)
class _Seen:
    """A server's memory at the last look that was answered, by the model's one spelling."""

    at: Seconds
    residences: dict[str, Residence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Held:
    """What is in the ledger: resources, and models by their server and name, which is all that a server shows of them."""

    resources: frozenset[Resource]
    named: frozenset[tuple[str, str]]


class Neighbours:
    """Everybody else on this run's devices. `endpoints` are the run's, each within what the ledger grants it."""

    def __init__(self, world: World, plan: Plan, endpoint: MadeFor, ledger: Ledger, reader: Looks) -> None:
        self._world = world
        self._plan = plan
        self._endpoint = endpoint
        self._reader = reader
        self._ledger = ledger
        self._needs: dict[ModelKey, Need] = {}
        self._terms: dict[ModelKey, str] = {}
        self._ledgered: dict[str, LedgeredEndpoint] = {}
        self._claimed: dict[str, deque[Mib]] = {}
        self._shared: dict[str, Mib] = {}
        self._seen: dict[str, _Seen] = {}
        self._contexts: dict[ModelKey, tuple[Seconds, int]] = {}
        self._pressed: dict[str, tuple[Mib, Seconds]] = {}
        self._starved: set[ModelKey] = set()
        self._told: set[ModelKey] = set()
        self._dispatcher: Dispatcher | None = None
        self.endpoints: dict[str, Endpoint] = {}
        sources = Sources(reader.read, self._ours, self._changing, self._ledger_of, self._loading_of, self._foreign_of)
        self._monitor = Monitor(sources, world.allowances, self._occupied, limit=self._limited)
        for spec in plan.specs:
            self.admit(spec)

    def admit(self, spec: ModelPlan) -> None:
        """Let the run use a model, on an endpoint of the world that may be new to it."""
        need = Need(resource_of(self._world, spec.endpoint, spec.model), spec.footprint)
        key = ModelKey(spec.endpoint, spec.model)
        self._needs[key], self._terms[key] = need, terms_of(spec.num_ctx)
        if spec.endpoint not in self._ledgered:
            ledgered = self._within_ledger(self._endpoint(spec.endpoint, partial(self._used, spec.device)))
            self._ledgered[spec.endpoint] = self.endpoints[spec.endpoint] = ledgered

    def _within_ledger(self, endpoint: Endpoint) -> LedgeredEndpoint:
        name, device = endpoint.name, endpoint.device
        return LedgeredEndpoint(
            endpoint,
            self._ledger,
            ceiling=lambda: self._ceiling(device),
            need=lambda model: self._needs[ModelKey(name, model)],
            freed=lambda mib: self._monitor.settled(device, mib),
        )

    # -- the run's side ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def beside(self, dispatcher: Dispatcher) -> AsyncIterator[None]:
        """Tell a dispatcher that serves the plan what others take and what is loaded already, and go on telling it every
        second until the block ends.
        """
        self._dispatcher = dispatcher
        if self._ledger.unusable:
            dispatcher.board.say(f"note: memory is shared with no other process: {self._ledger.alone}")
        await self._look_at_servers()
        await self._adopt(dispatcher)  # first: what is adopted is nobody else's
        await self._look()
        stack = AsyncExitStack()
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(self._watch)
        try:
            yield
        finally:  # closed by hand: a group would wrap whatever ends the block into a group of its own
            tasks.cancel_scope.cancel()
            await stack.aclose()

    async def _watch(self) -> None:
        told = ""
        while True:
            await anyio.sleep(INTERVAL)
            try:
                await self._look_at_servers()
                await self._look()
            except Exception as error:  # noqa: BLE001 - a run goes on with what it knew; what fails for good fails its loads
                if told != str(error):
                    told = str(error)
                    log.warning("neighbours.not_seen", error=f"{type(error).__name__}: {error}")

    async def _adopt(self, dispatcher: Dispatcher) -> None:
        """Models of the plan that a server has in memory already, as the run would load them, are the run's from now on."""
        for spec in self._plan.specs:
            there = self._residences(spec.endpoint).get(canonical(spec.model))
            if there is None or there.num_ctx != spec.num_ctx or there.device_mib < there.size_mib:
                continue
            try:
                endpoint = self.endpoints[spec.endpoint]
                residence = await endpoint.load(spec.model, num_ctx=spec.num_ctx, slots=spec.slots, timeout=ADOPT_S)
            except VwtError as error:
                log.debug("model.not_adopted", model=spec.model, endpoint=spec.endpoint, why=error.message)
                resource = self._needs[ModelKey(spec.endpoint, spec.model)].resource
                await run_sync(self._ledger.unwant, resource)  # nobody asks for it yet: nobody has to make way
            else:
                log.info("model.adopted", model=spec.model, endpoint=spec.endpoint, mib=residence.device_mib)
                dispatcher.post(Loaded(ModelKey(spec.endpoint, spec.model), residence.device_mib or None))

    # -- one look ---------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        await self._make_room()
        await self._monitor.look()
        for device in self._world.allowances:
            await self._press(device)
        await self._say_what_is_wanted()
        self._check_residents()
        await self._release()

    async def _look_at_servers(self) -> None:
        async with anyio.create_task_group() as tasks:
            for name, endpoint in self.endpoints.items():
                if endpoint.kind == "ollama":
                    tasks.start_soon(self._look_at, name, endpoint)

    async def _look_at(self, name: str, endpoint: Endpoint) -> None:
        at = anyio.current_time()
        try:
            with anyio.fail_after(ANSWER_S):
                residences = await endpoint.resident()
        except (VwtError, TimeoutError) as error:  # calls to it say so; what was seen there last still stands
            log.debug("endpoint.not_seen", endpoint=name, error=str(error))
            return
        seen = self._seen[name] = _Seen(at, {canonical(each.model): each for each in residences})
        await self._forget(one_server(endpoint.url), seen.residences)

    async def _forget(self, server: str, shown: Collection[str]) -> None:
        """Orphans of a server that it does not show in its memory are none."""
        left = await run_sync(self._ledger.orphans, server)
        if gone := [orphan for orphan in left if canonical(orphan.name) not in shown]:
            there = [orphan.resource for orphan in left if orphan not in gone]
            await run_sync(self._ledger.forget, server, there)

    async def _look_elsewhere(self, devices: Collection[str]) -> None:
        """Servers that this run does not use, where the dead have left something that is in its way: is it still there?"""
        from vwt_agents.endpoints.ollama import OllamaEndpoint

        holders = (await run_sync(self._ledger.snapshot)).holders
        left = {holder.resource.server for holder in holders if holder.orphan and holder.device in devices}
        for url in sorted(left - {one_server(endpoint.url) for endpoint in self.endpoints.values()}):
            shown: set[str] = set()
            try:
                async with OllamaEndpoint("elsewhere", url) as server:
                    with anyio.fail_after(ANSWER_S):
                        shown = {canonical(each.model) for each in await server.resident()}
            except (VwtError, TimeoutError) as error:
                if not (isinstance(error, EndpointUnavailable) and error.refused):
                    continue
            await self._forget(url, shown)

    async def _make_room(self) -> None:
        """What nobody alive uses leaves a server once it is in the way: models of dead processes, and of earlier runs."""
        short = {model.spec.device for model in self._state.starved()}
        if short:
            await self._look_elsewhere(short)
        # a call that loses its endpoint may admit another meanwhile
        for name, endpoint in list(self._ledgered.items()):
            if endpoint.device not in short or endpoint.kind != "ollama":
                continue
            with anyio.move_on_after(
                ANSWER_S
            ):  # what does not leave is told again at the next look: nobody looks meanwhile
                await endpoint.reclaim(one_server(endpoint.url))
            for model in await self._left_over(name):
                log.info("model.left_over", endpoint=name, model=model)
                with anyio.move_on_after(ANSWER_S):
                    await self._unload(endpoint.inner, model)

    async def _unload(self, endpoint: Endpoint, model: str) -> None:
        try:
            await endpoint.unload(model)
        except VwtError as error:
            log.warning("model.not_reclaimed", endpoint=endpoint.name, model=model, error=error.message)

    async def _left_over(self, name: str) -> list[str]:
        """Models of agents.toml that a server has in memory and neither this run nor anybody in the ledger holds."""
        if self._ledger.alone or not is_loopback(self._world.endpoints[name].url):
            return []  # somebody whom no ledger shows may use them
        strangers = {model for model, _ in self._strangers(name, await self._held())}
        return [model for model in self._world.settings.listed(name) if canonical(model) in strangers]

    async def _held(self) -> _Held:
        holders = (await run_sync(self._ledger.snapshot)).holders
        named = {(holder.resource.server, canonical(holder.name)) for holder in holders}
        return _Held(frozenset(holder.resource for holder in holders), frozenset(named))

    async def _press(self, device: str) -> None:
        ceiling = self._ceiling(device)  # more than that nobody could be given, whoever made way
        wants = [want for want in await run_sync(self._ledger.pressing, device) if want.mib <= ceiling]
        patience = self._world.settings.scheduler.max_wait["batch"]
        now = (wants[0].mib, wants[0].since + patience) if wants else (0, 0.0)
        if now != self._pressed.get(device, (0, 0.0)):
            self._pressed[device] = now
            self._post(Pressed(device, *now))

    async def _say_what_is_wanted(self) -> None:
        """What others keep out of memory is written down for them, again and again for as long as it lasts."""
        starved = {model.spec.key: model for model in self._state.starved()}
        trying = self._starved & self._state.residencies.keys()  # a want ends with its claim, not while that is tried
        for key in self._starved - starved.keys() - trying:
            await run_sync(self._ledger.unwant, self._needs[key].resource)
        self._starved = trying | starved.keys()
        for key, model in starved.items():
            spec, since = model.spec, model.starved_since or time.monotonic()
            wanted = partial(self._ledger.want, name=key.model, terms=self._terms[key])
            await run_sync(wanted, spec.device, self._needs[key].resource, spec.footprint, since)
        self._tell(starved)

    def _tell(self, starved: Mapping[ModelKey, Model]) -> None:
        """Say of each model once that others keep it out; a turn that comes soon is not worth a line."""
        self._told &= starved.keys()
        for key, model in starved.items():
            spec, since = model.spec, model.starved_since
            if key not in self._told and since is not None and anyio.current_time() - since >= TELL_S:
                self._told.add(key)
                why = model.why or f"others take {self._state.occupied(spec.device)} MiB of it"
                patience = self._world.settings.scheduler.patience
                self._beside.board.say(
                    f"note: {key} waits for {spec.footprint} MiB on {spec.device}, for at most {patience:g} s: {why}"
                )

    def _check_residents(self) -> None:
        """A resident model that its server no longer shows, or shows with another context, is gone: the core is told."""
        for key, residency in list(self._state.residencies.items()):
            seen = self._seen.get(key.endpoint)
            if seen is None or residency.phase != "resident" or residency.since >= seen.at:
                continue
            there = seen.residences.get(canonical(key.model))
            if there is None:
                self._gone(key, "another client, or the server's own timer, evicted it")
                continue
            since, num_ctx = self._contexts.setdefault(key, (residency.since, there.num_ctx))
            if since != residency.since:
                self._contexts[key] = (residency.since, there.num_ctx)
            elif there.num_ctx != num_ctx:
                self._gone(key, f"another client reloaded it with num_ctx {there.num_ctx} in place of {num_ctx}")

    async def _release(self) -> None:
        """Claims end with the residency that the core believed in: what of it is still there is seen as anybody's is."""
        for name, endpoint in list(self._ledgered.items()):
            await endpoint.release(partial(self._is_out, name))

    def _is_out(self, endpoint: str, resource: Resource) -> bool:
        there = (key for key in self._state.residencies if key.endpoint == endpoint)
        return all(self._needs[key].resource != resource for key in there)

    def _gone(self, key: ModelKey, why: str) -> None:
        self._contexts.pop(key, None)
        log.warning("model.vanished", endpoint=key.endpoint, model=key.model, why=why)
        self._beside.board.say(f"note: {key} is no longer in memory: {why}")
        self._post(Vanished(key, why))

    # -- what the monitor asks --------------------------------------------------------------------------------------

    @property
    def _beside(self) -> Dispatcher:
        """The dispatcher of this run: nothing is looked at before `beside` has named it."""
        assert self._dispatcher is not None
        return self._dispatcher

    @property
    def _state(self) -> State:
        return self._beside.state

    def _post(self, event: Event) -> None:
        self._beside.post(event)

    def _occupied(self, device: str, mib: Mib) -> None:
        self._post(Occupied(device, mib))

    def _limited(self, device: str, mib: Mib) -> None:
        self._post(BudgetSet(device, mib))

    def _ceiling(self, device: str) -> Mib:
        """What all claims on a device together may come to: its budget, less what is taken by who is in no ledger.

        What is occupied falls a few looks after the claim it was for; until then it is still nobody's outside the ledger.
        """
        outside = max(0, self._state.occupied(device) - max(self._claimed.get(device, (0,))))
        return self._state.budget(device) - outside

    def _ours(self, device: str) -> Mib:
        """What this run has there, and what others have that it would only join."""
        return self._state.used(device) + self._shared.get(device, 0)

    def _changing(self, device: str) -> bool:
        return any(residency.phase != "resident" for residency in self._state.on(device))

    async def _used(self, device: str) -> Mib | None:
        """What a GPU's driver says is used there; None for the CPU, where pages come and go as they are read."""
        if device == "cpu":
            return None
        found: Found | None = None
        with anyio.move_on_after(ANSWER_S):  # a driver that has lost its card may never answer
            found = await run_sync(self._reader.read, abandon_on_cancel=True)
        if found is None:
            return None
        return next((each.used_mib for each in found.devices if each.name == device and not each.problem), None)

    async def _ledger_of(self, device: str) -> Mib:
        shared = {need.resource for key, need in self._needs.items() if need.resource.server}
        ours = {self._needs[key].resource for key in self._state.residencies if key in self._needs}
        holders = (await run_sync(self._ledger.snapshot)).on(device)
        joined = {holder.resource: holder.mib for holder in holders if holder.resource in shared - ours}
        self._shared[device] = sum(joined.values())
        claimed = await run_sync(partial(self._ledger.others, device, but=shared))
        self._claimed.setdefault(device, deque(maxlen=PATIENCE)).append(claimed)
        return claimed

    async def _loading_of(self, device: str) -> Mib:
        return await run_sync(self._ledger.loading, device)

    async def _foreign_of(self, device: str) -> Mib:
        """What servers on a device have in memory that neither this run nor anybody in the ledger has loaded."""
        held = await self._held()
        found: dict[tuple[str, str], Mib] = {}  # of two endpoints with one server each sees the same there
        for name, endpoint in self._world.endpoints.items():
            if endpoint.device == device:
                for model, residence in self._strangers(name, held):
                    found[one_server(endpoint.url), model] = residence.device_mib
        return sum(found.values())

    def _strangers(self, name: str, held: _Held) -> Iterator[tuple[str, Residence]]:
        """What a server has in memory that neither this run nor anybody in the ledger holds, by the one spelling."""
        url, seen = one_server(self._world.endpoints[name].url), self._seen.get(name)
        if seen is None:
            return
        ours = {  # also what has left since the look
            canonical(key.model)
            for key, model in self._state.models.items()
            if key.endpoint == name and (key in self._state.residencies or model.left_at >= seen.at)
        }
        listed = {canonical(model): model for model in self._world.settings.listed(name)}
        for model, residence in seen.residences.items():
            resource = resource_of(self._world, name, listed.get(model, model))
            if model not in ours and resource not in held.resources and (url, model) not in held.named:
                yield model, residence

    def _residences(self, endpoint: str) -> Mapping[str, Residence]:
        seen = self._seen.get(endpoint)
        return seen.residences if seen is not None else {}
