"""The only task that talks to the core: it posts what happened and carries out what the core says.

Owns the clock, the request ids, the waiters and the tasks that load and unload. It decides nothing: which request is granted,
what is loaded and who leaves is the core's word. A load belongs to the dispatcher, not to the request that caused it, so it
survives a requester that leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Self, assert_never

import anyio

from vwt_agents.board import Board, ModelLine, Swap
from vwt_agents.core import (
    Action,
    BudgetSet,
    Cancelled,
    Closing,
    Event,
    Grant,
    Load,
    LoadDeferred,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Reject,
    Released,
    Scheduler,
    Submitted,
    Unload,
    Unloaded,
    Vanished,
    Woken,
    explain,
)
from vwt_agents.core import LoadFailed as LoadFailedEvent
from vwt_agents.core import UnloadFailed as UnloadFailedEvent
from vwt_agents.core.scheduler import DEADLINE, KEPT_OUT
from vwt_agents.errors import (
    CallFailed,
    CallTimeout,
    EndpointUnavailable,
    LoadFailed,
    MemoryTaken,
    Rejected,
    UnloadFailed,
    VwtError,
)
from vwt_agents.eventlog import get_logger
from vwt_agents.messages import Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import TaskGroup

    from vwt_agents.core import State
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.messages import OnChunk, Priority, Request, Response
    from vwt_agents.timeline import Timeline
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["Dispatcher", "Lease", "Serving", "Want"]

log = get_logger(__name__)

CLOSE_GRACE: Seconds = 1.0  # the endpoints' own clean-up comes after; together they keep Ctrl-C under 2 s


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is to be served for as long as this process lives: constant, because a change would reload it.

    `tags` are other names of the same weights: requests for them are served by the same residency, as themselves.
    """

    spec: ModelSpec
    num_ctx: int
    load_timeout: Seconds = 300.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Want:
    """Who wants a lease, and how much: labels (run, stage, tier), class, the moment from which it is of no use, prefix."""

    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    priority: Priority | None = None
    deadline: Seconds | None = None
    prefix: str = ""

    def submitted(self, request: RequestId, key: ModelKey, priority: Priority) -> Submitted:
        """The event that says so; `priority` is that of whoever does not say."""
        return Submitted(
            request,
            key,
            run=self.labels.get("run", ""),
            tier=self.labels.get("tier", "small"),
            klass=self.priority or priority,
            step=self.labels.get("stage", ""),
            prefix=self.prefix,
            deadline=self.deadline,
        )


ANYONE: Final = Want()


class Lease:
    """A request's hold on a slot for the length of a `with` block, in which it is to await `granted` first.

    `granted` raises Rejected or LoadFailed when there will never be a slot. `wait_s` is what the request waited for it,
    `load_s` the part in which its model was being loaded. One is there for all who wait, so it is small, and a block of
    its own frame (`asynccontextmanager`) would be several times its size.
    """

    __slots__ = ("_dispatcher", "granted", "key", "load_s", "request", "submitted", "wait_s")

    def __init__(self, dispatcher: Dispatcher, request: RequestId, key: ModelKey, submitted: Seconds) -> None:
        self._dispatcher = dispatcher
        self.request = request
        self.key = key
        self.submitted = submitted
        # A future and not an event: one waits for it, and it takes a sixth of the memory.
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wait_s: Seconds = 0.0
        self.load_s: Seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._dispatcher.give_back(self)

    def end_wait(self, error: VwtError | None = None) -> None:
        """Wake whoever waits, unless he has left: with his slot, or with the reason why he will have none."""
        if self.granted.done():
            return
        if error is None:
            self.granted.set_result(None)
        else:
            self.granted.set_exception(error)
            self.granted.exception()  # seen: where he is cancelled before he wakes, nobody misses it

    def give_back(self) -> Released | Cancelled | None:
        """The event that says so; None where the core has ended the request."""
        if not self.granted.done() or self.granted.cancelled():
            return Cancelled(self.request)
        return Released(self.request) if self.granted.exception() is None else None


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
        self._serving: dict[ModelKey, Serving] = {}
        self._tags: dict[ModelKey, ModelKey] = {}
        self._failures: dict[ModelKey, VwtError] = {}
        self._cut_off: list[tuple[ModelKey, str]] = []  # unloads that were cancelled with the block, and their reasons
        self._load_ended: dict[ModelKey, tuple[Seconds, Seconds]] = {}
        self._rearm = anyio.Event()
        self._wakes_at: Seconds = math.inf
        self._changed = anyio.Event()
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._tasks.start_soon(self._wake)
        return self

    async def __aexit__(self, *exc: object) -> None:
        # Everyone who called has left by now. What is resident is unloaded, but nobody waits long for it: an endpoint ends
        # what it started in any case.
        tasks = self._tasks
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            # In a group of its own: where the block was cancelled, all in the old one is cancelled too.
            async with anyio.create_task_group() as self._tasks:
                self.post(Closing())
                while self._scheduler.state.residencies:
                    while self._cut_off:
                        self._start(self._unload, *self._cut_off.pop())
                    self._changed = anyio.Event()
                    await self._changed.wait()
        self._tasks = None
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
        self._serving[spec.key] = serving
        self._tags.update({ModelKey(spec.key.endpoint, tag): spec.key for tag in serving.tags})
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
        self._changed.set()
        self._repaint()

    def explain(self, request: RequestId) -> str:
        """Why a request waits, in words; empty when it does not."""
        return explain(self._scheduler.state, request) if request in self._waiting else ""

    # -- calls ------------------------------------------------------------------------------------------------------

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Wait for a slot, make the call, give the slot back. A model that died under the call is loaded again, once."""
        heard, asked = Heard.by(on_chunk), self._clock()
        deadline = None if request.deadline is None else asked + request.deadline
        again = False
        while True:
            try:
                with self.lease(self._key(request), _want(request, deadline)) as lease:
                    await lease.granted
                    if deadline is None:
                        response = await self._endpoints[request.endpoint].call(request, heard)
                    else:
                        response = await self._call_until(deadline, request, heard, lease)
                usage = replace(response.usage, wait_s=lease.wait_s, load_s=lease.load_s)
                return replace(response, usage=usage)
            except (CallFailed, EndpointUnavailable) as error:
                # What the caller has already seen cannot be taken back, and a call that was too slow once will be again.
                known = error is self._failures.get(self._key(request))
                final = again or heard.final or isinstance(error, CallTimeout) or known
                if final or not await self._lost(request, error.message):
                    raise
                log.warning("call.retried", model=request.model, endpoint=request.endpoint, error=error.message)
                again = True

    async def _call_until(self, deadline: Seconds, request: Request, heard: Heard, lease: Lease) -> Response:
        with anyio.move_on_after(max(0.0, deadline - self._clock())):
            return await self._endpoints[request.endpoint].call(request, heard)
        raise CallTimeout(
            f"{request.model} had not answered within {request.deadline:g} s, {lease.wait_s:.1f} s of it queued",
            hint="raise the agent's deadline, or ask it for less",
        )

    def lease(self, key: ModelKey, want: Want = ANYONE) -> Lease:
        """A slot of a resident model for the length of the block, once its `granted` has been awaited."""
        if key not in self._serving:
            raise Rejected(f"model {key.model!r} on endpoint {key.endpoint!r} is not served in this run")
        request = next(self._ids)
        lease = self._waiting[request] = Lease(self, request, key, self._clock())
        self.board.queue[request] = want.labels.get("stage", "")
        if self._timeline is not None:
            self._timeline.asked(request, key, want.labels, lease.submitted)
        self.post(want.submitted(request, key, self._class))
        return lease

    def give_back(self, lease: Lease) -> None:
        """End a lease, or the wait for it: the end of its block."""
        self._ends_wait(lease)
        if event := lease.give_back():
            self.post(event)

    def _ends_wait(self, lease: Lease) -> None:
        self._waiting.pop(lease.request, None)
        self.board.queue.pop(lease.request, None)

    def _load_share(self, lease: Lease, now: Seconds) -> Seconds:
        began, ended = self._load_ended.get(lease.key, (0.0, 0.0))
        return max(0.0, min(ended, now) - max(began, lease.submitted))

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
                lease.wait_s, lease.load_s = now - lease.submitted, self._load_share(lease, now)
                self._ends_wait(lease)
                lease.end_wait()
            case Reject(request=request, reason=reason):
                lease = self._waiting[request]
                self._ends_wait(lease)
                lease.end_wait(self._refusal(lease.key, reason))
            case Load(key=key):
                self._start(self._load, key)
            case Unload(key=key, why=why):
                self._start(self._unload, key, why)
            case _:
                assert_never(action)

    def _refusal(self, key: ModelKey, reason: str) -> VwtError:
        if reason.startswith(DEADLINE):
            hint = "raise the agent's deadline, or have fewer agents at work at once"
            return CallTimeout(f"{key.model} was not free in time: {reason}", hint=hint)
        failure = self._failures.get(key)
        if failure is not None and reason.endswith(failure.message):
            return failure
        if KEPT_OUT in reason:
            hint = "`python -m vwt_agents doctor` shows who holds what; [scheduler] patience is how long to wait for it"
            return Rejected(reason, hint=hint)
        return Rejected(reason)

    def _start(self, work: Callable[..., object], *args: object) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(work, *args)  # type: ignore[arg-type]

    async def _load(self, key: ModelKey) -> None:
        serving = self._serving[key]
        began = self._clock()
        log.info("model.loading", endpoint=key.endpoint, model=key.model, mib=serving.spec.footprint)
        try:
            residence = await self._endpoints[key.endpoint].load(
                key.model, num_ctx=serving.num_ctx, slots=serving.spec.slots, timeout=serving.load_timeout
            )
        except anyio.get_cancelled_exc_class():
            self.post(LoadFailedEvent(key, "cancelled"))  # the endpoint has undone what it had begun
            raise
        except MemoryTaken as taken:
            log.debug("model.load_deferred", endpoint=key.endpoint, model=key.model, why=taken.message)
            self.post(LoadDeferred(key, taken.message))
            return
        except Exception as fault:  # noqa: BLE001 - a fault of an endpoint ends those who wait for it, not the dispatcher
            error = _ours(fault, LoadFailed, f"{key} could not be loaded")
            self._failures[key] = error
            self._swapped("load", key, began, 0, why=error.message, ok=False)
            log.warning("model.load_failed", endpoint=key.endpoint, model=key.model, error=error.message)
            self.post(LoadFailedEvent(key, error.message))
            return
        self._failures.pop(key, None)
        took = residence.device_mib or residence.size_mib
        self._load_ended[key] = (began, self._clock())
        self._swapped("load", key, began, took, ok=True)
        log.info("model.loaded", endpoint=key.endpoint, model=key.model, mib=took, seconds=self._clock() - began)
        self.post(Loaded(key, took or None))

    async def _unload(self, key: ModelKey, why: str) -> None:
        began = self._clock()
        try:
            await self._endpoints[key.endpoint].unload(key.model)
        except anyio.get_cancelled_exc_class():
            self._cut_off.append((key, why))
            self._changed.set()
            raise
        except Exception as fault:  # noqa: BLE001 - as above
            error = _ours(fault, UnloadFailed, f"{key} could not be unloaded")
            self._swapped("unload", key, began, 0, why=error.message, ok=False)
            log.warning("model.unload_failed", endpoint=key.endpoint, model=key.model, error=error.message)
            self.post(UnloadFailedEvent(key, error.message))
            if isinstance(error, EndpointUnavailable) and error.refused:
                # Nobody is there to hold it; what is taken all the same, devices see.
                self.post(Vanished(key, error.message))
            return
        self._swapped("unload", key, began, 0, why=why, ok=True)
        log.info("model.unloaded", endpoint=key.endpoint, model=key.model, why=why)
        self.post(Unloaded(key))

    def _swapped(
        self,
        kind: Literal["load", "unload"],
        key: ModelKey,
        began: Seconds,
        mib: Mib,
        *,
        ok: bool,
        why: str = "",
    ) -> None:
        spec = self._serving[key].spec
        now = self._clock()
        self.board.swaps.append(Swap(kind, key.endpoint, key.model, spec.device, now, now - began, mib, ok, why))

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
        for key in self._serving:
            line, residency = self.board.models[key], state.residencies.get(key)
            line.phase = residency.phase if residency is not None else "out"
            line.leases = len(residency.leases) if residency is not None else 0
            line.footprint = residency.footprint if residency is not None else line.footprint
        for device in self.board.budgets:  # what a load is believed to take is nothing that was taken: it may fail
            taken = sum(each.footprint for each in state.on(device) if each.phase != "loading")
            self.board.peaks[device] = max(self.board.peaks.get(device, 0), taken)
        self.board.changed()


def _want(request: Request, deadline: Seconds | None) -> Want:
    return Want(request.labels, request.priority, deadline, request.prefix)


def _ours(fault: Exception, kind: type[VwtError], what: str) -> VwtError:
    return fault if isinstance(fault, VwtError) else kind(f"{what}: {type(fault).__name__}: {fault}")
