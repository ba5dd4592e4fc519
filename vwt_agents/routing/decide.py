"""The decision: which tier each stage goes to, and one plan for all of the run's models. Pure.

Owns rules 1, 2 and 5 of routing; `pool` has 3 and 4. Same graph, settings, offers and budgets: same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from vwt_agents.config import AgentSettings, Settings, canonical
from vwt_agents.errors import VwtError
from vwt_agents.routing.concurrency import Concurrency
from vwt_agents.routing.plan import GraphView, ModelPlan, Plan, Route, StageView
from vwt_agents.routing.pool import Pick, Pool, open_pool
from vwt_agents.routing.residents import Use, demands, listed, settle, side_by_side, substitution
from vwt_agents.routing.substitute import Seat, reseated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vwt_agents.routing.offers import Offer
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


class _Decision:
    """One run being planned; `notes` gathers what the user should know, in order, once each."""

    def __init__(
        self, graph: GraphView, settings: Settings, offers: Mapping[str, Offer], budgets: Mapping[str, Mib]
    ) -> None:
        self.stages = tuple(graph.stages)
        self.settings = settings
        self.offers = offers
        self.budgets = budgets
        self.concurrency = Concurrency(self.stages, settings.scheduler.max_agents)
        self.pools: dict[TierName, Pool] = {}
        self.notes: dict[str, None] = {}

    def plan(self) -> Plan:
        promotion = self._promotion()
        uses = [
            self._use(stage, self.settings.agents[name], promotion) for stage in self.stages for name in stage.agents
        ]
        for device in dict.fromkeys(use.pick.endpoint.device for use in uses):
            uses = self._substituted(uses, device)
        uses = self._within_reach([replace(use, escalation=self._escalation(use)) for use in uses])
        residents = settle(uses, self.concurrency, self.budgets)
        specs = {(spec.endpoint, spec.model): spec for spec in residents}
        routes = {(use.stage, use.agent.name): _route(use, specs) for use in uses}
        self._tell(uses)
        self._tell_sizes(uses, residents)
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

    def _use(self, stage: StageView, agent: AgentSettings, promotion: _Promotion) -> Use:
        tier, why = self._tier(stage, agent, promotion)
        at_once = self.concurrency.of({other.name for other in self.stages if agent.name in other.agents})
        return Use(stage.name, agent, why, self._pool(tier).pick(agent, at_once=at_once))

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

    def _substituted(self, uses: Sequence[Use], device: str) -> list[Use]:
        """Rule 5: where a device's models do not fit side by side, agents that may move share fewer of them."""
        here = [use for use in uses if use.pick.endpoint.device == device]
        before, budget = demands(here, self.concurrency), self.budgets.get(device, 0)
        if not self.settings.routing.substitute or side_by_side(before, budget):
            return list(uses)
        seats = {(use.agent.name, use.pick.tier): self._seat(use, before) for use in here}
        picks = dict(zip(seats, reseated(list(seats.values()), budget), strict=True))
        after = [replace(use, pick=picks[use.agent.name, use.pick.tier]) for use in here]
        why = substitution(before, demands(after, self.concurrency), budget)
        moved = {
            (old.stage, old.agent.name): replace(
                new, moved=f"{new.pick.model.name} instead of {old.pick.model.name}: {why}"
            )
            for old, new in zip(here, after, strict=True)
            if old.pick.key != new.pick.key
        }
        return [moved.get((use.stage, use.agent.name), use) for use in uses]

    def _seat(self, use: Use, models: Iterable[tuple[str, str]]) -> Seat:
        # of two tags of the same weights the better comes first
        accepted = {pick.key: pick for pick in reversed(self._pool(use.pick.tier).accepted(use.agent))}
        return Seat(use.agent.name, use.pick, {key: accepted[key] for key in models if key in accepted})

    def _escalation(self, use: Use) -> Pick | None:
        """The large tier's model for attempts without progress; None if there is no other, or it cannot be had now."""
        if use.pick.tier == "large" or use.agent.tier is not None or "large" not in self.settings.tiers:
            return None
        try:
            pick = self._pool("large").pick(use.agent, at_once=1)
        except VwtError as error:
            self.notes[f"no escalation to the large tier: {error.message}"] = None
            return None
        if not pick.model.installed:
            self.notes[f"no escalation to the large tier: {pick.model.name} has not been pulled"] = None
            return None
        return None if pick.key == use.pick.key else pick

    def _within_reach(self, uses: Sequence[Use]) -> list[Use]:
        """Without the escalations whose context would cost models that routes lead to their place side by side."""
        routed = {use.pick.key for use in uses}
        kept = list(uses)
        for index, use in enumerate(uses):
            pick = use.escalation
            if pick is None or pick.key not in routed:
                continue
            device = pick.endpoint.device
            plain = [replace(one, escalation=None) for one in uses if one.pick.endpoint.device == device]
            if self._side_by_side(plain, device) and not self._side_by_side([*plain, use], device):
                kept[index] = replace(use, escalation=None)
                self.notes[
                    f"no escalation of {use.agent.name} to {pick.model.name}: with its num_ctx {pick.floor} the models "
                    f"would no longer fit side by side"
                ] = None
        return kept

    def _side_by_side(self, uses: Sequence[Use], device: str) -> bool:
        routed = {use.pick.key for use in uses}
        wanted = {key: demand for key, demand in demands(uses, self.concurrency).items() if key in routed}
        return side_by_side(wanted, self.budgets.get(device, 0))

    def _tell_sizes(self, uses: Sequence[Use], residents: Iterable[ModelPlan]) -> None:
        """The notes on models that are swapped, and on those that got less than was wanted."""
        wanted = demands(uses, self.concurrency)
        because = "their agents accept no other" if self.settings.routing.substitute else "routing.substitute is false"
        sure = [spec for spec in residents if not spec.only_escalation]
        for device in dict.fromkeys(spec.device for spec in sure):
            budget = self.budgets.get(device, 0)
            here = [spec for spec in sure if spec.device == device]
            if sum(spec.footprint for spec in here) > budget:
                least = sum(wanted[spec.endpoint, spec.model].least() for spec in here)
                names = listed([spec.model for spec in here])
                said = f"{names} need at least {least} MiB side by side, {device} has {budget}"
                self.notes[f"{said}: they are swapped, because {because}"] = None
        for spec in sure:
            if spec.given_up:
                self.notes[f"{spec.model} has {spec.given_up}"] = None

    def _tell(self, uses: Sequence[Use]) -> None:
        """The notes on what was passed over, and one line for each endpoint that does not answer."""
        picks = [pick for use in uses for pick in (use.pick, use.escalation) if pick is not None]
        told: dict[str, None] = {}
        for silent in dict.fromkeys(pool.instead_of for pool in self.pools.values() if pool.instead_of):
            tiers = [tier for tier, pool in self.pools.items() if pool.instead_of == silent]
            here = {self.pools[tier].endpoint.name: None for tier in tiers}
            models = {pick.model.name: None for pick in picks if pick.tier in tiers}
            told[f"{self._why(silent)}: using {', '.join(here)} instead ({', '.join(models)})"] = None
        told.update(dict.fromkeys(self._starts(uses)))
        told.update({note: None for pick in picks for note in pick.notes})
        self.notes = {**told, **self.notes}

    def _why(self, silent: str) -> str:
        """Why an endpoint is of no use."""
        offer = self.offers.get(silent)
        if offer is not None and offer.empty:
            first = self.settings.listed(silent)[0]
            return f"{silent} has none of the models in agents.toml (`ollama pull {first}` would bring one)"
        return f"{silent} does not answer" + (f" ({offer.detail})" if offer is not None and offer.detail else "")

    def _starts(self, uses: Iterable[Use]) -> Iterator[str]:
        """A note on each endpoint that a route leads to and that is not running yet."""
        for name in dict.fromkeys(use.pick.endpoint.name for use in uses):
            if self.offers[name].asleep:
                yield f"endpoint {name} is {self.offers[name].detail}"


def _route(use: Use, specs: Mapping[tuple[str, str], ModelPlan]) -> Route:
    reasons = (use.why, use.pick.reason, use.moved)
    escalated = _routed(use, use.escalation, specs, ("escalated", use.escalation.reason)) if use.escalation else None
    return replace(_routed(use, use.pick, specs, reasons), escalated=escalated)


def _routed(use: Use, pick: Pick, specs: Mapping[tuple[str, str], ModelPlan], reasons: Sequence[str]) -> Route:
    spec = specs[pick.key]
    return Route(
        stage=use.stage,
        agent=use.agent.name,
        tier=pick.tier,
        endpoint=spec.endpoint,
        model=pick.model.name,
        device=spec.device,
        num_ctx=spec.num_ctx,
        slots=spec.slots,
        footprint=spec.footprint,
        arithmetic=spec.arithmetic,
        reason="; ".join(reason for reason in (*reasons, spec.given_up) if reason),
        needs_pull=spec.needs_pull,
        residency=spec.model if spec.model != pick.model.name else "",
    )
