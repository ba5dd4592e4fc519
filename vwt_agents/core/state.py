"""Residencies, leases, queues and budgets as the core believes them to be. Owns the facts and their arithmetic.

Never decides anything and never asks the clock. Its queries are for everyone; its verbs (from `register` on) are called
by `Scheduler.handle` only, so what a holder of the state sees changes between events and at no other time.

Memory is believed, not known: a residency counts with its footprint from the Load action until its memory is reported
free.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from vwt_agents.core.queue import Queue, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vwt_agents.core.specs import ModelKey, ModelSpec
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["Model", "Phase", "Residency", "State"]

Phase: TypeAlias = Literal["loading", "resident", "unloading"]


@dataclass(slots=True)
class Model:
    """A registered model: its spec (with the footprint last measured), who waits for it, and its history.

    `load_s` is how long its last load took. `left_at` and `left_order` say when its last residency ended, as a moment
    and as a count of all endings, so that two endings at one moment still have an order.
    """

    spec: ModelSpec
    queue: Queue = field(default_factory=Queue)
    load_s: Seconds = 0.0
    left_at: Seconds = -inf
    left_order: int = 0


@dataclass(frozen=True, slots=True)
class Residency:
    """A model's stay in memory, with the device, footprint and slots it was loaded with; `since` is when its phase
    began.

    `granted` counts the leases it ever had. `draining`: no new leases. `stays_until`: no unload before, the last one
    failed.
    """

    key: ModelKey
    device: str
    footprint: Mib
    slots: int
    phase: Phase
    since: Seconds
    last_used: Seconds
    leases: frozenset[RequestId] = frozenset()
    granted: int = 0
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
        self._budgets: dict[str, Mib] = {}
        self._waiting: dict[RequestId, Waiting] = {}
        self._leases: dict[RequestId, ModelKey] = {}
        self._targets: dict[str, ModelKey] = {}
        self._endings = 0

    @property
    def models(self) -> Mapping[ModelKey, Model]:
        """Every registered model."""
        return MappingProxyType(self._models)

    @property
    def residencies(self) -> Mapping[ModelKey, Residency]:
        """Every model that takes memory: loading, resident or unloading."""
        return MappingProxyType(self._residencies)

    @property
    def waiting(self) -> Mapping[RequestId, Waiting]:
        """Every request that has neither been granted nor ended."""
        return MappingProxyType(self._waiting)

    @property
    def leases(self) -> Mapping[RequestId, ModelKey]:
        """Every granted request that has not been released, also where the residency vanished under it."""
        return MappingProxyType(self._leases)

    @property
    def targets(self) -> Mapping[str, ModelKey]:
        """By device: the model that room is being made for."""
        return MappingProxyType(self._targets)

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device a model belongs to or still is on, in a fixed order."""
        specs = {model.spec.device for model in self._models.values()}
        return tuple(sorted(specs | {residency.device for residency in self._residencies.values()}))

    def on(self, device: str) -> tuple[Residency, ...]:
        """The residencies of one device."""
        return tuple(residency for residency in self._residencies.values() if residency.device == device)

    def cold(self, device: str) -> Iterator[Model]:
        """The models of one device that requests wait for and that take no memory at all."""
        for key, model in self._models.items():
            if model.spec.device == device and key not in self._residencies and model.queue:
                yield model

    def budget(self, device: str) -> Mib:
        """What all models together may take there; 0 until it is set."""
        return self._budgets.get(device, 0)

    def used(self, device: str) -> Mib:
        """What is taken there by everything loading, resident or unloading."""
        return sum(residency.footprint for residency in self.on(device))

    def leaving(self, device: str) -> Mib:
        """The part of `used` that unloads under way will free."""
        return sum(residency.footprint for residency in self.on(device) if residency.phase == "unloading")

    def headroom(self, device: str) -> Mib:
        """What is left there now; negative while over budget."""
        return self.budget(device) - self.used(device)

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
            self._models[spec.key] = Model(spec)

    def set_budget(self, device: str, mib: Mib) -> None:
        """Remember what models may take there."""
        self._budgets[device] = mib

    def enqueue(self, waiting: Waiting) -> None:
        """Let a request wait for its model."""
        self._waiting[waiting.request] = waiting
        self._models[waiting.key].queue.add(waiting)

    def dequeue(self, request: RequestId) -> Waiting:
        """Take a waiting request out."""
        waiting = self._waiting.pop(request)
        self._models[waiting.key].queue.remove(waiting)
        return waiting

    def lease(self, request: RequestId) -> ModelKey:
        """Turn a waiting request into a lease on its model's slot."""
        key = self.dequeue(request).key
        residency = self._residencies[key]
        assert residency.grantable, residency
        assert len(self._leases) < self.max_agents, self._leases
        self._leases[request] = key
        self.put(
            replace(
                residency,
                leases=residency.leases | {request},
                granted=residency.granted + 1,
                last_used=self.now,
            )
        )
        return key

    def release(self, request: RequestId) -> None:
        """End a lease; where its residency vanished, only the agent is freed."""
        key = self._leases.pop(request)
        residency = self._residencies.get(key)
        if residency is not None and request in residency.leases:
            self.put(replace(residency, leases=residency.leases - {request}, last_used=self.now))

    def put(self, residency: Residency) -> None:
        """Remember a residency as it is now."""
        self._residencies[residency.key] = residency

    def drop(self, key: ModelKey) -> None:
        """Forget a residency: its memory is free."""
        del self._residencies[key]
        self._endings += 1
        model = self._models[key]
        model.left_at, model.left_order = self.now, self._endings

    def aim(self, device: str, target: ModelKey | None, drain: frozenset[ModelKey]) -> None:
        """Remember which model room is being made for on a device, and who gets no new leases there."""
        self._targets.pop(device, None)
        if target is not None:
            self._targets[device] = target
        for residency in self.on(device):
            if residency.draining != (residency.key in drain):
                self.put(replace(residency, draining=not residency.draining))
