"""One agent's model in one tier: which of the tier's models are there, may be used, suit the task and fit. Pure.

Owns rules 3 and 4 of routing, and the errors that say why a tier has nothing for an agent. Never looks at other agents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vwt_agents.config import (
    DEFAULT_NUM_CTX,
    AgentSettings,
    EndpointSettings,
    LicenceSettings,
    Settings,
    TierSettings,
    canonical,
    licence_id,
)
from vwt_agents.errors import EndpointUnavailable, LicenceRefused, ModelMissing, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vwt_agents.routing.offers import ModelOffer, Offer
    from vwt_agents.types import Mib, TierName

__all__ = ["Pick", "Pool", "fitting_slots", "open_pool"]


@dataclass(frozen=True, slots=True)
class Pick:
    """A model chosen for an agent: the context and slots it wants, why it was chosen, and what was passed over."""

    tier: TierName
    endpoint: EndpointSettings
    model: ModelOffer
    num_ctx: int
    slots: int
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The residency it needs."""
        return self.endpoint.name, self.model.name

    @property
    def capped(self) -> int:
        """The context it gets: what it wants, but no more than the model was trained for."""
        return self.model.capped(self.num_ctx)


@dataclass(frozen=True, slots=True)
class _Candidate:
    model: ModelOffer
    why: str


def fitting_slots(
    model: ModelOffer, endpoint: EndpointSettings, budget: Mib, *, num_ctx: int, slots: int
) -> int | None:
    """The most slots, up to `slots`, with which the model fits the budget; None if it does not fit with one."""
    for fewer in range(slots, 0, -1):
        if model.need(endpoint, num_ctx=num_ctx, slots=fewer).mib <= budget:
            return fewer
    return None


def open_pool(tier: TierSettings, settings: Settings, offers: Mapping[str, Offer], budgets: Mapping[str, Mib]) -> Pool:
    """The tier's models where they can be had now; its `otherwise` when its endpoint does not answer.

    EndpointUnavailable when neither does.
    """
    silent: list[str] = []
    for way in (tier, tier.otherwise):
        if way is None:
            continue
        offer = offers.get(way.endpoint)
        if offer is not None and offer.answers:
            endpoint = settings.endpoints[way.endpoint]
            instead_of = tier.endpoint if way is tier.otherwise else None
            return Pool(way, endpoint, offer, settings.licences, budgets.get(endpoint.device, 0), instead_of)
        silent.append(f"{way.endpoint} ({(offer and offer.detail) or 'does not answer'})")
    raise EndpointUnavailable(
        f"tiers.{tier.name} has no endpoint that answers: {', '.join(silent)}",
        hint="python -m vwt_agents doctor says what is missing here, and the command that brings it",
    )


@dataclass(frozen=True, slots=True)
class Pool:
    """A tier on an endpoint that answers; `instead_of` names the one that did not, where this is an `otherwise`."""

    tier: TierSettings
    endpoint: EndpointSettings
    offer: Offer
    licences: LicenceSettings
    budget: Mib
    instead_of: str | None = None

    @property
    def name(self) -> str:
        """As it is called in agents.toml."""
        return f"tiers.{self.tier.name}" + (".otherwise" if self.instead_of else "")

    def slots(self) -> int:
        """Requests it serves at once: the tier's workers, else one in the large tier and all slots in others."""
        workers = self.tier.workers or (1 if self.tier.name == "large" else self.endpoint.parallel)
        return min(workers, self.endpoint.parallel)

    def pick(self, agent: AgentSettings) -> Pick:
        """The best model for the agent that is here, licensed and fits. ModelMissing, LicenceRefused, Rejected."""
        listed = [(name, self.offer.find(name)) for name in self._preferred(agent)]
        known = [found for _, found in listed if found is not None]
        allowed = [found for found in known if self.licences.allows(found.name, found.licence)]
        usable = [found for found in allowed if found.installed]
        by_task = bool(usable)
        if not usable and self.endpoint.kind == "embedded":
            usable = allowed
        passed = self._passed_over(listed, usable)
        if not usable:
            raise self._nothing_usable(agent, passed, refused=[found for found in known if found not in allowed])
        candidates = self._candidates(agent, usable, by_task=by_task)
        return self._fitting(agent, candidates, passed)

    def _preferred(self, agent: AgentSettings) -> list[str]:
        """The tier's models, those that the agent names itself first."""
        here = {canonical(name): name for name in self.tier.models}
        own = [canonical(name) for name in (agent.model, *agent.fallback) if name is not None]
        return [here[name] for name in dict.fromkeys((*own, *here)) if name in here]

    def _candidates(self, agent: AgentSettings, usable: Sequence[ModelOffer], *, by_task: bool) -> list[_Candidate]:
        """The models, best first. Tasks decide in the small tier among installed models; elsewhere the list does."""
        own = {canonical(name): f"agents.{agent.name}.fallback" for name in agent.fallback}
        if agent.model is not None:
            own[canonical(agent.model)] = f"agents.{agent.name}.model"
        by_task = by_task and self.tier.name == "small"
        ranked: list[tuple[int, _Candidate]] = []
        for model in usable:
            why = own.get(canonical(model.name))
            if why is not None:
                ranked.append((-1, _Candidate(model, why)))
            elif by_task:
                rank = model.suits(agent.task)
                made = (f"{self.name} for task {agent.task!r}", f"general model of {self.name}", f"next of {self.name}")
                ranked.append((rank, _Candidate(model, made[rank])))
            else:
                ranked.append((0, _Candidate(model, f"first of {self.name} that can be used")))
        return [candidate for _, candidate in sorted(ranked, key=lambda pair: pair[0])]

    def _passed_over(
        self, listed: Iterable[tuple[str, ModelOffer | None]], usable: Sequence[ModelOffer]
    ) -> dict[str, str]:
        """Why each listed model that cannot be used cannot, by name."""
        reasons: dict[str, str] = {}
        for name, found in listed:
            if found is not None and found in usable:
                continue
            if found is not None and not self.licences.allows(found.name, found.licence):
                licence = licence_id(found.licence)
                reasons[name] = f"{name} is under the licence {licence!r}, which agents.toml does not allow"
            else:
                reasons[name] = f"{name} is not installed on {self.endpoint.name}"
        return reasons

    def _nothing_usable(
        self, agent: AgentSettings, passed: Mapping[str, str], *, refused: Sequence[ModelOffer]
    ) -> LicenceRefused | ModelMissing:
        missing = [name for name in passed if name not in {model.name for model in refused}]
        message = f"agents.{agent.name}: {self.name} has no model that can be used: {'; '.join(passed.values())}"
        pull = self._pull_hint(missing[0]) if missing else ""
        if not refused:
            return ModelMissing(message, hint=pull)
        accept = ", ".join(f'"{name}"' for name in (*self.licences.accept, refused[0].name))
        hint = f"if you agree to its licence, say so in agents.toml: [licences] accept = [{accept}]"
        return LicenceRefused(message, hint=f"{hint}; or {pull}" if pull else hint)

    def _pull_hint(self, model: str) -> str:
        if self.endpoint.kind == "ollama":
            return f"ollama pull {model}   (or: python -m vwt_agents models pull {model})"
        return "python -m vwt_agents models list shows what the embedded engine can pull"

    def _fitting(self, agent: AgentSettings, candidates: Sequence[_Candidate], passed: Mapping[str, str]) -> Pick:
        """Rule 4: the first that fits with all slots, else the first that fits with fewer, else Rejected."""
        num_ctx, wanted = agent.num_ctx or self.tier.num_ctx or DEFAULT_NUM_CTX, self.slots()
        # Ollama's KV cache does not depend on the slots we use, so fewer of them save nothing there.
        least = wanted if self.endpoint.kind == "ollama" else 1
        for slots in range(wanted, least - 1, -1):
            too_big: list[str] = []
            for candidate in candidates:
                model = candidate.model
                need = model.need(self.endpoint, num_ctx=model.capped(num_ctx), slots=slots)
                if need.mib > self.budget:
                    too_big.append(f"{model.name} needs {need.mib} MiB, {self.endpoint.device} has {self.budget}")
                    continue
                notes = (*self._before(candidate, agent, passed), *too_big, *_remarks(model, num_ctx, slots, wanted))
                return Pick(
                    self.tier.name, self.endpoint, model, num_ctx, slots, "; ".join((candidate.why, *notes)), notes
                )
        raise self._rejected(agent, candidates, num_ctx=num_ctx, slots=wanted)

    def _before(self, chosen: _Candidate, agent: AgentSettings, passed: Mapping[str, str]) -> list[str]:
        """What was preferred to the chosen model but could not be used."""
        preferred = self._preferred(agent)
        names = [canonical(name) for name in preferred]
        return [passed[name] for name in preferred[: names.index(canonical(chosen.model.name))] if name in passed]

    def _rejected(
        self, agent: AgentSettings, candidates: Sequence[_Candidate], *, num_ctx: int, slots: int
    ) -> Rejected:
        device = self.endpoint.device
        sums = "; ".join(self._sum(candidate.model, num_ctx=num_ctx, slots=slots) for candidate in candidates)
        message = f"agents.{agent.name}: no model of {self.name} fits {device}: {sums}"
        if not self.budget and device != "cpu":
            hint = f'{device} has no memory to give: set device = "cpu" for endpoints.{self.endpoint.name} if it runs'
            return Rejected(message, hint=f'{hint} there, or name a size: [budget] {device} = "14 GiB"')
        return Rejected(
            message, hint=f"a lower num_ctx, an endpoint with parallel = 1, or more under [budget] {device}"
        )

    def _sum(self, model: ModelOffer, *, num_ctx: int, slots: int) -> str:
        """The arithmetic of a rejection, with what one slot would need."""
        context = model.capped(num_ctx)
        need = model.need(self.endpoint, num_ctx=context, slots=slots)
        allotted = self.endpoint.parallel if self.endpoint.kind == "ollama" else slots
        text = f"{model.name} needs {need.mib} MiB at num_ctx {context} x {allotted} ({need.arithmetic})"
        text = f"{text}, budget {self.budget} MiB"
        if allotted == 1:
            return text
        single = EndpointSettings(self.endpoint.name, self.endpoint.kind, self.endpoint.device, parallel=1)
        return f"{text}; with parallel = 1 it needs {model.need(single, num_ctx=context, slots=1).mib} MiB"


def _remarks(model: ModelOffer, num_ctx: int, slots: int, wanted: int) -> list[str]:
    remarks = []
    if slots < wanted:
        remarks.append(f"{model.name} fits with {slots} of {wanted} slots")
    if model.capped(num_ctx) < num_ctx:
        remarks.append(
            f"{model.name} was trained for num_ctx {model.capped(num_ctx)}, less than the {num_ctx} asked for"
        )
    if not model.installed:
        remarks.append(f"{model.name} has to be pulled first: python -m vwt_agents models pull {model.name}")
    if not model.licence.strip():
        remarks.append(f"{model.name}: its endpoint names no licence")
    return remarks
