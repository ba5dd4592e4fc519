"""What a run falls back on when an endpoint is lost: the other endpoints of agents.toml, looked at once they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.app.foresight import serving
from vwt_agents.failover import FailoverCaller
from vwt_agents.routing import plan_routes, standing_in

if TYPE_CHECKING:
    from vwt_agents.app.job import PlannedRun
    from vwt_agents.app.neighbours import Neighbours
    from vwt_agents.board import Board
    from vwt_agents.dispatcher import Dispatcher
    from vwt_agents.habits import Habits
    from vwt_agents.routing import ModelPlan, Plan

__all__ = ["with_failover"]


def with_failover(
    planned: PlannedRun, dispatcher: Dispatcher, neighbours: Neighbours, habits: Habits, board: Board
) -> FailoverCaller:
    """The dispatcher, and where an endpoint is lost in mid-run a plan without it."""

    async def replan(lost: frozenset[str]) -> Plan:
        await planned.world.reach(lost)
        settings, offers = standing_in(planned.settings, planned.world.offers, lost)
        return plan_routes(planned.graph, settings, offers, planned.world.budgets)

    def serve(spec: ModelPlan) -> None:
        neighbours.admit(spec)
        dispatcher.serve(serving(spec, planned.settings, habits))

    served = {(spec.endpoint, spec.model): spec.num_ctx for spec in planned.plan.specs}
    return FailoverCaller(dispatcher, replan, serve, served=served, board=board)
