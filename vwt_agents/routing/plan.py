"""What routing decides: Route, ModelPlan, Plan, and the little it needs to know of a graph. Nouns only, no decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.types import Importance, Mib, TierName

__all__ = ["GraphView", "ModelPlan", "Plan", "Route", "StageView"]


class StageView(Protocol):
    """What routing needs to know of a stage."""

    @property
    def name(self) -> str:
        """Unique in its graph."""
        ...

    @property
    def importance(self) -> Importance:
        """As the stage declares it."""
        ...

    @property
    def agents(self) -> Sequence[str]:
        """The agents it may call, by name; each of them is in agents.toml."""
        ...


class GraphView(Protocol):
    """What routing needs to know of a graph."""

    @property
    def stages(self) -> Sequence[StageView]:
        """All of them, each once."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where an agent's calls in a stage go, and why.

    `footprint` (MiB) is the model's on its device; `arithmetic` says how it is known. `slots` is how many requests it
    serves at once. `escalated` is the large tier's route, for attempts without progress; None where there is no other.
    """

    stage: str
    agent: str
    tier: TierName
    endpoint: str
    model: str
    device: str
    num_ctx: int
    slots: int
    footprint: Mib
    arithmetic: str
    reason: str
    needs_pull: bool = False
    escalated: Route | None = None


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model as the whole run uses it: one num_ctx and one number of slots, so that nothing is loaded again for them.

    `only_escalation`: no route leads to it but those of an escalation.
    """

    endpoint: str
    model: str
    device: str
    footprint: Mib
    arithmetic: str
    num_ctx: int
    slots: int
    tiers: tuple[TierName, ...]
    needs_pull: bool = False
    only_escalation: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes of a run by (stage, agent), the models they need, and what the user should know about them.

    `tier` is large when the whole run goes there; under `scope = "stage"` a promoted run's own tier stays small.
    """

    promoted: bool
    tier: TierName
    reason: str
    routes: Mapping[tuple[str, str], Route]
    specs: tuple[ModelPlan, ...]
    notes: tuple[str, ...] = ()
