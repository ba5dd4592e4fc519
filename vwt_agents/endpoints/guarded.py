"""An endpoint with a circuit and patience around it: what passes is waited for, what is gone for 5 seconds fails at once.

Calls and loads are made again, with growing pauses and within their own time limit, where the server was busy (503) or the
connection failed; a call only while nobody has seen a piece of its answer, and only while its model is still resident,
because a call of an absent model would load it behind the core's back. Everything else is passed on as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.endpoints.circuit import Circuit, jitter
from vwt_agents.errors import CallFailed, CallTimeout, EndpointUnavailable, WorldError
from vwt_agents.eventlog import get_logger
from vwt_agents.messages import Heard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vwt_agents.endpoints.base import Endpoint, Health, ModelInfo, OnProgress, Residence
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Seconds

__all__ = ["GuardedEndpoint"]

log = get_logger(__name__)

_PAUSES: Final[tuple[Seconds, ...]] = (0.5, 1.0, 2.0, 4.0, 8.0)

_LOOK_S: Final[Seconds] = 5.0

_T = TypeVar("_T")


class GuardedEndpoint(EndpointAround):
    """`GuardedEndpoint(endpoint)` is that endpoint, patient; `circuit` says whether it is being tried at all."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.circuit = Circuit(endpoint.name)

    async def probe(self) -> Health:
        """As the endpoint's own; one that answers closes the circuit."""
        health = await self.inner.probe()
        if health.ok:
            self.circuit.answered()
        return health

    async def models(self) -> tuple[ModelInfo, ...]:
        """As the endpoint's own."""
        return await self._tried(self.inner.models)

    async def describe(self, model: str) -> ModelInfo:
        """As the endpoint's own."""
        return await self._tried(lambda: self.inner.describe(model))

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """As the endpoint's own, tried again where it was busy or not there, all within `timeout`."""
        ends = anyio.current_time() + timeout
        for pause in _pauses(model):
            try:
                return await self._load(model, num_ctx, slots, ends - anyio.current_time())
            except WorldError as error:
                if not self._passes(error) or pause >= ends - anyio.current_time():
                    raise
                log.info("load.retried", endpoint=self.name, model=model, error=error.message)
            await anyio.sleep(pause)
        return await self._load(model, num_ctx, slots, ends - anyio.current_time())

    async def unload(self, model: str) -> None:
        """As the endpoint's own."""
        await self._tried(lambda: self.inner.unload(model))

    async def resident(self) -> tuple[Residence, ...]:
        """As the endpoint's own."""
        return await self._tried(self.inner.resident)

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the endpoint's own, made again where that is harmless; the error of one that broke says how far it came."""
        heard, ends = Heard.by(on_chunk), anyio.current_time() + request.timeout
        for pause in _pauses(request.model):
            pieces = heard.pieces
            try:
                return await self._call(request, heard, ends)
            except (CallFailed, EndpointUnavailable) as error:
                said = heard.pieces - pieces
                if heard.final or not self._passes(error) or not await self._still(request, pause, ends):
                    raise _so_far(error, said) from error
                log.info("call.repeated", endpoint=self.name, model=request.model, error=error.message)
        return await self._call(request, heard, ends)

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """As the endpoint's own."""
        await self._tried(lambda: self.inner.pull(model, on_progress))

    async def _load(self, model: str, num_ctx: int, slots: int, left: Seconds) -> Residence:
        return await self._tried(lambda: self.inner.load(model, num_ctx=num_ctx, slots=slots, timeout=left))

    async def _call(self, request: Request, heard: Heard, ends: Seconds) -> Response:
        left = min(request.timeout, ends - anyio.current_time())
        return await self._tried(lambda: self.inner.call(replace(request, timeout=left), heard))

    async def _still(self, request: Request, pause: Seconds, ends: Seconds) -> bool:
        """Whether the call can be made again, after a pause: there is time, and its model is there to answer it."""
        if pause + _LOOK_S >= ends - anyio.current_time():
            return False
        await anyio.sleep(pause)
        with anyio.move_on_after(_LOOK_S):
            try:
                return any(seen.model == request.model for seen in await self.resident())
            except WorldError as error:
                return self._passes(error)
        return False

    def _passes(self, error: WorldError) -> bool:
        """Whether what went wrong may be over soon, and the endpoint may still be asked."""
        refused = isinstance(error, EndpointUnavailable) and error.refused
        return self.circuit.state != "open" and (error.retryable or refused)

    async def _tried(self, work: Callable[[], Awaitable[_T]]) -> _T:
        await self._admitted()
        try:
            result = await work()
        except EndpointUnavailable as error:
            if error.refused:
                self._failed(error.message)
            raise
        except CallTimeout:
            raise  # says nothing of the connection
        except WorldError:
            self.circuit.answered()
            raise
        self.circuit.answered()
        return result

    async def _admitted(self) -> None:
        """Return where the endpoint may be tried; once the back-off has passed a probe finds that out. EndpointUnavailable."""
        now = anyio.current_time()
        if self.circuit.state == "closed":
            return
        if self.circuit.admits(now):
            try:
                health = await self.inner.probe()
            except BaseException:
                self.circuit.abandoned(now)
                raise
            if health.ok:
                self.circuit.answered()
                log.info("endpoint.back", endpoint=self.name)
                return
            self._failed(health.detail)
        left = max(0.0, self.circuit.until - anyio.current_time())
        lost = EndpointUnavailable(
            f"endpoint {self.name} does not answer and is not asked again for {left:.0f} s: {self.circuit.why}",
            hint="start it again; `python -m vwt_agents doctor` says what works here",
        )
        lost.refused = True
        raise lost

    def _failed(self, why: str) -> None:
        was = self.circuit.state
        self.circuit.failed(anyio.current_time(), why)
        if self.circuit.state == "open" and was != "open":
            log.warning("endpoint.lost", endpoint=self.name, error=why)


def _pauses(model: str) -> list[Seconds]:
    return [pause * jitter(model, number) for number, pause in enumerate(_PAUSES)]


def _so_far(error: WorldError, pieces: int) -> WorldError:
    """The same error, with the words how far the answer had come."""
    if not pieces or isinstance(error, CallTimeout) or not isinstance(error, CallFailed):
        return error
    message = f"{error.message} (after {pieces} piece{'' if pieces == 1 else 's'} of the answer)"
    return CallFailed(message, hint=error.hint, retryable=error.retryable)
