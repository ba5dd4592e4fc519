"""The only task that talks to the core: it posts what happened and carries out what the core says.

Owns the clock, the request ids, the waiters and the tasks that load and unload. It decides nothing: which request is granted,
what is loaded and who leaves is the core's word. A load belongs to the dispatcher, not to the request that caused it, so it
survives a requester that leaves.
"""

from __future__ import annotations

import itertools
import math
from contextlib import AsyncExitStack, asynccontextmanager
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
from vwt_agents.core.scheduler import DEADLINE
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
    from collections.abc import AsyncIterator, Callable, Mapping

    from anyio.abc import TaskGroup

    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.messages import OnChunk, Priority, Request, Response
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["Dispatcher", "Lease", "Serving", "Want"]

log = get_logger(__name__)

CLOSE_GRACE: Seconds = 1.0  # the endpoints' own clean-up comes after; together they keep Ctrl-C under 2 s


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is to be served for as long as this process lives: constant, because a change would reload it."""

    spec: ModelSpec
    num_ctx: int
    load_timeout: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A request's hold on a slot, and what it waited for it: in all, and the part in which its model was being loaded."""

    request: RequestId
    key: ModelKey
    wait_s: Seconds
    load_s: Seconds


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


@dataclass(slots=True)
class _Waiter:
    key: ModelKey
    submitted: Seconds
    granted: anyio.Event = field(default_factory=anyio.Event)
    error: VwtError | None = None
    at: Seconds = 0.0


class Dispatcher:
    """A Caller over several endpoints that keeps the core's promises; an async context manager.

    `board` is kept up to date for views. Leaving the block unloads what it loaded.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        endpoints: Mapping[str, Endpoint],
        *,
        board: Board | None = None,
        clock: Callable[[], Seconds] = anyio.current_time,
        priority: Priority = "batch",
    ) -> None:
        self.board = board if board is not None else Board()
        self.board.waits = self.explain
        self._scheduler = scheduler
        self._endpoints = endpoints
        self._clock = clock
        self._class: Priority = priority
        self._ids = itertools.count(1)
        self._waiters: dict[RequestId, _Waiter] = {}
        self._serving: dict[ModelKey, Serving] = {}
        self._failures: dict[ModelKey, VwtError] = {}
        self._load_ended: dict[ModelKey, tuple[Seconds, Seconds]] = {}
        self._rearm = anyio.Event()
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
                    self._changed = anyio.Event()
                    await self._changed.wait()
        self._tasks = None
        if tasks is not None:
            tasks.cancel_scope.cancel()
        await self._stack.aclose()

    # -- what the world tells the core ------------------------------------------------------------------------------

    def set_budget(self, device: str, mib: Mib) -> None:
        """The memory models may take on one device from now on."""
        self.board.budgets[device] = mib
        self.post(BudgetSet(device, mib))

    def serve(self, serving: Serving) -> None:
        """Make a model known; it is loaded once a request waits for it."""
        spec = serving.spec
        self._serving[spec.key] = serving
        self.board.models[spec.key.endpoint, spec.key.model] = ModelLine(
            spec.key.endpoint, spec.key.model, spec.device, footprint=spec.footprint, slots=spec.slots
        )
        self.post(Registered(spec))

    def post(self, event: Event) -> None:
        """Tell the core what happened and carry out its answer: the one door to the core."""
        for action in self._scheduler.handle(event, self._clock()):
            self._carry_out(action)
        self._rearm.set()
        self._changed.set()
        self._repaint()

    def explain(self, request: RequestId) -> str:
        """Why a request waits, in words; empty when it does not."""
        return explain(self._scheduler.state, request) if request in self._waiters else ""

    # -- calls ------------------------------------------------------------------------------------------------------

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Wait for a slot, make the call, give the slot back. A model that died under the call is loaded again, once."""
        heard, asked = Heard.by(on_chunk), self._clock()
        try:
            return await self._call_once(request, heard, asked)
        except (CallFailed, EndpointUnavailable) as error:
            # What the caller has already seen cannot be taken back, and a call that was too slow once will be again.
            final = heard.final or isinstance(error, CallTimeout) or error is self._failures.get(_key(request))
            if final or not await self._lost(request, error.message):
                raise
            log.warning("call.retried", model=request.model, endpoint=request.endpoint, error=error.message)
            return await self._call_once(request, heard, asked)

    async def _call_once(self, request: Request, on_chunk: OnChunk, asked: Seconds) -> Response:
        deadline = None if request.deadline is None else asked + request.deadline
        want = Want(request.labels, request.priority, deadline, request.prefix)
        async with self.lease(_key(request), want) as lease:
            left = math.inf if deadline is None else max(0.0, deadline - self._clock())
            with anyio.move_on_after(left) as scope:
                response = await self._endpoints[request.endpoint].call(request, on_chunk)
            if scope.cancelled_caught:
                raise CallTimeout(
                    f"{request.model} had not answered within {request.deadline:g} s, {lease.wait_s:.1f} s of it queued",
                    hint="raise the agent's deadline, or ask it for less",
                )
        return replace(response, usage=replace(response.usage, wait_s=lease.wait_s, load_s=lease.load_s))

    @asynccontextmanager
    async def lease(self, key: ModelKey, want: Want = ANYONE) -> AsyncIterator[Lease]:
        """A slot of a resident model for the length of the block; Rejected or LoadFailed when there will never be one."""
        if key not in self._serving:
            raise Rejected(f"model {key.model!r} on endpoint {key.endpoint!r} is not served in this run")
        request = next(self._ids)
        waiter = self._waiters[request] = _Waiter(key, self._clock())
        self.board.queue[request] = want.labels.get("stage", "")
        try:
            self.post(want.submitted(request, key, self._class))
            await waiter.granted.wait()
            del self.board.queue[request]
            if waiter.error is not None:
                raise waiter.error
            del self._waiters[request]
            yield Lease(request, key, waiter.at - waiter.submitted, self._load_share(waiter))
        finally:
            self._give_back(request, waiter)

    def _give_back(self, request: RequestId, waiter: _Waiter) -> None:
        self._waiters.pop(request, None)
        self.board.queue.pop(request, None)
        if waiter.error is None:
            self.post(Released(request) if waiter.granted.is_set() else Cancelled(request))

    def _load_share(self, waiter: _Waiter) -> Seconds:
        began, ended = self._load_ended.get(waiter.key, (0.0, 0.0))
        return max(0.0, min(ended, waiter.at) - max(began, waiter.submitted))

    async def _lost(self, request: Request, why: str) -> bool:
        """True when the model is no longer resident there; the core has then been told."""
        key = _key(request)
        try:
            with anyio.fail_after(5):
                there = await self._endpoints[request.endpoint].resident()
        except (VwtError, TimeoutError):
            there = ()
        if any(residence.model == request.model for residence in there):
            return False
        self.post(Vanished(key, why))
        return True

    # -- what the core says -----------------------------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        match action:
            case Grant(request=request):
                waiter = self._waiters[request]
                waiter.at = self._clock()
                waiter.granted.set()
            case Reject(request=request, reason=reason):
                waiter = self._waiters[request]
                waiter.error = self._refusal(waiter, reason)
                waiter.granted.set()
            case Load(key=key):
                self._start(self._load, key)
            case Unload(key=key, why=why):
                self._start(self._unload, key, why)
            case _:
                assert_never(action)

    def _refusal(self, waiter: _Waiter, reason: str) -> VwtError:
        if reason.startswith(DEADLINE):
            hint = "raise the agent's deadline, or have fewer agents at work at once"
            return CallTimeout(f"{waiter.key.model} was not free in time: {reason}", hint=hint)
        return self._failures.get(waiter.key) or Rejected(reason)

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
        """Post Woken whenever the core's deadline passes."""
        while True:
            self._rearm = anyio.Event()
            deadline = self._scheduler.deadline
            with anyio.move_on_after(math.inf if deadline is None else max(0.0, deadline - self._clock())):
                await self._rearm.wait()
                continue
            self.post(Woken())

    def _repaint(self) -> None:
        state = self._scheduler.state
        for line in self.board.models.values():
            residency = state.residencies.get(ModelKey(line.endpoint, line.model))
            line.phase = residency.phase if residency is not None else "out"
            line.leases = len(residency.leases) if residency is not None else 0
            line.footprint = residency.footprint if residency is not None else line.footprint
        for device in self.board.budgets:
            self.board.peaks[device] = max(self.board.peaks.get(device, 0), state.used(device))
        self.board.changed()


def _key(request: Request) -> ModelKey:
    return ModelKey(request.endpoint, request.model)


def _ours(fault: Exception, kind: type[VwtError], what: str) -> VwtError:
    return fault if isinstance(fault, VwtError) else kind(f"{what}: {type(fault).__name__}: {fault}")
