"""The decision: which tier each stage goes to, and one plan for all of the run's models. Pure.

Owns rules 1, 2 and 5 of routing; `pool` has 3 and 4. Same graph, settings, offers and budgets: same plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from vwt_agents.config import AgentSettings, Settings, canonical
from vwt_agents.errors import VwtError
from vwt_agents.routing.plan import GraphView, ModelPlan, Plan, Route, StageView
from vwt_agents.routing.pool import Pick, Pool, fitting_slots, open_pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vwt_agents.routing.offers import ModelOffer, Offer
    from vwt_agents.types import Mib, TierName

__all__ = ["plan_routes"]


def plan_routes(graph: GraphView, settings: Settings, offers: Mapping[str, Offer], budgets: Mapping[str, Mib]) -> Plan:
    """The route of every agent of every stage, with its reason, and each model once for the whole run.

    `offers` are by endpoint, `budgets` (MiB) by device; one that is missing has no memory. Nothing is chosen that does
    not fit its device. EndpointUnavailable, ModelMissing, LicenceRefused and Rejected say what to do about it.
    """
    return _Decision(graph, settings, offers, budgets).plan()


@dataclass(frozen=True, slots=True)
class _Promotion:
    """Which stages go to the large tier, and why (or why none)."""

    reason: str
    stages: frozenset[str] = frozenset()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class _Use:
    """An agent in a stage: its model, and the model its escalation leads to."""

    stage: str
    agent: AgentSettings
    pick: Pick
    escalation: Pick | None = None


class _Decision:
    """One run being planned; `notes` gathers what the user should know, in order, once each."""

    def __init__(
        self, graph: GraphView, settings: Settings, offers: Mapping[str, Offer], budgets: Mapping[str, Mib]
    ) -> None:
        self.stages = tuple(graph.stages)
        self.settings = settings
        self.offers = offers
        self.budgets = budgets
        self.pools: dict[TierName, Pool] = {}
        self.notes: dict[str, None] = {}

    def plan(self) -> Plan:
        promotion = self._promotion()
        uses = [
            self._use(stage, self.settings.agents[name], promotion) for stage in self.stages for name in stage.agents
        ]
        uses = self._side_by_side(uses)
        uses = [replace(use, escalation=self._escalation(use)) for use in uses]
        specs = {(spec.endpoint, spec.model): spec for spec in self._specs(uses)}
        routes = {(use.stage, use.agent.name): _route(use, specs) for use in uses}
        self._tell(uses)
        return Plan(
            promoted=bool(promotion.stages),
            tier="large" if promotion.whole else "small",
            reason=promotion.reason,
            routes=MappingProxyType(routes),
            specs=tuple(specs.values()),
            notes=tuple(self.notes),
        )

    def _promotion(self) -> _Promotion:
        """Rules 1 and 2."""
        high = [stage.name for stage in self.stages if stage.importance == "high"]
        routing = self.settings.routing
        counted = f"{len(high)} high-importance stage{'' if len(high) == 1 else 's'}, promote_at = {routing.promote_at}"
        if "large" not in self.settings.tiers:
            return _Promotion(f"{counted}; agents.toml has no tiers.large")
        if len(high) >= routing.promote_at:
            if routing.scope == "stage":
                return _Promotion(f'promoted: {counted}, scope = "stage"', frozenset(high))
            return _Promotion(f"promoted: {counted}", frozenset(stage.name for stage in self.stages), whole=True)
        if len(self.stages) == 1:
            (only,) = self.stages
            tasks = {self.settings.agents[name].task for name in only.agents}
            if high or tasks == {"analysis"}:
                why = "of high importance" if high else "of analysis"
                return _Promotion(f"promoted: one stage only, {why}", frozenset({only.name}), whole=True)
        return _Promotion(f"not promoted: {counted}")

    def _use(self, stage: StageView, agent: AgentSettings, promotion: _Promotion) -> _Use:
        tier, why = self._tier(stage, agent, promotion)
        pick = self._pool(tier).pick(agent)
        return _Use(stage.name, agent, replace(pick, reason=f"{why}; {pick.reason}"))

    def _tier(self, stage: StageView, agent: AgentSettings, promotion: _Promotion) -> tuple[TierName, str]:
        if agent.tier is not None:
            return agent.tier, f"pinned by agents.{agent.name}.tier"
        if stage.name in promotion.stages:
            return "large", promotion.reason
        if agent.model is not None and not self._lists("small", agent.model) and self._lists("large", agent.model):
            return "large", f"agents.{agent.name}.model is in tiers.large only"
        return "small", promotion.reason

    def _lists(self, name: TierName, model: str) -> bool:
        tier = self.settings.tiers.get(name)
        ways = [way for way in (tier, tier and tier.otherwise) if way is not None]
        return any(canonical(listed) == canonical(model) for way in ways for listed in way.models)

    def _pool(self, tier: TierName) -> Pool:
        if tier not in self.pools:
            self.pools[tier] = open_pool(self.settings.tiers[tier], self.settings, self.offers, self.budgets)
        return self.pools[tier]

    def _budget(self, pick: Pick) -> Mib:
        return self.budgets.get(pick.endpoint.device, 0)

    def _side_by_side(self, uses: Sequence[_Use]) -> list[_Use]:
        """Rule 5: where the small tier's models do not fit together, one of them serves every agent that it may."""
        small = [use for use in uses if use.pick.tier == "small"]
        models = [spec.model for spec in self._specs(small)]
        crowded = self._crowded(small)
        if crowded is None:
            return list(uses)
        served = Counter(use.pick.model.name for use in small)
        order = [canonical(name) for name in self._pool("small").tier.models]
        targets = sorted(models, key=lambda name: (-served[name], order.index(canonical(name))))
        ways = [way for target in targets if (way := self._onto(target, uses, crowded)) is not None]
        best = min(ways, key=_models_in_small, default=list(uses))
        if still := self._crowded([use for use in best if use.pick.tier == "small"]):
            self.notes[f"{still}: they will be swapped, because their agents name them"] = None
        return best

    def _crowded(self, small: Sequence[_Use]) -> str | None:
        """The sum, if these uses' models are several and do not fit side by side."""
        specs = self._specs(small)
        needed = sum(spec.footprint for spec in specs)
        if len(specs) < 2 or needed <= self._budget(small[0].pick):
            return None
        names = " and ".join(spec.model for spec in specs)
        return f"{names} need {needed} MiB side by side, {specs[0].device} has {self._budget(small[0].pick)}"

    def _onto(self, target: str, uses: Sequence[_Use], crowded: str) -> list[_Use] | None:
        """The uses with every small-tier agent that may on the model `target`; None if it then does not fit itself."""
        model = next(use.pick.model for use in uses if use.pick.tier == "small" and use.pick.model.name == target)
        moved = [self._moved(use, model) for use in uses]
        there = [use.pick for use in moved if use.pick.tier == "small" and use.pick.model == model]
        context, wanted = max(pick.capped for pick in there), max(pick.slots for pick in there)
        slots = fitting_slots(model, there[0].endpoint, self._budget(there[0]), num_ctx=context, slots=wanted)
        if slots is None:
            return None
        agents = len({use.agent.name for use in moved if use.pick in there})
        why = f"{crowded}, so {target} with {slots} slot{'' if slots == 1 else 's'} serves {agents} agents"
        return [
            replace(use, pick=replace(use.pick, reason=f"{use.pick.reason}; {why}")) if use.pick in there else use
            for use in moved
        ]

    def _moved(self, use: _Use, model: ModelOffer) -> _Use:
        """The use on `model`, if it is of the small tier and its agent does not insist on another."""
        pick, agent = use.pick, use.agent
        insists = agent.model is not None and canonical(agent.model) == canonical(pick.model.name)
        accepts = canonical(model.name) in {canonical(name) for name in agent.fallback}
        if pick.tier != "small" or pick.model == model or (insists and not accepts):
            return use
        return replace(use, pick=replace(pick, model=model))

    def _escalation(self, use: _Use) -> Pick | None:
        """The large tier's model for attempts without progress; None if there is no other, or it cannot be had now."""
        if use.pick.tier == "large" or use.agent.tier is not None or "large" not in self.settings.tiers:
            return None
        try:
            pick = self._pool("large").pick(use.agent)
        except VwtError as error:
            self.notes[f"no escalation to the large tier: {error.message}"] = None
            return None
        if not pick.model.installed:
            self.notes[f"no escalation to the large tier: {pick.model.name} has not been pulled"] = None
            return None
        return None if pick.key == use.pick.key else replace(pick, reason=f"escalated; {pick.reason}")

    def _specs(self, uses: Iterable[_Use]) -> list[ModelPlan]:
        """Each model once, with the most context and slots any use wants; fewer slots if it does not fit with all."""
        uses = list(uses)
        routed = [use.pick for use in uses]
        escalations = [use.escalation for use in uses if use.escalation is not None]
        shared: dict[tuple[str, str], list[Pick]] = {}
        for pick in (*routed, *escalations):
            shared.setdefault(pick.key, []).append(pick)
        return [self._spec(picks, only_escalation=picks[0] not in routed) for picks in shared.values()]

    def _spec(self, picks: Sequence[Pick], *, only_escalation: bool) -> ModelPlan:
        first = picks[0]
        context, wanted = max(pick.capped for pick in picks), max(pick.slots for pick in picks)
        budget = self._budget(first)
        slots = fitting_slots(first.model, first.endpoint, budget, num_ctx=context, slots=wanted)
        assert slots is not None, "the pick with the most context fitted, so one of these does"
        need = first.model.need(first.endpoint, num_ctx=context, slots=slots)
        return ModelPlan(
            endpoint=first.endpoint.name,
            model=first.model.name,
            device=first.endpoint.device,
            footprint=need.mib,
            arithmetic=need.arithmetic,
            num_ctx=context,
            slots=slots,
            tiers=tuple(sorted({pick.tier for pick in picks}, reverse=True)),
            needs_pull=not first.model.installed,
            only_escalation=only_escalation,
        )

    def _tell(self, uses: Sequence[_Use]) -> None:
        """The notes on what was passed over, and one line for each endpoint that does not answer."""
        picks = [pick for use in uses for pick in (use.pick, use.escalation) if pick is not None]
        told: dict[str, None] = {}
        for silent in dict.fromkeys(pool.instead_of for pool in self.pools.values() if pool.instead_of):
            tiers = [tier for tier, pool in self.pools.items() if pool.instead_of == silent]
            here = {self.pools[tier].endpoint.name: None for tier in tiers}
            models = {pick.model.name: None for pick in picks if pick.tier in tiers}
            offer = self.offers.get(silent)
            detail = f" ({offer.detail})" if offer is not None and offer.detail else ""
            told[f"{silent} does not answer{detail}: using {', '.join(here)} instead ({', '.join(models)})"] = None
        told.update({note: None for pick in picks for note in pick.notes})
        self.notes = {**told, **self.notes}


def _models_in_small(uses: Sequence[_Use]) -> int:
    return len({use.pick.key for use in uses if use.pick.tier == "small"})


def _route(use: _Use, specs: Mapping[tuple[str, str], ModelPlan]) -> Route:
    escalated = _routed(use, use.escalation, specs) if use.escalation is not None else None
    return replace(_routed(use, use.pick, specs), escalated=escalated)


def _routed(use: _Use, pick: Pick, specs: Mapping[tuple[str, str], ModelPlan]) -> Route:
    spec = specs[pick.key]
    reason = pick.reason
    if spec.slots < pick.slots:
        reason = f"{reason}; {spec.slots} of {pick.slots} slots, because another agent needs num_ctx {spec.num_ctx}"
    return Route(
        stage=use.stage,
        agent=use.agent.name,
        tier=pick.tier,
        endpoint=spec.endpoint,
        model=spec.model,
        device=spec.device,
        num_ctx=spec.num_ctx,
        slots=spec.slots,
        footprint=spec.footprint,
        arithmetic=spec.arithmetic,
        reason=reason,
        needs_pull=spec.needs_pull,
    )
