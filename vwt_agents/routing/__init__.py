"""Routing: graph + settings + what the endpoints offer + budgets -> a plan, each route with its reason. Pure.

`offers` is what it is told, `plan` what it decides, `pool` finds one agent's model in a tier (rules 3 and 4). For the run
as a whole, `substitute` moves agents together where their models would swap (rule 5), `concurrency` says how many slots
the graph can use, `fit` chooses slots and context of all models that share a device, `residents` says what is wanted of
each and what was given up for that, and `decide` chooses tiers (rules 1 and 2) and makes one plan of it all. `standby` is
what to plan with once endpoints were lost. It loads nothing, asks nothing, logs nothing.
"""

from vwt_agents.routing.decide import plan_routes
from vwt_agents.routing.offers import ModelOffer, Need, Offer, device_kind, tasks_by_name
from vwt_agents.routing.plan import GraphView, ModelPlan, Plan, Residency, Route, StageView
from vwt_agents.routing.standby import standing_in

__all__ = [
    "GraphView",
    "ModelOffer",
    "ModelPlan",
    "Need",
    "Offer",
    "Plan",
    "Residency",
    "Route",
    "StageView",
    "device_kind",
    "plan_routes",
    "standing_in",
    "tasks_by_name",
]
