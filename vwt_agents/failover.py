"""A Caller that goes on elsewhere: calls of an endpoint that was lost in mid-run are sent where a new plan puts them.

Owns which endpoints are lost, for the rest of the run: their calls in flight end as they may, none begins. It makes no plan
and loads nothing; both are done by those it was given. A call is sent on only while nobody has seen a piece of its answer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.errors import EndpointUnavailable, LoadsHang, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.messages import Heard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from vwt_agents.board import Board
    from vwt_agents.messages import Caller, OnChunk, Request, Response
    from vwt_agents.routing import ModelPlan, Plan, Route
    from vwt_agents.types import Seconds

__all__ = ["FailoverCaller"]

log = get_logger(__name__)

_PLAN_S: Final[Seconds] = 30.0  # other endpoints are looked at for it, and may hang too


class FailoverCaller:
    """`replan(lost)` plans the run without the lost endpoints, or raises; `serve(spec)` makes a model of it known to `caller`.

    `served` are the models known already, by endpoint and name: their num_ctx holds, whatever a new plan would like.
    """

    def __init__(
        self,
        caller: Caller,
        replan: Callable[[frozenset[str]], Awaitable[Plan]],
        serve: Callable[[ModelPlan], None],
        *,
        served: Mapping[tuple[str, str], int],
        board: Board,
        clock: Callable[[], Seconds] = anyio.current_time,
    ) -> None:
        self._caller = caller
        self._replan = replan
        self._serve = serve
        self._served = dict(served)
        self._board = board
        self._clock = clock
        self._lost: frozenset[str] = frozenset()
        self._stay: frozenset[str] = frozenset()
        self._plan: Plan | None = None
        self._planning = anyio.Lock()

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The answer, from where the request asks for it or from where it can still be had."""
        heard, asked = Heard.by(on_chunk), self._clock()
        routed = self._routed(request)
        while True:
            try:
                return await self._caller.call(routed, heard)
            except (EndpointUnavailable, LoadsHang) as error:
                lost = isinstance(error, LoadsHang) or error.refused
                if heard.final or not lost:
                    raise
                moved, ends = False, math.inf if request.deadline is None else asked + request.deadline
                with anyio.move_on_after(max(0.0, ends - self._clock())):
                    moved = await self._elsewhere(routed.endpoint, error)
                again = self._routed(request)
                if not moved or again.endpoint == routed.endpoint:
                    raise
                left = None if request.deadline is None else max(0.0, ends - self._clock())
                routed = replace(again, deadline=left)
                log.warning("call.moved", model=request.model, endpoint=request.endpoint, to=routed.endpoint)

    def _routed(self, request: Request) -> Request:
        """The request as the newest plan has it, where its own endpoint is lost."""
        if request.endpoint not in self._lost or self._plan is None:
            return request
        route = self._plan.routes.get((request.labels.get("stage", ""), request.labels.get("agent", "")))
        if route is None:
            return request
        if request.labels.get("tier") != route.tier and route.escalated is not None:
            route = route.escalated
        num_ctx = self._served.get((route.endpoint, route.model), route.num_ctx)
        return replace(request, endpoint=route.endpoint, model=route.model, num_ctx=num_ctx)

    async def _elsewhere(self, endpoint: str, error: VwtError) -> bool:
        """Whether there is a plan without the endpoint, made now or by the first that lost it."""
        async with self._planning:
            if endpoint in self._lost:
                return True
            if endpoint in self._stay:
                return False
            try:
                with anyio.fail_after(_PLAN_S):
                    plan = await self._replan(self._lost | {endpoint})
            except (VwtError, TimeoutError) as none:
                self._stay |= {endpoint}
                log.warning("endpoint.not_replaced", endpoint=endpoint, error=str(none))
                return False
            self._lost |= {endpoint}
            self._plan = plan
            for spec in plan.specs:
                if (spec.endpoint, spec.model) not in self._served:
                    self._served[spec.endpoint, spec.model] = spec.num_ctx
                    self._serve(spec)
            self._tell(endpoint, error, plan)
            return True

    def _tell(self, endpoint: str, error: VwtError, plan: Plan) -> None:
        places = dict.fromkeys(_place(route) for route in plan.routes.values())
        where = ", ".join(places)
        self._board.say(f"note: endpoint {endpoint} is lost ({error.message}); the run goes on with {where}")
        log.warning("endpoint.replaced", endpoint=endpoint, by=where)


def _place(route: Route) -> str:
    return f"{route.model} on {route.endpoint}"
