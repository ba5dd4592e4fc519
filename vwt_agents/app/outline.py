"""What a run is about to do, as data for its journal: the graph, and where each call will go and why.

Nothing in it names the run or the moment, so that the runs of one pipeline share one copy of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vwt_agents.graph import type_name

if TYPE_CHECKING:
    from vwt_agents.graph import Graph
    from vwt_agents.routing import Plan

__all__ = ["outline"]


def outline(graph: Graph, plan: Plan) -> dict[str, Any]:
    """Graph and routes as JSON data; `report.data` reads it. A reason that several routes have is said once."""
    reasons: dict[str, int] = {}
    routes = [
        {
            "stage": route.stage,
            "agent": route.agent,
            "tier": route.tier,
            "endpoint": route.endpoint,
            "model": route.model,
            "device": route.device,
            "reason": reasons.setdefault(route.reason, len(reasons)),
            **({"escalated": route.escalated.model} if route.escalated is not None else {}),
        }
        for route in plan.routes.values()
    ]
    models = [
        {
            "endpoint": spec.endpoint,
            "model": spec.model,
            "device": spec.device,
            "mib": spec.footprint,
            "slots": spec.slots,
            "num_ctx": spec.num_ctx,
            "arithmetic": spec.arithmetic,
        }
        for spec in plan.specs
    ]
    stages = [
        {
            "name": stage.name,
            "needs": stage.needs,
            "agents": stage.agents,
            "importance": stage.importance,
            "inputs": [param.source for param in stage.params if param.role == "input"],
            **({"each": stage.each.source} if stage.each is not None else {}),
        }
        for stage in graph.stages
    ]
    return {
        "doc": graph.doc,
        "inputs": {item.name: type_name(item.annotation) for item in graph.inputs},
        "stages": stages,
        "promotion": plan.reason,
        "routes": routes,
        "reasons": list(reasons),
        "models": models,
        "notes": plan.notes,
    }
