"""A run among others on the same devices: its claims in the ledger, what others take and wait for, told to its core.

Owns the second-by-second look around while a run lasts, and the endpoints as the run may use them: through the ledger. It
decides nothing: what leaves for others is the core's word. See docs/memory.md and docs/devices.md.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyio.to_thread import run_sync

from vwt_agents.app.claims import resource_of
from vwt_agents.app.shares import Shares
from vwt_agents.app.sightings import Sightings
from vwt_agents.config import canonical
from vwt_agents.core import BudgetSet, Loaded, ModelKey, Occupied, Pressed, Vanished
from vwt_agents.errors import VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.hosts import is_loopback, one_server
from vwt_agents.ledger import Ledger, Terms
from vwt_agents.ledgered import LedgeredEndpoint, Need
from vwt_agents.occupancy import Monitor, Sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from anyio.abc import TaskStatus

    from vwt_agents.app.outside import Looks
    from vwt_agents.app.world import World
    from vwt_agents.core import Event, State
    from vwt_agents.core.state import Model
    from vwt_agents.devices import Found
    from vwt_agents.dispatcher import Dispatcher
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.ledger import Resource, Snapshot
    from vwt_agents.routing import ModelPlan, Plan
    from vwt_agents.types import Mib, Seconds

__all__ = ["Neighbours", "open_neighbours"]

log = get_logger(__name__)

INTERVAL: Final[Seconds] = 1.0
ADOPT_S: Final[Seconds] = 30.0
"""A model that is there already answers its load at once; one that does not is left alone."""
UNUSED_S: Final[Seconds] = 60.0
"""Another client's model that was not used for so long is nobody's; a chat that goes on loads it again in a few seconds."""
TELL_S: Final[Seconds] = 3.0
"""A wait for others that lasts so long is said on the screen, also where that is a log."""
ANSWER_S: Final[Seconds] = 5.0
"""A driver that has said nothing for so long is not waited for, nor a model that does not leave."""


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


class Neighbours:
    """Everybody else on this run's devices. `endpoints` are the run's, each within what the ledger grants it."""

    def __init__(self, world: World, plan: Plan, endpoint: MadeFor, ledger: Ledger, reader: Looks) -> None:
        self._world = world
        self._plan = plan
        self._endpoint = endpoint
        self._reader = reader
        self._ledger = ledger
        self._needs: dict[ModelKey, Need] = {}
        self._resources: dict[ModelKey, Resource] = {}
        self._terms: dict[ModelKey, Terms] = {}
        self._ledgered: dict[str, LedgeredEndpoint] = {}
        self._snapshot: Snapshot | None = None
        self._contexts: dict[ModelKey, tuple[Seconds, int]] = {}
        self._pressed: dict[str | ModelKey, Pressed] = {}
        self._starved: set[ModelKey] = set()
        self._told: set[ModelKey] = set()
        self._dispatcher: Dispatcher | None = None
        self.endpoints: dict[str, Endpoint] = {}
        self._sightings = Sightings(world, ledger, self.endpoints)
        self._shares = shares = Shares(lambda: self._state, self._resources, self._sightings)
        sources = Sources(reader.read, shares.ours, shares.changing, shares.ledger, shares.loading, shares.foreign)
        self._monitor = Monitor(sources, world.allowances, self._occupied, limit=self._limited)
        for spec in plan.specs:
            self.admit(spec)

    def admit(self, spec: ModelPlan) -> None:
        """Let the run use a model, on an endpoint of the world that may be new to it."""
        need = Need(resource_of(self._world, spec.endpoint, spec.model), spec.footprint)
        for name in (spec.model, *spec.tags):
            self._needs[ModelKey(spec.endpoint, name)] = need
        key = ModelKey(spec.endpoint, spec.model)
        self._resources[key] = need.resource
        self._terms[key] = Terms(spec.num_ctx, self._world.endpoints[spec.endpoint].device == "cpu")
        if spec.endpoint not in self._ledgered:
            ledgered = self._within_ledger(self._endpoint(spec.endpoint, partial(self._used, spec.device)))
            self._ledgered[spec.endpoint] = self.endpoints[spec.endpoint] = ledgered

    def _within_ledger(self, endpoint: Endpoint) -> LedgeredEndpoint:
        name, device = endpoint.name, endpoint.device
        return LedgeredEndpoint(
            endpoint,
            self._ledger,
            ceiling=lambda: self._shares.ceiling(device),
            need=lambda model: self._needs[ModelKey(name, model)],
            freed=lambda mib: self._monitor.settled(device, mib),
            beside=self._ledgered.values(),
        )

    # -- the run's side ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def beside(self, dispatcher: Dispatcher) -> AsyncIterator[None]:
        """Tell a dispatcher that serves the plan what others take and what is loaded already, and go on telling it every
        second until the block ends.
        """
        self._dispatcher = dispatcher
        if self._ledger.unusable:
            dispatcher.board.say(
                f"note: memory is shared with no other process, each takes the whole budget: {self._ledger.alone}; "
                "VWT_LEDGER=FOLDER names one that all can write"
            )
        await self._sightings.look(None)
        await self._adopt(dispatcher)  # first: what is adopted is nobody else's
        await self._look()
        stack = AsyncExitStack()
        tasks = await stack.enter_async_context(anyio.create_task_group())
        await tasks.start(self._watch)  # begun: a stage that cancels all tasks would leave it unawaited, with a warning
        try:
            yield
        finally:  # closed by hand: a group would wrap whatever ends the block into a group of its own
            tasks.cancel_scope.cancel()
            await stack.aclose()

    async def _watch(self, *, task_status: TaskStatus[None]) -> None:
        told = ""
        task_status.started()
        while True:
            await anyio.sleep(INTERVAL)
            try:
                await self._sightings.look(self._snapshot)
                await self._look()
            except Exception as error:  # noqa: BLE001 - a run goes on with what it knew; what fails for good fails its loads
                if told != str(error):
                    told = str(error)
                    log.warning("neighbours.not_seen", error=f"{type(error).__name__}: {error}")

    async def _adopt(self, dispatcher: Dispatcher) -> None:
        """Models of the plan that a server has in memory already, as the run would load them, are the run's from now on."""
        for spec in self._plan.specs:
            there = self._sightings.residences(spec.endpoint).get(canonical(spec.model))
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
        if self._snapshot is not None:
            await self._make_room(self._snapshot)
        snapshot = self._snapshot = await run_sync(self._ledger.snapshot)
        self._shares.look(snapshot, self._world.allowances)
        await self._monitor.look()
        self._press(snapshot)
        await self._say_what_is_wanted()
        self._check_residents()
        await self._release()

    async def _make_room(self, snapshot: Snapshot) -> None:
        """What nobody alive uses leaves a server once it is in the way: models of dead processes, and of earlier runs."""
        short = {model.spec.device for model in self._state.starved()}
        if short:
            await self._sightings.look_elsewhere(short, snapshot)
        # a call that loses its endpoint may admit another meanwhile
        for name, endpoint in list(self._ledgered.items()):
            if endpoint.device not in short or endpoint.kind != "ollama":
                continue
            # What does not leave is told again at the next look: nobody looks meanwhile.
            with anyio.move_on_after(ANSWER_S):
                await endpoint.reclaim(one_server(endpoint.url))
            for model, resource, mib in self._left_over(name, snapshot):
                log.info("model.left_over", endpoint=name, model=model)
                with anyio.move_on_after(ANSWER_S):
                    await endpoint.clear(model, resource, mib)

    def _left_over(self, name: str, snapshot: Snapshot) -> list[tuple[str, Resource, Mib]]:
        """Models of agents.toml that a server has in memory and neither this run nor anybody in the ledger holds, nor any
        other client seems to use.
        """
        if self._ledger.alone or not is_loopback(self._world.endpoints[name].url):
            return []  # somebody whom no ledger shows may use them
        listed = {canonical(model): model for model in self._world.settings.listed(name)}
        found = self._sightings.strangers(name, self._state, snapshot)
        return [
            (listed[one.model], one.resource, one.mib)
            for one in found
            if one.model in listed and one.unused_s >= UNUSED_S
        ]

    def _press(self, snapshot: Snapshot) -> None:
        """What others wait for is told to the core: memory by device, and models of ours that they would load otherwise."""
        pressed: dict[str | ModelKey, Pressed] = {}
        patience = self._world.settings.scheduler.max_wait["batch"]
        for device in self._world.allowances:
            ceiling = self._shares.ceiling(device)  # more than that nobody could be given, whoever made way
            for want in snapshot.pressing(device):
                held = snapshot.mine.held(want.resource) if want.resource.server else None
                if held is not None and held.serves(want):
                    continue  # it can join ours, and waits for somebody else
                key = self._ours(want.resource) if held is not None and not held.leaving else None
                at = device if key is None else key
                if want.mib <= ceiling and at not in pressed:
                    wanted = str(want) if key is not None else ""
                    pressed[at] = Pressed(device, max(want.mib, 1), want.since + patience, key, wanted)
        for at in self._pressed.keys() - pressed.keys():
            self._post(Pressed(self._pressed[at].device, 0, key=self._pressed[at].key))
        for at, event in pressed.items():
            if event != self._pressed.get(at):
                self._post(event)
        self._pressed = pressed

    def _ours(self, resource: Resource) -> ModelKey | None:
        return next((key for key in self._state.residencies if self._resources.get(key) == resource), None)

    async def _say_what_is_wanted(self) -> None:
        """What others keep out of memory is written down for them, again and again for as long as it lasts."""
        starved = {model.spec.key: model for model in self._state.starved()}
        trying = self._starved & self._state.residencies.keys()  # a want ends with its claim, not while that is tried
        for key in self._starved - starved.keys() - trying:
            await run_sync(self._ledger.unwant, self._needs[key].resource)
        self._starved = trying | starved.keys()
        for key, model in starved.items():
            spec, since = model.spec, model.starved_since or time.monotonic()
            wanted = partial(self._ledger.want, name=key.model, terms=str(self._terms[key]))
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
            seen = self._sightings.of(key.endpoint)
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
