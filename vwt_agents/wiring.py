"""What a stage's function is called with: values of other stages, inputs, its item, its agents, its services.

Owns how one call of a function is put together from what a run holds; says nothing of when, how often or what comes of it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vwt_agents.agents import Agent
from vwt_agents.errors import DefinitionError, Fault
from vwt_agents.journaling import JournalingCaller
from vwt_agents.run import Run, RunFolder
from vwt_agents.stage_scope import StageScope
from vwt_agents.walk import LEFT_OUT

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Mapping

    from vwt_agents.board import Board
    from vwt_agents.config import Settings
    from vwt_agents.graph import Stage
    from vwt_agents.journal import Journal
    from vwt_agents.limits import Spent
    from vwt_agents.messages import Caller, Response
    from vwt_agents.past import Past
    from vwt_agents.recall import Recall
    from vwt_agents.routing import Plan
    from vwt_agents.tries import Turn
    from vwt_agents.walk import Node, Walk

__all__ = ["Items", "Wiring"]


@dataclass(slots=True, eq=False)
class Items:
    """The items of a stage that runs once for each, their results, and how many of those are still to come."""

    given: list[Any]
    results: list[Any]
    to_come: int

    @classmethod
    def of(cls, given: list[Any]) -> Items:
        """Of these, no result has come yet."""
        return cls(given, [None] * len(given), len(given))

    def take(self, index: int, result: Any) -> bool:
        """Whether it was the last to come."""
        self.results[index] = result
        self.to_come -= 1
        return not self.to_come

    def taken(self) -> list[Any]:
        """Those that were not left out, in their order."""
        return [result for result in self.results if result is not LEFT_OUT]


@dataclass(slots=True, eq=False, kw_only=True)
class Wiring:
    """All that a run hands to its stages. `inputs` are those of the run, once it has begun."""

    walk: Walk
    plan: Plan
    settings: Settings
    run_id: str
    caller: Caller
    journal: Journal | None
    folder: RunFolder
    services: Mapping[str, Any]
    board: Board
    seed: int
    known: Mapping[str, deque[Response]]
    spent: Spent
    past: Past
    inputs: Mapping[str, Any]
    recall: Recall | None

    def items(self, stage: Stage) -> list[Any]:
        """What a stage with `each=` runs once for. DefinitionError where it was given what has no items."""
        each = stage.each
        assert each is not None
        fed = next(param for param in stage.params if param.name == each.parameter)
        items = fed.value(self.walk.values, self.inputs)
        if isinstance(items, str | bytes) or not hasattr(items, "__iter__"):
            what = f"{each.source!r} gave {type(items).__name__}, which has no items"
            raise DefinitionError([Fault(stage.where, f"stage {stage.name!r}: each={each.source!r}, but {what}")])
        return list(items)

    def called(self, turn: Turn, node: Node, items: Items | None, index: int) -> Any:
        """Its function's value, or what is to be awaited for it. No coroutine: nothing made here is held while it waits."""
        node.begun = True
        stage, walk = node.stage, self.walk
        arguments = {param.name: param.value(walk.values, self.inputs) for param in stage.fed}
        if walk.skipped:
            arguments.update((param.name, None) for param in stage.fed if walk.skipped_of(param.stages))
        if items is not None and stage.each is not None:
            arguments[stage.each.parameter] = items.given[index]
        agents = self._introduce(node, turn, arguments) if stage.introduced else {}
        value = stage.func(**arguments)
        return _asked(stage, value, agents[stage.agent or stage.agents[0]]) if stage.kind == "ask" else value

    def _introduce(self, node: Node, turn: Turn, arguments: dict[str, Any]) -> dict[str, Agent]:
        """Hand the stage its agents and services, which know who asks; the agents by their names."""
        stage = node.stage
        routes = {name: self.plan.routes[stage.name, name] for name in stage.agents}
        larger = any(route.escalated is not None for route in routes.values())
        scope = StageScope(self.run_id, stage.name, self.seed, turn.item, can_escalate=larger, retry=turn.retry)
        caller = JournalingCaller(
            self.caller, self.journal, self.run_id, node, self.board, self.known, spent=self.spent
        )
        agents = {
            name: Agent(self.settings.agents[name], route, caller=caller, scope=scope) for name, route in routes.items()
        }
        for param in stage.params:
            if param.role == "agent":
                arguments[param.name] = agents[param.source]
            elif param.role == "service":
                arguments[param.name] = self._service(param.source, node, scope)
        return agents

    def _service(self, name: str, node: Node, scope: StageScope) -> Any:
        if name != "Run":
            return self.services[name]
        return Run(
            self.run_id,
            scope,
            line=node,
            board=self.board,
            journal=self.journal,
            folder=self.folder,
            past=self.past,
            mark=partial(self.recall.mark, node.stage) if self.recall is not None else None,
        )


async def _asked(stage: Stage, prompt: Any, agent: Agent) -> Any:
    if inspect.isawaitable(prompt):
        prompt = await prompt
    return await agent.ask(prompt, stage.returns)
