"""Routing: graph + settings + what the endpoints offer + budgets -> a plan, each route with its reason. Pure.

`offers` is what it is told, `plan` what it decides, `pool` finds one agent's model in a tier (rules 3 and 4), `decide`
chooses tiers and makes one whole of the routes (rules 1, 2 and 5). Loads nothing, asks nothing, logs nothing.
"""

from vwt_agents.routing.decide import plan_routes
from vwt_agents.routing.offers import ModelOffer, Offer
from vwt_agents.routing.plan import GraphView, ModelPlan, Plan, Route, StageView

__all__ = ["GraphView", "ModelOffer", "ModelPlan", "Offer", "Plan", "Route", "StageView", "plan_routes"]
