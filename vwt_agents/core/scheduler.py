"""The one door of the core: `handle(event, now) -> actions`, `deadline`, `state`. Nothing else changes the state.

The core is the GPU budget, as a weighted semaphore over loads: at the moment a Load action is issued, the believed
footprints of everything loading, resident and unloading on its device, the new one included, sum to no more than the
device's budget less what others take of it. Between loads the sum can come to exceed it (a load measured larger than
estimated, a budget that shrank, an adopted model, others that took more); then no load starts there and idle
residencies are unloaded until it is back within. Also always true, whatever the policy:

- no residency is told to unload while anyone holds a lease on it;
- at most one load at a time is under way per device;
- at most `max_agents` leases are held, and on a residency at most its slots;
- every submitted request ends exactly once: granted and then released, cancelled, or rejected;
- the same events at the same moments give the same actions.

Reads no clock and does no I/O. What is loaded, drained and granted first is the policy's business (placement.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

from vwt_agents.core.actions import Action, Grant, Load, Reject, Unload
from vwt_agents.core.admission import admit, hopeless, kept_out, too_late, unknown
from vwt_agents.core.events import (
    Announced,
    BudgetSet,
    Cancelled,
    Closing,
    Event,
    LoadDeferred,
    Loaded,
    LoadFailed,
    Occupied,
    Pressed,
    Registered,
    Released,
    RequestEvent,
    ResidencyEvent,
    RunEnded,
    RunEvent,
    SettingEvent,
    StepBegan,
    StepEnded,
    Submitted,
    Unloaded,
    UnloadFailed,
    Vanished,
    Woken,
)
from vwt_agents.core.program_aware import ProgramAware
from vwt_agents.core.specs import REQUEST_CLASSES
from vwt_agents.core.state import Pressure, Residency, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vwt_agents.core.placement import Placement, Policy
    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.types import Seconds

__all__ = ["LOAD_RETRY", "UNLOAD_RETRY", "Scheduler"]

UNLOAD_RETRY: Final[Seconds] = 5.0
"""Seconds until an unload that failed is tried again."""

LOAD_RETRY: Final[Seconds] = 0.5
"""Seconds until a load that was deferred is tried again."""

SAME_WAIT: Final[Seconds] = 5.0
"""How long after it a retry that is deferred as well is the same wait: a busy machine may be late with it."""

PATIENCE: Final[Seconds] = 600.0
"""How long requests wait for memory that others hold before they are rejected."""

LEARN: Final = 0.5
"""The weight of the last load in how long the next is believed to take."""


class Scheduler:
    """Decides who is in memory and who may call: tell it what happened and when, do what it says, wake it at its
    deadline.

    `max_wait` is, by class, how long a request may wait before its model is due. Moments come from one clock that never
    runs backwards (an earlier one counts as the latest seen). ValueError where an argument makes no sense.
    """

    def __init__(
        self,
        *,
        max_agents: int,
        max_wait: Mapping[RequestClass, Seconds],
        patience: Seconds = PATIENCE,
        policy: Policy | None = None,
    ) -> None:
        if max_agents < 1:
            raise ValueError(f"max_agents={max_agents}; at least 1 agent is needed for anything to run")
        if missing := [klass for klass in REQUEST_CLASSES if klass not in max_wait]:
            raise ValueError(f"max_wait has no bound for {', '.join(missing)}; it needs one for each class")
        self._state = State(max_agents=max_agents)
        self._max_wait = dict(max_wait)
        self._patience = patience
        self._patient = max(REQUEST_CLASSES, key=lambda klass: max_wait[klass])
        self._policy: Policy = ProgramAware() if policy is None else policy
        self._actions: list[Action] = []
        self._doubtful: set[ModelKey] = set()  # whose requests may never be granted, for all that has changed

    @property
    def state(self) -> State:
        """The books, to read: they change with every event."""
        return self._state

    @property
    def deadline(self) -> Seconds | None:
        """The moment at which the core wants `Woken`; None while only another event can change anything."""
        moments = [self._policy.wake_at(self._state)]
        if first := self._state.soonest_deadline():
            moments.append(first.deadline)
        for model in self._state.starved():
            moments.append((model.starved_since or 0.0) + self._patience)
            moments.append(model.not_before if model.not_before > self._state.now else None)
        return min((moment for moment in moments if moment is not None), default=None)

    def handle(self, event: Event, now: Seconds) -> tuple[Action, ...]:
        """What to do, in this order, now that the event has happened. ValueError for a request id that is in use."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: Seconds) -> tuple[Action, ...]:
        """What to do now that all these happened, in their order and at one moment: decided once, knowing them all.

        After an error what came before it has happened, and is answered with what comes next.
        """
        self._state.now = max(self._state.now, now)
        for event in events:
            self._apply(event)
        self._give_up()
        self._lose_patience()
        self._plan()
        actions, self._actions = tuple(self._actions), []
        return actions

    def _apply(self, event: Event) -> None:
        match event:
            case Registered() | BudgetSet() | Occupied() | Pressed() | Closing():
                self._apply_setting(event)
            case Submitted() | Cancelled() | Released():
                self._apply_request(event)
            case Announced() | StepBegan() | StepEnded() | RunEnded():
                self._apply_run(event)
            case Loaded() | LoadFailed() | LoadDeferred() | Unloaded() | UnloadFailed() | Vanished():
                self._apply_residency(event)
            case Woken():
                pass
            case _:
                assert_never(event)

    def _apply_setting(self, event: SettingEvent) -> None:
        match event:
            case Registered(spec):
                self._state.register(spec)
            case BudgetSet(device, mib):
                self._state.set_budget(device, mib)
            case Occupied(device, mib):
                self._state.occupy(device, mib)
            case Pressed(device, mib, due, key, wanted):
                self._state.press(device if key is None else key, Pressure(mib, due, wanted) if mib else None)
            case Closing():
                self._state.closing = True
            case _:
                assert_never(event)
        self._doubtful.update(self._state.wanted)

    def _apply_run(self, event: RunEvent) -> None:
        programs, now = self._state.programs, self._state.now
        match event:
            case Announced(run, steps, klass):
                programs.announce(run, steps, klass, self._state.swap_cost, now)
            case StepBegan(run, step):
                programs.begin(run, step, now)
            case StepEnded(run, step):
                programs.end(run, step, now)
            case RunEnded(run):
                programs.forget(run)
            case _:
                assert_never(event)

    def _apply_request(self, event: RequestEvent) -> None:
        state = self._state
        match event:
            case Submitted():
                self._submit(event)
            case Cancelled(request):
                if request in state.waiting:
                    state.withdraw(request)
                elif request in state.leases:
                    state.release(request)
            case Released(request):
                if request in state.leases:
                    state.release(request)
            case _:
                assert_never(event)

    def _submit(self, event: Submitted) -> None:
        state = self._state
        if event.request in state.waiting or event.request in state.leases:
            raise ValueError(f"request {event.request} was submitted already and has not ended; use a new id")
        if event.key in state.models:
            self._doubtful.add(event.key)
            lane = self._patient if event.tier == "large" else event.klass
            state.enqueue(admit(state, event, lane, self._max_wait[lane]))
        else:
            self._actions.append(Reject(event.request, unknown(state, event.key)))

    def _apply_residency(self, event: ResidencyEvent) -> None:
        """Only what answers the residency's phase counts; a report that came too late changes nothing."""
        state = self._state
        residency = state.residencies.get(event.key)
        match event, residency.phase if residency else None:
            case Loaded(key, measured), "loading" | "resident" | None:
                self._loaded(key, residency, measured)
            case LoadFailed(key, reason), "loading":
                state.drop(key)
                state.models[key].failed = True
                self._reject_all(key, f"{key} could not be loaded: {reason}")
            case LoadDeferred(key, reason), "loading":
                state.undo(key)
                state.models[key].not_before, state.models[key].why = state.now + LOAD_RETRY, reason
            case UnloadFailed(), "unloading" if residency is not None:
                residency.phase, residency.stays_until = "resident", state.now + UNLOAD_RETRY
            case Unloaded(key), "unloading" | "resident":
                state.drop(key)
            case Vanished(key), "resident":
                state.drop(key)
                state.models[key].failed = True
            case _:
                pass

    def _loaded(self, key: ModelKey, residency: Residency | None, measured: int | None) -> None:
        """A load of ours is done, a model we did not load is adopted, or a resident one was measured again."""
        state = self._state
        model = state.models.get(key)
        if model is None:
            return
        if measured is not None:
            state.register(replace(model.spec, footprint=measured))
            self._doubtful.add(key)
        model.failed, model.starved_since, model.why = False, None, ""
        if residency is None:
            residency = self._residency(key)
            state.admit(residency)
        elif residency.phase == "loading":
            took = state.now - residency.since
            model.load_s = took if not model.loads else model.load_s + LEARN * (took - model.load_s)
            model.loads += 1
        if residency.phase == "loading":
            residency.phase, residency.since, residency.last_used = "resident", state.now, state.now
        if measured is not None:
            residency.footprint = measured

    def _residency(self, key: ModelKey) -> Residency:
        spec, now = self._state.models[key].spec, self._state.now
        return Residency(key, spec.device, spec.footprint, spec.slots, phase="loading", since=now, last_used=now)

    def _give_up(self) -> None:
        """Reject the requests whose deadline has passed while they waited."""
        state, now = self._state, self._state.now
        while (waiting := state.soonest_deadline()) and waiting.deadline is not None and waiting.deadline <= now:
            state.withdraw(waiting.request)
            self._actions.append(Reject(waiting.request, too_late(state, waiting)))

    def _lose_patience(self) -> None:
        """Note since when others have kept out a model that requests wait for; reject these once that was too long."""
        state = self._state
        for key, model in list(state.wanted.items()):
            if key in state.residencies:
                continue
            deferred = state.now <= model.not_before + SAME_WAIT
            if not deferred and model.spec.footprint <= state.available(model.spec.device):
                model.starved_since, model.why = None, ""
            elif model.starved_since is None:
                model.starved_since = state.now
            elif state.now >= model.starved_since + self._patience:
                self._reject_all(key, kept_out(state, model))

    def _plan(self) -> None:
        """Until nothing is left to do: 1. reject what can never be granted; 2. let go of what has idled long enough, or
        of all that is idle when closing; 3. load, unload and drain on each device; 4. grant while an agent and a slot
        are free.
        """
        planned = -1
        while planned < len(self._actions):
            planned = len(self._actions)
            # 1
            if self._doubtful:
                for key in sorted(self._doubtful & self._state.wanted.keys()):
                    if reason := hopeless(self._state, key):
                        self._reject_all(key, reason)
                self._doubtful.clear()
            for device in self._state.devices:
                # 2
                self._expire(device)
                # 3
                if not self._state.closing:
                    self._place(device, self._policy.placement(self._state, device))
            # 4
            while (request := self._policy.next_grant(self._state)) is not None:
                self._actions.append(Grant(request, self._state.lease(request)))

    def _expire(self, device: str) -> None:
        if not self._state.closing:
            for key in self._policy.expired(self._state, device):
                self._unload(key, f"idle for {self._state.models[key].spec.keep_alive} s")
            return
        for residency in self._state.on(device):
            if residency.idle and residency.stays_until <= self._state.now:
                self._unload(residency.key, "closing")

    def _place(self, device: str, placement: Placement) -> None:
        self._state.aim(device, placement.target, placement.drain)
        for key in placement.unload:
            self._unload(key, placement.why)
        if placement.load and placement.target is not None:
            self._load(placement.target)

    def _load(self, key: ModelKey) -> None:
        residency = self._residency(key)
        there = self._state.on(residency.device)
        assert key not in self._state.residencies, key
        assert residency.footprint <= self._state.headroom(residency.device), residency
        assert all(other.phase != "loading" for other in there), there
        self._state.admit(residency)
        self._actions.append(Load(key))

    def _unload(self, key: ModelKey, why: str) -> None:
        residency = self._state.residencies[key]
        assert residency.idle, residency
        residency.phase, residency.since, residency.draining = "unloading", self._state.now, False
        self._actions.append(Unload(key, why))

    def _reject_all(self, key: ModelKey, reason: str) -> None:
        for waiting in list(self._state.models[key].queue):
            self._state.withdraw(waiting.request)
            self._actions.append(Reject(waiting.request, reason))
