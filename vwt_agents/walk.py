"""Which stages of a graph come next. Owns where each of them stands and what they gave; runs none of them.

A stage is ready when all it needs has ended, however that was. What is done before it is begun, and whether it is, is its
runner's business.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

from vwt_agents.board import ENDED_WELL, StageLine, StageStatus
from vwt_agents.errors import StageFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vwt_agents.graph import Graph, Stage

__all__ = ["LEFT_OUT", "Node", "Walk"]

LEFT_OUT: Final = object()
"""Stands for the result of a stage, or of an item, that the run does without."""


@dataclass(slots=True, eq=False)
class Node(StageLine):
    """One stage on its way, as the board sees it, and how many of the stages it needs have not ended yet."""

    stage: Stage = field(kw_only=True)
    lacks: int = field(kw_only=True)
    stood_in: StageStatus | None = None


class Walk:
    """The nodes of a graph by name, in its order, and the values of those that have ended (None of a skipped one)."""

    __slots__ = ("_followers", "nodes", "skipped", "values")

    def __init__(self, graph: Graph) -> None:
        self._followers = graph.followers
        self.nodes = {
            stage.name: Node(stage.name, stage.agents, stage.needs, stage=stage, lacks=len(set(stage.needs)))
            for stage in graph.stages
        }
        self.values: dict[str, Any] = {}
        self.skipped = False  # whether any stage was

    def first(self) -> list[Node]:
        """The stages that need none."""
        return [node for node in self.nodes.values() if not node.lacks]

    def freed(self, node: Node) -> list[Node]:
        """The stages that lacked nothing but this one's end; to be asked once, when it has ended."""
        freed: list[Node] = []
        for name in self._followers[node.name]:
            follower = self.nodes[name]
            follower.lacks -= 1
            if not follower.lacks:
                freed.append(follower)
        return freed

    def is_needed(self, node: Node) -> bool:
        """Whether any stage needs what this one gives."""
        return bool(self._followers[node.name])

    def check_all_ended(self) -> None:
        """StageFailed for a stage that is gone without an end: the run must not be called good without it."""
        lost = [node for node in self.nodes.values() if node.status not in ENDED_WELL]
        if lost:
            names = ", ".join(repr(node.name) for node in lost)
            raise StageFailed(f"of stages {names} neither a result nor a failure is known ({lost[0].stage.where})")

    def lost(self, node: Node) -> list[str]:
        """The skipped stages that it cannot do without: a parameter that may be None is None instead."""
        if not self.skipped:
            return []
        return [
            need
            for param in node.stage.params
            for need in self.skipped_of(param.stages)
            if param not in node.stage.fed or not _optional(param.annotation)
        ]

    def skipped_of(self, names: Iterable[str]) -> list[str]:
        """Those of these stages that were skipped."""
        return [name for name in names if self.nodes[name].status == "skipped"]

    def given(self) -> dict[str, Any]:
        """What the stages that ended well gave, by name, in the graph's order. Nothing gave one that was skipped, nor one
        whose value could not be written down.
        """
        nothing = {"failed", "skipped"}
        there = (name for name, node in self.nodes.items() if name in self.values and node.status not in nothing)
        return {name: self.values[name] for name in there}


def _optional(annotation: Any) -> bool:
    """Whether a parameter of this type is content with None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation in (None, types.NoneType) or types.NoneType in get_args(annotation)
