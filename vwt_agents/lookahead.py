"""What a run will ask for, said before it asks: a checked graph, its plan and the habits of its stages as core Steps.

Pure. Owns the beliefs about stages that were never seen; never decides anything with them (the core does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vwt_agents.core import ModelKey, Step, Use

if TYPE_CHECKING:
    from vwt_agents.graph import Graph, Stage
    from vwt_agents.habits import Habits
    from vwt_agents.routing import Plan
    from vwt_agents.types import Seconds

__all__ = ["CALL_S", "ITEMS", "steps"]

CALL_S: Final[Seconds] = 10.0
"""How long a call of a stage never seen is believed to take: some 200 tokens of a 7B on a workstation GPU."""

ITEMS: Final = 4.0
"""How many items a stage that runs once per item is believed to get, until it has been seen."""


def steps(graph: Graph, plan: Plan, habits: Habits) -> tuple[Step, ...]:
    """The graph's stages in order; none where no stage uses a model, because then there is nothing to look ahead to."""
    if not any(stage.agents for stage in graph.stages):
        return ()
    return tuple(_step(stage, plan, habits) for stage in graph.stages)


def _step(stage: Stage, plan: Plan, habits: Habits) -> Step:
    habit = habits.stages.get(stage.name)
    uses: dict[ModelKey, tuple[float, Seconds]] = {}
    for agent in stage.agents:
        route = plan.routes[stage.name, agent]
        key = ModelKey(route.endpoint, route.loaded_as)
        calls = habit.calls.get(agent, 0.0) if habit else (ITEMS if stage.each else 1.0)
        seconds = habit.seconds.get(agent, CALL_S) if habit else CALL_S
        more, before = uses.get(key, (0.0, 0.0))
        uses[key] = more + calls, (more * before + calls * seconds) / (more + calls) if more + calls else CALL_S
    gaps = 1.0 + sum(calls for calls, _ in uses.values())
    think = habit.think / gaps if habit else 0.0
    return Step(stage.name, tuple(Use(key, *reversed(use)) for key, use in uses.items()), think, stage.needs)
