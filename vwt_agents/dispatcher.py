"""The only task that talks to the core: it posts what happened and carries out what the core says.

Owns the clock, the request ids and the waiters. It decides nothing: which request is granted, what is loaded and who leaves
is the core's word, which `leases` and `swaps` carry out.
"""

from __future__ import annotations

import itertools
import math
from contextlib import AsyncExitStack
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Self, assert_never

import anyio

from vwt_agents.board import Board, ModelLine
from vwt_agents.core import (
    Action,
    BudgetSet,
    Closing,
    Event,
    Grant,
    Load,
    ModelKey,
    Registered,
    Reject,
    Scheduler,
    Unload,
    Vanished,
    Woken,
    explain,
)
from vwt_agents.core.admission import DEADLINE, KEPT_OUT
from vwt_agents.errors import CallFailed, CallTimeout, EndpointUnavailable, Rejected, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.leases import ANYONE, Lease, Want
from vwt_agents.messages import Heard
from vwt_agents.swaps import Serving, Swaps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vwt_agents.core import State
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.messages import OnChunk, Priority, Request, Response
    from vwt_agents.timeline import Timeline
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["Dispatcher"]

log = get_logger(__name__)

RESTARTS: Seconds = 10.0
"""A server that went away under a call may do so again for this long: one that is restarted twice is up twice."""
CLOSE_GRACE: Seconds = 1.0  # the endpoints' own clean-up comes after; together they keep Ctrl-C under 2 s


class Dispatcher:
    """A Caller over several endpoints that keeps the core's promises; an async context manager.

    `board` is kept up to date for views, `timeline` is told all that happens. Leaving the block unloads what it loaded.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        endpoints: Mapping[str, Endpoint],
        *,
        board: Board | None = None,
        clock: Callable[[], Seconds] = anyio.current_time,
        priority: Priority = "batch",
        timeline: Timeline | None = None,
    ) -> None:
        self._timeline = timeline
        self.board = board if board is not None else Board()
        self.board.waits = self.explain
        self._scheduler = scheduler
        self._endpoints = endpoints
        self._clock = clock
        self._class: Priority = priority
        self._ids = itertools.count(1)
        self._waiting: dict[RequestId, Lease] = {}
        self._tags: dict[ModelKey, ModelKey] = {}
        self._rearm = anyio.Event()
        self._wakes_at: Seconds = math.inf
        self._changed = anyio.Event()
        self._stack = AsyncExitStack()
        self._swaps = Swaps(endpoints, self.board, clock=clock, post=self.post, changed=self._tell_changed)

    async def __aenter__(self) -> Self:
        self._swaps.tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._swaps.tasks.start_soon(self._wake)
        return self

    async def __aexit__(self, *exc: object) -> None:
        # Everyone who called has left by now. What is resident is unloaded, but nobody waits long for it: an endpoint ends
        # what it started in any case.
        tasks = self._swaps.tasks
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            # In a group of its own: where the block was cancelled, all in the old one is cancelled too.
            async with anyio.create_task_group() as self._swaps.tasks:
                self.post(Closing())
                while self._scheduler.state.residencies:
                    self._swaps.resume()
                    self._changed = anyio.Event()
                    await self._changed.wait()
        self._swaps.tasks = None
        if tasks is not None:
            tasks.cancel_scope.cancel()
        await self._stack.aclose()

    @property
    def state(self) -> State:
        """The core's books, to read: they change with every event."""
        return self._scheduler.state

    # -- what the world tells the core ------------------------------------------------------------------------------

    def set_budget(self, device: str, mib: Mib) -> None:
        """The memory models may take on one device from now on."""
        self.board.budgets[device] = mib
        self.post(BudgetSet(device, mib))

    def serve(self, serving: Serving) -> None:
        """Make a model known; it is loaded once a request waits for it."""
        spec = serving.spec
        self._swaps.serving[spec.key] = serving
        self._tags.update({ModelKey(spec.key.endpoint, tag): spec.key for tag in serving.tags})
        self._tags.setdefault(spec.key, spec.key)  # one key for all that wait, and not one for each
        self.board.models[spec.key.endpoint, spec.key.model] = ModelLine(
            spec.key.endpoint, spec.key.model, spec.device, footprint=spec.footprint, slots=spec.slots
        )
        self.post(Registered(spec))

    def post(self, event: Event) -> None:
        """Tell the core what happened and carry out its answer: the one door to the core."""
        actions = self._scheduler.handle(event, now := self._clock())
        if self._timeline is not None:
            self._timeline.happened(event, actions, self._scheduler.state, now)
        for action in actions:
            self._carry_out(action)
        deadline = self._scheduler.deadline
        if deadline is not None and deadline < self._wakes_at:
            self._rearm.set()
        self._tell_changed()
        self._repaint()

    def _tell_changed(self) -> None:
        self._changed.set()

    def explain(self, request: RequestId) -> str:
        """Why a request waits, in words; empty when it does not."""
        return explain(self._scheduler.state, request) if request in self._waiting else ""

    # -- calls ------------------------------------------------------------------------------------------------------

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Wait for a slot, make the call, give the slot back. A model that died under the call is loaded again, once, and for
        as long as its server is being restarted.
        """
        heard = Heard.by(on_chunk)
        losses: list[Seconds] = []
        deadline = None if request.deadline is None else self._clock() + request.deadline
        while True:
            try:
                lease = self.lease(self._key(request), _want(request, deadline))
                try:
                    await lease.granted
                    heard.begins()
                    if deadline is None:
                        response = await self._endpoints[request.endpoint].call(request, heard)
                    else:
                        response = await self._call_until(deadline, request, heard, lease)
                finally:
                    self.give_back(lease)
                return replace(response, usage=replace(response.usage, wait_s=lease.wait_s, load_s=lease.load_s))
            except (CallFailed, EndpointUnavailable) as error:
                now = self._clock()
                if not await self._is_worth_another(request, error, heard):
                    raise
                losses.append(now)
                passes = error.retryable or (isinstance(error, EndpointUnavailable) and error.refused)
                if len(losses) > 1 and not (passes and now - losses[0] <= RESTARTS):
                    raise _lost_again(error, losses) from error
                log.warning("call.retried", model=request.model, endpoint=request.endpoint, error=error.message)

    async def _is_worth_another(self, request: Request, error: VwtError, heard: Heard) -> bool:
        """What the caller has already seen cannot be taken back, and a call that was too slow once will be again."""
        known = error is self._swaps.failures.get(self._key(request))
        final = heard.final or isinstance(error, CallTimeout) or known
        return not final and await self._lost(request, error.message)

    async def _call_until(self, deadline: Seconds, request: Request, heard: Heard, lease: Lease) -> Response:
        with anyio.move_on_after(max(0.0, deadline - self._clock())):
            return await self._endpoints[request.endpoint].call(request, heard)
        raise CallTimeout(
            f"{request.model} had not answered within {request.deadline:g} s, {lease.wait_s:.1f} s of it queued",
            hint="raise the agent's deadline, or ask it for less",
        )

    def lease(self, key: ModelKey, want: Want = ANYONE) -> Lease:
        """A slot of a resident model, once its `granted` has been awaited; it is to be given back in any case."""
        if key not in self._swaps.serving:
            raise Rejected(f"model {key.model!r} on endpoint {key.endpoint!r} is not served in this run")
        request = next(self._ids)
        lease = self._waiting[request] = Lease(request, key, self._clock())
        self.board.queue[request] = want.labels.get("stage", "")
        if self._timeline is not None:
            self._timeline.asked(request, key, want.labels, want.call, lease.submitted)
        self.post(want.submitted(request, key, self._class))
        return lease

    def give_back(self, lease: Lease) -> None:
        """End a lease, or the wait for it."""
        self._ends_wait(lease)
        if event := lease.give_back():
            self.post(event)

    def _ends_wait(self, lease: Lease) -> None:
        self._waiting.pop(lease.request, None)
        self.board.queue.pop(lease.request, None)

    def _key(self, request: Request) -> ModelKey:
        """The residency that serves it."""
        asked = ModelKey(request.endpoint, request.model)
        return self._tags.get(asked, asked)

    async def _lost(self, request: Request, why: str) -> bool:
        """True when the model is no longer resident there; the core has then been told."""
        key = self._key(request)
        try:
            with anyio.fail_after(5):
                there = await self._endpoints[request.endpoint].resident()
        except (VwtError, TimeoutError):
            there = ()
        if any(residence.model == key.model for residence in there):
            return False
        self.post(Vanished(key, why))
        return True

    # -- what the core says -----------------------------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        match action:
            case Grant(request=request):
                lease, now = self._waiting[request], self._clock()
                lease.wait_s, lease.load_s = (
                    now - lease.submitted,
                    self._swaps.load_share(lease.key, lease.submitted, now),
                )
                self._ends_wait(lease)
                lease.end_wait()
            case Reject(request=request, reason=reason):
                lease = self._waiting[request]
                self._ends_wait(lease)
                lease.end_wait(self._refusal(lease.key, reason))
            case Load(key=key):
                self._swaps.load(key)
            case Unload(key=key, why=why):
                self._swaps.unload(key, why)
            case _:
                assert_never(action)

    def _refusal(self, key: ModelKey, reason: str) -> VwtError:
        if reason.startswith(DEADLINE):
            hint = "raise the agent's deadline, or have fewer agents at work at once"
            return CallTimeout(f"{key.model} was not free in time: {reason}", hint=hint)
        failure = self._swaps.failures.get(key)
        if failure is not None and reason.endswith(failure.message):
            return failure
        if KEPT_OUT in reason:
            hint = "`python -m vwt_agents doctor` shows who holds what; [scheduler] patience is how long to wait for it"
            return Rejected(reason, hint=hint)
        return Rejected(reason)

    async def _wake(self) -> None:
        """Post Woken when the core's deadline passes; where it has moved on since, Woken changes nothing."""
        while True:
            self._rearm = anyio.Event()
            deadline = self._scheduler.deadline
            self._wakes_at = math.inf if deadline is None else deadline
            with anyio.move_on_after(max(0.0, self._wakes_at - self._clock())):
                await self._rearm.wait()
                continue
            self.post(Woken())

    def _repaint(self) -> None:
        state = self._scheduler.state
        for key in self._swaps.serving:
            line, residency = self.board.models[key], state.residencies.get(key)
            line.phase = residency.phase if residency is not None else "out"
            line.leases = len(residency.leases) if residency is not None else 0
            line.footprint = residency.footprint if residency is not None else line.footprint
        for device in self.board.budgets:  # what a load is believed to take is nothing that was taken: it may fail
            taken = sum(each.footprint for each in state.on(device) if each.phase != "loading")
            self.board.peaks[device] = max(self.board.peaks.get(device, 0), taken)
        self.board.changed()


def _lost_again(error: CallFailed | EndpointUnavailable, losses: Sequence[Seconds]) -> VwtError:
    """The error, which also says why the call is not made once more."""
    said = copy(error)
    apart = losses[-1] - losses[0]
    said.message = f"{error.message}; its model was lost {len(losses)} times under this call, within {apart:.0f} s"
    return said


def _want(request: Request, deadline: Seconds | None) -> Want:
    return Want(request.labels, request.priority, deadline, request.prefix, request.call)
