"""Residencies, leases, queues and budgets as the core believes them to be. Owns the facts and their arithmetic.

Never decides anything and never asks the clock. Its queries are for everyone; its verbs (from `register` on) are called
by `Scheduler.handle` only, so what a holder of the state sees changes between events and at no other time.

Memory is believed, not known: a residency counts with its footprint from the Load action until its memory is reported
free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vwt_agents.core.programs import Programs
from vwt_agents.core.queue import Order, Queue, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vwt_agents.core.specs import ModelKey, ModelSpec
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["Model", "Phase", "Pressure", "Residency", "State"]

Phase: TypeAlias = Literal["loading", "resident", "unloading"]


@dataclass(slots=True)
class Model:
    """A registered model: its spec (with the footprint last measured), who waits for it, and its history.

    `load_s` is how long a load is believed to take: what was given, then what loads took, the last ones most. `left_at`
    and `left_order` say when its last residency ended, as a moment and as a count of all endings, so that two endings at
    one moment still have an order. `failed`: its last load failed, or its last residency vanished. `not_before`: no load
    before, the last one was deferred. `starved_since`: since when others have kept the memory it needs, `why` in words.
    """

    spec: ModelSpec
    queue: Queue = field(default_factory=Queue)
    load_s: Seconds = 0.0
    loads: int = 0
    failed: bool = False
    left_at: Seconds = -inf
    left_order: int = 0
    not_before: Seconds = -inf
    starved_since: Seconds | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pressure:
    """Another process waits for memory on a device, or for a model there to be loaded otherwise: how much, and from when on
    those in use make way for it; `wanted` is what it waits for, in words.
    """

    mib: Mib
    due: Seconds
    wanted: str = ""


@dataclass(slots=True, eq=False)
class Residency:
    """A model's stay in memory, with the device, footprint and slots it was loaded with; `since` is when its phase
    began. It changes with the state it belongs to.

    `granted` counts the leases it ever had, `warm` are the prefixes its slots read last. `draining`: no new leases.
    `stays_until`: no unload before, the last one failed.
    """

    key: ModelKey
    device: str
    footprint: Mib
    slots: int
    phase: Phase
    since: Seconds
    last_used: Seconds
    leases: set[RequestId] = field(default_factory=set)
    granted: int = 0
    warm: tuple[str, ...] = ()
    draining: bool = False
    stays_until: Seconds = -inf

    @property
    def idle(self) -> bool:
        """It is resident and nobody holds a lease on it."""
        return self.phase == "resident" and not self.leases

    @property
    def grantable(self) -> bool:
        """It is resident, not draining, and has a free slot."""
        return self.phase == "resident" and not self.draining and len(self.leases) < self.slots


class State:
    """What is in memory, who holds a lease, who waits, and what each device may take."""

    def __init__(self, *, max_agents: int) -> None:
        self.max_agents = max_agents
        self.now: Seconds = -inf
        self.closing = False
        self._models: dict[ModelKey, Model] = {}
        self._residencies: dict[ModelKey, Residency] = {}
        self._there: dict[str, list[Residency]] = {}
        self._wanted: dict[ModelKey, Model] = {}
        self._devices: tuple[str, ...] = ()
        self._by_deadline = Order(lambda waiting: (waiting.deadline, waiting.request))
        self._budgets: dict[str, Mib] = {}
        self._occupied: dict[str, Mib] = {}
        self._pressures: dict[str, Pressure] = {}
        self._asked_back: dict[ModelKey, Pressure] = {}
        self._waiting: dict[RequestId, Waiting] = {}
        self._leases: dict[RequestId, ModelKey] = {}
        self._granted: dict[RequestId, Waiting] = {}
        self._targets: dict[str, ModelKey] = {}
        self._endings = 0
        self.programs = Programs()
        # Views of what changes, made once: they are asked for several times an event.
        self.models: Mapping[ModelKey, Model] = MappingProxyType(self._models)
        """Every registered model."""
        self.residencies: Mapping[ModelKey, Residency] = MappingProxyType(self._residencies)
        """Every model that takes memory: loading, resident or unloading."""
        self.waiting: Mapping[RequestId, Waiting] = MappingProxyType(self._waiting)
        """Every request that has neither been granted nor ended."""
        self.leases: Mapping[RequestId, ModelKey] = MappingProxyType(self._leases)
        """Every granted request that has not been released, also where the residency vanished under it."""
        self.targets: Mapping[str, ModelKey] = MappingProxyType(self._targets)
        """By device: the model that room is being made for."""
        self.wanted: Mapping[ModelKey, Model] = MappingProxyType(self._wanted)
        """The models that requests wait for."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device a model belongs or belonged to, in a fixed order."""
        return self._devices

    def on(self, device: str) -> Sequence[Residency]:
        """The residencies of one device."""
        return self._there.get(device, ())

    def room(self, device: str) -> Mib:
        """What will be left there once the unloads under way are done; negative while over budget."""
        return self.available(device) - sum(each.footprint for each in self.on(device) if each.phase != "unloading")

    def cold(self, device: str) -> Iterator[Model]:
        """The models of one device that requests wait for, that take no memory at all, and that others leave room for."""
        available = self.available(device)
        for key, model in self._wanted.items():
            if model.spec.device != device or key in self._residencies or model.not_before > self.now:
                continue
            if model.spec.footprint <= available:
                yield model

    def budget(self, device: str) -> Mib:
        """What all models together may take there; 0 until it is set."""
        return self._budgets.get(device, 0)

    def occupied(self, device: str) -> Mib:
        """What others take of it for now."""
        return self._occupied.get(device, 0)

    def available(self, device: str) -> Mib:
        """What all models of ours may take there now; negative where others take more than there is."""
        return self.budget(device) - self.occupied(device)

    def pressure(self, device: str) -> Pressure | None:
        """What another process waits for there; None where none does."""
        return self._pressures.get(device)

    def asked_back(self, key: ModelKey) -> Pressure | None:
        """What another process would do with this very model; None where none waits for that."""
        return self._asked_back.get(key)

    def owed(self, device: str) -> Sequence[Residency]:
        """What is in memory there and another process waits for, to load it otherwise."""
        if not self._asked_back:
            return ()
        return [each for each in self.on(device) if each.key in self._asked_back and each.phase == "resident"]

    def starved(self) -> Iterator[Model]:
        """The models that requests wait for and others keep out of memory."""
        for key, model in self._wanted.items():
            if model.starved_since is not None and key not in self._residencies:
                yield model

    def used(self, device: str) -> Mib:
        """What is taken there by everything loading, resident or unloading."""
        return sum(residency.footprint for residency in self.on(device))

    def headroom(self, device: str) -> Mib:
        """What is left there now; negative while over budget."""
        return self.available(device) - self.used(device)

    def swap_cost(self, here: ModelKey, there: ModelKey) -> Seconds:
        """Seconds that going from one model to another takes, as believed: nothing where both fit side by side."""
        one, other = self._models.get(here), self._models.get(there)
        if here == there or one is None or other is None or one.spec.device != other.spec.device:
            return 0.0
        return other.load_s if one.spec.footprint + other.spec.footprint > self.budget(one.spec.device) else 0.0

    def soonest_deadline(self) -> Waiting | None:
        """The waiting request whose answer is the first to be of no use to anybody."""
        return self._by_deadline.first(self._waiting)

    def check(self) -> None:
        """Raise AssertionError where the books contradict themselves; true between any two events."""
        assert len(self._leases) <= self.max_agents
        assert not self._leases.keys() & self._waiting.keys()
        queued = {waiting.request: waiting for model in self._models.values() for waiting in model.queue}
        assert queued == self._waiting
        for residency in self._residencies.values():
            assert residency.key in self._models
            assert len(residency.leases) <= residency.slots
            assert residency.phase == "resident" or not residency.leases
            assert all(self._leases.get(request) == residency.key for request in residency.leases)

    def register(self, spec: ModelSpec) -> None:
        """Remember a spec; what is in memory keeps the one it was loaded with."""
        if model := self._models.get(spec.key):
            model.spec = spec
        else:
            self._models[spec.key] = Model(spec, load_s=spec.load_s)
        self._devices = tuple(sorted({*self._devices, spec.device}))

    def set_budget(self, device: str, mib: Mib) -> None:
        """Remember what models may take there."""
        self._budgets[device] = mib

    def occupy(self, device: str, mib: Mib) -> None:
        """Remember what others take there."""
        self._occupied[device] = mib

    def press(self, at: str | ModelKey, pressure: Pressure | None) -> None:
        """Remember what another process waits for on a device, or for which model."""
        there: dict[Any, Pressure] = self._pressures if isinstance(at, str) else self._asked_back
        if pressure is None:
            there.pop(at, None)
        else:
            there[at] = pressure

    def enqueue(self, waiting: Waiting) -> None:
        """Let a request wait for its model."""
        self._waiting[waiting.request] = waiting
        model = self._models[waiting.key]
        model.queue.add(waiting)
        self._wanted[waiting.key] = model
        if waiting.deadline is not None:
            self._by_deadline.add(waiting, self._waiting)
        self.programs.submitted(waiting.run, waiting.step, waiting.request, waiting.key, waiting.seconds, self.now)

    def withdraw(self, request: RequestId) -> Waiting:
        """Take out a waiting request that will not be granted."""
        waiting = self._dequeue(request)
        self.programs.withdrawn(waiting.run, waiting.step, request, waiting.seconds, self.now)
        return waiting

    def _dequeue(self, request: RequestId) -> Waiting:
        waiting = self._waiting.pop(request)
        queue = self._models[waiting.key].queue
        queue.remove(waiting)
        if not queue:
            del self._wanted[waiting.key]
            self._models[waiting.key].starved_since = None
        return waiting

    def lease(self, request: RequestId) -> ModelKey:
        """Turn a waiting request into a lease on its model's slot."""
        waiting = self._dequeue(request)
        key = waiting.key
        residency = self._residencies[key]
        assert residency.grantable, residency
        assert len(self._leases) < self.max_agents, self._leases
        self._leases[request] = key
        self._granted[request] = waiting
        if waiting.prefix:
            others = (each for each in residency.warm if each != waiting.prefix)
            residency.warm = (waiting.prefix, *others)[: residency.slots]
        residency.leases.add(request)
        residency.granted += 1
        residency.last_used = self.now
        self.programs.granted(waiting.run, waiting.step, request, key, self.now + waiting.seconds, self.now)
        return key

    def release(self, request: RequestId) -> None:
        """End a lease; where its residency vanished, only the agent is freed."""
        key = self._leases.pop(request)
        waiting = self._granted.pop(request)
        self.programs.withdrawn(waiting.run, waiting.step, request, waiting.seconds, self.now)
        residency = self._residencies.get(key)
        if residency is not None and request in residency.leases:
            residency.leases.remove(request)
            residency.last_used = self.now

    def admit(self, residency: Residency) -> None:
        """A model begins its stay in memory."""
        self._residencies[residency.key] = residency
        self._there.setdefault(residency.device, []).append(residency)

    def drop(self, key: ModelKey) -> None:
        """Forget a residency: its memory is free."""
        self.undo(key)
        self._endings += 1
        model = self._models[key]
        model.left_at, model.left_order = self.now, self._endings

    def undo(self, key: ModelKey) -> None:
        """Forget a residency that never came to be: its model keeps its place in line."""
        residency = self._residencies.pop(key)
        self._there[residency.device].remove(residency)

    def aim(self, device: str, target: ModelKey | None, drain: frozenset[ModelKey]) -> None:
        """Remember which model room is being made for on a device, and who gets no new leases there."""
        if target is not None:
            self._targets[device] = target
        elif self._targets:
            self._targets.pop(device, None)
        for residency in self.on(device):
            residency.draining = residency.key in drain
