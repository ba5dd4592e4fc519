"""How others schedule swaps, as policies of the same core: what brokers and Ollama do, and what theory calls them.

The core enforces the same rules on all of them (budget, slots, one load at a time, no victim with a lease), so only their
preferences differ. None looks ahead. Where a rule depends on what happened before (how often a request was passed over),
the policy remembers it from the books it is shown: asked twice, it answers the same. One object serves one simulation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vwt_agents.core import Placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vwt_agents.core import ModelKey, Policy, Residency, State, Waiting
    from vwt_agents.types import RequestId, Seconds

__all__ = ["RIVALS", "Affinity", "Exhaustive", "Fifo", "Gated", "Ollama"]


def arrival(waiting: Waiting) -> tuple[Seconds, RequestId]:
    """A request's place in line where all models share one line."""
    return waiting.since, waiting.request


def idle_first(residency: Residency) -> tuple[bool, Seconds, ModelKey]:
    """Least recently used; what is in use counts as used now."""
    return not residency.idle, residency.last_used, residency.key


class _Rival:
    """What all rivals share: one cold request at a time is made room for; nothing expires, no moment matters."""

    def expired(self, state: State, device: str) -> tuple[ModelKey, ...]:
        """Nobody: a keep-alive is not what is compared."""
        del state, device
        return ()

    def wake_at(self, state: State) -> Seconds | None:
        """Never: only events change an answer."""
        del state
        return None

    def placement(self, state: State, device: str) -> Placement:
        """Load for the cold request in front, over victims that are all idle; wait for them otherwise."""
        there = state.on(device)
        if any(residency.phase != "resident" for residency in there):
            return Placement()
        wanted = self.wanted(state, device)
        if wanted is None:
            return Placement()
        need = state.models[wanted.key].spec.footprint - state.headroom(device)
        victims = self.victims(state, wanted, need, there)
        if victims is None or not all(victim.idle for victim in victims):
            return Placement(target=wanted.key)
        return Placement(
            target=wanted.key,
            load=need <= 0,
            unload=tuple(victim.key for victim in victims),
            why=f"room for {wanted.key}",
        )

    def next_grant(self, state: State) -> RequestId | None:
        """The first in line of those that may go and whose model has a free slot."""
        if len(state.leases) >= state.max_agents:
            return None
        free = (waiting for waiting in self.admitted(state) if _grantable(state, waiting.key))
        first = min(free, key=arrival, default=None)
        return None if first is None else first.request

    def wanted(self, state: State, device: str) -> Waiting | None:
        """The cold request that room is made for: the oldest."""
        return min(_cold(state, device), key=arrival, default=None)

    def admitted(self, state: State) -> Iterable[Waiting]:
        """The requests that may be granted now: all."""
        return state.waiting.values()

    def victims(
        self, state: State, wanted: Waiting, need: int, there: Iterable[Residency]
    ) -> tuple[Residency, ...] | None:
        """Who leaves for it; None while not enough may leave. Least recently used first, nobody waited for."""
        del wanted
        unwanted = [residency for residency in there if not state.models[residency.key].queue]
        return _enough(need, sorted(unwanted, key=idle_first))


class Fifo(_Rival):
    """One line for all: only the oldest waiting request may be granted or loaded for; least recently used leaves."""

    def wanted(self, state: State, device: str) -> Waiting | None:
        """The oldest of all, if it is cold."""
        del device
        head = _head(state)
        return head if head is not None and head.key not in state.residencies else None

    def admitted(self, state: State) -> Iterable[Waiting]:
        """The oldest of all."""
        head = _head(state)
        return () if head is None else (head,)

    def victims(
        self, state: State, wanted: Waiting, need: int, there: Iterable[Residency]
    ) -> tuple[Residency, ...] | None:
        """Also a model that younger requests wait for."""
        del state, wanted
        return _enough(need, sorted(there, key=idle_first))


class Exhaustive(_Rival):
    """What is resident is served until nobody waits for it. No bound on anybody's wait."""


class Affinity(_Rival):
    """Exhaustive, but nobody is passed over more than `skips` times: then all younger requests wait until it is granted."""

    def __init__(self, skips: int = 3) -> None:
        self.skips = skips
        self._passed: dict[RequestId, int] = {}
        self._waiting: dict[RequestId, Waiting] = {}

    def wanted(self, state: State, device: str) -> Waiting | None:
        """The oldest cold request."""
        self._observe(state)
        return super().wanted(state, device)

    def admitted(self, state: State) -> Iterable[Waiting]:
        """Those older than the first that has been passed over often enough."""
        stop = self._stop(state)
        return (waiting for waiting in state.waiting.values() if stop is None or arrival(waiting) <= arrival(stop))

    def victims(
        self, state: State, wanted: Waiting, need: int, there: Iterable[Residency]
    ) -> tuple[Residency, ...] | None:
        """Those nobody waits for; for a request that was passed over often enough, any."""
        stop = self._stop(state)
        if stop is not None and stop.request == wanted.request:
            return _enough(need, sorted(there, key=idle_first))
        return super().victims(state, wanted, need, there)

    def _stop(self, state: State) -> Waiting | None:
        self._observe(state)
        often = (waiting for waiting in state.waiting.values() if self._passed.get(waiting.request, 0) >= self.skips)
        return min(often, key=arrival, default=None)

    def _observe(self, state: State) -> None:
        for request, granted in list(self._waiting.items()):
            if request in state.leases:
                for older in state.waiting.values():
                    if arrival(older) < arrival(granted):
                        self._passed[older.request] = self._passed.get(older.request, 0) + 1
            if request not in state.waiting:
                del self._waiting[request]
        for request in state.waiting.keys() - self._waiting.keys():
            self._waiting[request] = state.waiting[request]


class Gated(_Rival):
    """A visit serves those that waited when the model had been loaded; what comes later waits where others are cold."""

    def admitted(self, state: State) -> Iterable[Waiting]:
        """Those that came before the gate fell, and all where no cold model is waited for."""
        return (waiting for waiting in state.waiting.values() if not self._shut_out(state, waiting))

    def victims(
        self, state: State, wanted: Waiting, need: int, there: Iterable[Residency]
    ) -> tuple[Residency, ...] | None:
        """Those that have served all within their gate."""
        del wanted
        done = [
            residency
            for residency in there
            if all(self._shut_out(state, waiting) for waiting in state.models[residency.key].queue)
        ]
        return _enough(need, sorted(done, key=idle_first))

    @staticmethod
    def _shut_out(state: State, waiting: Waiting) -> bool:
        residency = state.residencies.get(waiting.key)
        if residency is None or waiting.since <= residency.since:
            return False
        return any(True for _ in _cold(state, residency.device))


class Ollama(_Rival):
    """Ollama's own rule: a request whose model is resident goes past the line, all others keep to it.

    A request that came while its model was cold or loading waits in one line: behind a cold one nobody moves, even
    once its own model is there. A model is loaded beside others only where it takes at most `fit` of what is free. The
    first idle by name leaves; if none is idle, the first by name is waited for and goes on serving meanwhile.
    """

    def __init__(self, fit: float = 0.8) -> None:
        self.fit = fit
        self._leaving: ModelKey | None = None

    def admitted(self, state: State) -> Iterable[Waiting]:
        """The residents' own, and the line up to the first cold one."""
        cold = (waiting for waiting in state.waiting.values() if not _resident(state, waiting.key))
        first = min(cold, key=arrival, default=None)
        for waiting in state.waiting.values():
            residency = state.residencies.get(waiting.key)
            past_the_line = residency is not None and residency.phase == "resident" and waiting.since >= residency.since
            if first is None or past_the_line or arrival(waiting) < arrival(first):
                yield waiting

    def victims(
        self, state: State, wanted: Waiting, need: int, there: Iterable[Residency]
    ) -> tuple[Residency, ...] | None:
        """One at a time, until it fits beside what is left."""
        del need
        there = sorted(there, key=lambda residency: residency.key)
        free, takes = state.headroom(wanted_device(state, wanted)), state.models[wanted.key].spec.footprint
        if not there or takes <= self.fit * free:
            self._leaving = None
            return ()
        if self._leaving not in {residency.key for residency in there}:
            first = min(there, key=lambda residency: (not self._unused(state, residency), residency.key))
            self._leaving = first.key
        victim = state.residencies[self._leaving]
        return (victim,) if self._unused(state, victim) else None

    def _unused(self, state: State, residency: Residency) -> bool:
        return residency.idle and all(waiting.key != residency.key for waiting in self.admitted(state))


RIVALS: Final[dict[str, Callable[[], Policy]]] = {
    "fifo": Fifo,
    "ollama": Ollama,
    "ollama, full fit": lambda: Ollama(fit=1.0),
    "skip 3": Affinity,
    "exhaustive": Exhaustive,
    "gated": Gated,
}
"""By name, how to make one for a simulation."""


def wanted_device(state: State, waiting: Waiting) -> str:
    """The device a request's model belongs on."""
    return state.models[waiting.key].spec.device


def _head(state: State) -> Waiting | None:
    return min(state.waiting.values(), key=arrival, default=None)


def _cold(state: State, device: str) -> Iterator[Waiting]:
    for waiting in state.waiting.values():
        if waiting.key not in state.residencies and state.models[waiting.key].spec.device == device:
            yield waiting


def _resident(state: State, key: ModelKey) -> bool:
    residency = state.residencies.get(key)
    return residency is not None and residency.phase == "resident"


def _grantable(state: State, key: ModelKey) -> bool:
    residency = state.residencies.get(key)
    return residency is not None and residency.grantable


def _enough(need: int, candidates: Iterable[Residency]) -> tuple[Residency, ...] | None:
    """The first of them that free `need` together; None if all do not."""
    chosen: list[Residency] = []
    for residency in candidates:
        if need <= 0:
            break
        chosen.append(residency)
        need -= residency.footprint
    return tuple(chosen) if need <= 0 else None
