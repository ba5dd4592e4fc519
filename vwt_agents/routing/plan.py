"""What routing decides: Route, ModelPlan, Plan, and the little it needs to know of a graph. Nouns only, no decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.types import Importance, Mib, TierName

__all__ = ["GraphView", "ModelPlan", "Plan", "Residency", "Route", "StageView"]


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

    @property
    def needs(self) -> Sequence[str]:
        """The stages whose results it waits for, by name."""
        ...

    @property
    def kind(self) -> Literal["stage", "ask"]:
        """`ask` for a stage that makes one call and nothing else."""
        ...

    @property
    def each(self) -> object | None:
        """Set where it runs once per item, side by side."""
        ...


class GraphView(Protocol):
    """What routing needs to know of a graph."""

    @property
    def stages(self) -> Sequence[StageView]:
        """All of them, each once, in an order in which they could run."""
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
    residency: str = ""

    @property
    def loaded_as(self) -> str:
        """The name the model's weights are loaded by on its endpoint: another tag of them, where agents ask for both."""
        return self.residency or self.model


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model as the whole run uses it: one num_ctx and one number of slots, so that nothing is loaded again for them.

    `only_escalation`: no route leads to it but those of an escalation. `given_up` says what its agents would have liked
    and did not get, and is empty where they got all of it. `tags` are the other names of its weights that routes ask for.
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
    given_up: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Residency:
    """How the models of a plan share a device: all resident `side_by_side`, or loaded in turn. MiB."""

    device: str
    models: tuple[str, ...]
    needed: Mib
    budget: Mib

    @property
    def side_by_side(self) -> bool:
        """Whether all of them fit at once."""
        return self.needed <= self.budget

    def __str__(self) -> str:
        count, room = len(self.models), f"{self.needed} of {self.budget} MiB"
        if count == 1:
            return f"{self.device}: one model, {room}"
        if self.side_by_side:
            return f"{self.device}: {count} models side by side, {room}"
        return f"{self.device}: swaps: {count} models in turn ({self.needed} MiB together, budget {self.budget} MiB)"


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

    def residency(self, budgets: Mapping[str, Mib]) -> tuple[Residency, ...]:
        """How the models that routes lead to share each device, by its name; one for an escalation may never come."""
        sure = [spec for spec in self.specs if not spec.only_escalation]
        return tuple(
            Residency(
                device,
                tuple(spec.model for spec in sure if spec.device == device),
                sum(spec.footprint for spec in sure if spec.device == device),
                budgets.get(device, 0),
            )
            for device in sorted({spec.device for spec in sure})
        )
