"""One agent's model in one tier: which of the tier's models are there, may be used, suit the task and fit. Pure.

Owns rules 3 and 4 of routing, and the errors that say why a tier has nothing for an agent. Never looks at other agents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

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
from vwt_agents.errors import EndpointAsleep, EndpointUnavailable, LicenceRefused, ModelMissing, Rejected, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vwt_agents.routing.offers import ModelOffer, Need, Offer
    from vwt_agents.types import Mib, TierName

__all__ = ["LEAST_NUM_CTX", "Pick", "Pool", "open_pool"]

LEAST_NUM_CTX: Final = 2048
"""Tokens a slot that an agent without a num_ctx of its own is left with at least."""

_PROMPT_TOKENS: Final = 1024
_CHARACTERS_A_TOKEN: Final = 3
_CONTEXT_UNIT: Final = 256


@dataclass(frozen=True, slots=True)
class Pick:
    """A model chosen for an agent, why, and what was passed over.

    `num_ctx` is the context it would like and `floor` what it cannot do without, both no more than the model was trained
    for; `slots` is what its tier gives. `rank` is how well the model suits the agent: 0 named by it, 1 made for its
    task, 2 a general model, 3 made for something else.
    """

    tier: TierName
    endpoint: EndpointSettings
    model: ModelOffer
    num_ctx: int
    floor: int
    slots: int
    reason: str
    rank: int = 0
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The residency it needs: two tags of the same weights need one."""
        return self.endpoint.name, self.model.loaded_as

    def least(self) -> Need:
        """What the model takes at least to serve it."""
        return self.model.need(self.endpoint, num_ctx=self.floor, slots=1)


@dataclass(frozen=True, slots=True)
class _Candidate:
    model: ModelOffer
    why: str
    rank: int


def open_pool(tier: TierSettings, settings: Settings, offers: Mapping[str, Offer], budgets: Mapping[str, Mib]) -> Pool:
    """The tier's models where they can be had now; its `otherwise` when its endpoint does not answer, or answers and has no
    model of any tier.

    EndpointUnavailable when neither answers.
    """
    silent: list[str] = []
    spare = offers.get(tier.otherwise.endpoint) if tier.otherwise is not None else None
    for way in (tier, tier.otherwise):
        if way is None:
            continue
        offer = offers.get(way.endpoint)
        if way is tier and offer is not None and offer.empty and spare is not None and spare.useful:
            continue
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
    """A tier on an endpoint that answers; `instead_of` names the one that is of no use, where this is an `otherwise`."""

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

    def pick(self, agent: AgentSettings, *, at_once: int) -> Pick:
        """The best model for the agent that is here, licensed and fits. ModelMissing, LicenceRefused, Rejected.

        `at_once` is how many calls the agent can have in flight: a model needs no more slots than that.
        """
        listed = self._listed(agent)
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
        return self._fitting(agent, candidates, passed, wanted=min(self.slots(), at_once))

    def accepted(self, agent: AgentSettings) -> list[Pick]:
        """The tier's models that the agent may be moved to, best first; whether they fit is not looked at.

        An agent that names a model accepts its `fallback` and nothing else; one that names none, any model of the tier
        that was trained for the context it declares.
        """
        known = [found for _, found in self._listed(agent) if found is not None]
        allowed = [found for found in known if self.licences.allows(found.name, found.licence)]
        candidates = self._candidates(agent, allowed, by_task=True)
        if agent.model is not None:
            candidates = [candidate for candidate in candidates if candidate.rank == 0]
        long_enough = [one for one in candidates if one.model.capped(agent.num_ctx or 0) == (agent.num_ctx or 0)]
        return [self._seat(agent, candidate, ()) for candidate in long_enough]

    def _listed(self, agent: AgentSettings) -> list[tuple[str, ModelOffer | None]]:
        return [(name, self.offer.find(name)) for name in self._preferred(agent)]

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
        candidates = []
        for model in usable:
            why, suits = own.get(canonical(model.name)), model.suits(agent.task)
            if why is not None:
                candidates.append(_Candidate(model, why, 0))
                continue
            made = (f"{self.name} for task {agent.task!r}", f"general model of {self.name}", f"next of {self.name}")
            why = made[suits] if by_task else f"first of {self.name} that can be used"
            candidates.append(_Candidate(model, why, 1 + suits))
        return sorted(candidates, key=lambda one: one.rank if by_task else min(one.rank, 1))

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
            elif name in self.offer.unknown:
                reasons[name] = f"nothing is known yet of {name} on {self.endpoint.name}, which is not running"
            elif name in self.offer.untold:
                reasons[name] = f"{self.endpoint.name} does not say what {name} is ({self.offer.untold[name]})"
            else:
                bring = f" (python -m vwt_agents models pull {name} brings it)" if found is not None else ""
                reasons[name] = f"{name} is not installed on {self.endpoint.name}{bring}"
        return reasons

    def _nothing_usable(
        self, agent: AgentSettings, passed: Mapping[str, str], *, refused: Sequence[ModelOffer]
    ) -> LicenceRefused | ModelMissing | EndpointAsleep | EndpointUnavailable:
        if self.offer.unknown.intersection(passed):
            here = self.endpoint.name
            hint = f"start it once, and what it has is remembered: python -m vwt_agents endpoints up {here}"
            message = f"agents.{agent.name}: {self.name} has no model of which enough is known: "
            return EndpointAsleep(message + "; ".join(passed.values()), endpoint=here, hint=hint)
        message = f"agents.{agent.name}: {self.name} has no model that can be used: {'; '.join(passed.values())}"
        if self.offer.untold.keys() & passed.keys():
            return EndpointUnavailable(message, hint="try again; if it stays so: python -m vwt_agents doctor")
        missing = [name for name in passed if name not in {model.name for model in refused}]
        pull = self._pull_hint(missing[0]) if missing else ""
        if not refused:
            return ModelMissing(message, hint=self._missing_hint(missing[0]))
        accept = ", ".join(f'"{name}"' for name in (*self.licences.accept, refused[0].name))
        hint = f"if you agree to its licence, say so in agents.toml: [licences] accept = [{accept}]"
        return LicenceRefused(message, hint=f"{hint}; or {pull}" if pull else hint)

    def _missing_hint(self, model: str) -> str:
        there = nearest(model, self.offer.others) or "python -m vwt_agents models"
        if self.endpoint.kind == "ollama":
            return f"{self._pull_hint(model)}; or name in [{self.name}] one that it has: {there}"
        own = f"; name one of them in [{self.name}], such as {there}" if self.offer.others else ""
        return self._pull_hint(model) + own

    def _pull_hint(self, model: str) -> str:
        if self.endpoint.kind == "ollama":
            return f"ollama pull {model}   (or: python -m vwt_agents models pull {model})"
        return "python -m vwt_agents models list shows what the embedded engine can pull"

    def _fitting(
        self, agent: AgentSettings, candidates: Sequence[_Candidate], passed: Mapping[str, str], *, wanted: int
    ) -> Pick:
        """Rule 4: the first that fits with all slots, else the first that fits with fewer, else Rejected.

        What has to fit is the context that the agent needs; how much of what it would like it gets is decided for all.
        """
        # Ollama's KV cache does not depend on the slots we use, so fewer of them save nothing there.
        least = wanted if self.endpoint.kind == "ollama" else 1
        for slots in range(wanted, least - 1, -1):
            too_big: list[str] = []
            for candidate in candidates:
                model = candidate.model
                need = model.need(self.endpoint, num_ctx=model.capped(self._floor(agent)), slots=slots)
                if need.mib <= self.budget:
                    return self._seat(agent, candidate, (*self._before(candidate, agent, passed), *too_big))
                why = f" ({need.arithmetic.partition(';')[0]})" if need.spilled else ""
                too_big.append(f"{model.name} needs {need.mib} MiB{why}, {self.endpoint.device} has {self.budget}")
        raise self._rejected(agent, candidates, slots=wanted)

    def _seat(self, agent: AgentSettings, candidate: _Candidate, passed: Sequence[str]) -> Pick:
        model, num_ctx = candidate.model, self._wish(agent)
        notes = (*passed, *_remarks(model, num_ctx))
        return Pick(
            self.tier.name,
            self.endpoint,
            model,
            num_ctx=model.capped(num_ctx),
            floor=model.capped(self._floor(agent)),
            slots=min(self.slots(), model.allotted(self.endpoint, self.slots())),
            reason="; ".join((candidate.why, *notes)),
            rank=candidate.rank,
            notes=notes,
        )

    def _wish(self, agent: AgentSettings) -> int:
        return agent.num_ctx or self.tier.num_ctx or DEFAULT_NUM_CTX

    def _floor(self, agent: AgentSettings) -> int:
        """The context an agent cannot do without: its own num_ctx, else room for its instructions, a prompt and an answer."""
        if agent.num_ctx is not None:
            return agent.num_ctx
        tokens = len(agent.system) // _CHARACTERS_A_TOKEN + _PROMPT_TOKENS + (agent.options.num_predict or 0)
        return min(self._wish(agent), max(LEAST_NUM_CTX, -(-tokens // _CONTEXT_UNIT) * _CONTEXT_UNIT))

    def _before(self, chosen: _Candidate, agent: AgentSettings, passed: Mapping[str, str]) -> list[str]:
        """What was preferred to the chosen model but could not be used."""
        preferred = self._preferred(agent)
        names = [canonical(name) for name in preferred]
        return [passed[name] for name in preferred[: names.index(canonical(chosen.model.name))] if name in passed]

    def _rejected(self, agent: AgentSettings, candidates: Sequence[_Candidate], *, slots: int) -> Rejected:
        device = self.endpoint.device
        num_ctx = self._floor(agent)
        sums = "; ".join(self._sum(candidate.model, num_ctx=num_ctx, slots=slots) for candidate in candidates)
        message = f"agents.{agent.name}: no model of {self.name} fits {device}: {sums}"
        if not self.budget and device != "cpu":
            hint = f'{device} has no memory to give: set device = "cpu" for endpoints.{self.endpoint.name} if it runs'
            return Rejected(message, hint=f'{hint} there, or name a size: [budget] {device} = "14 GiB"')
        lower = "a lower num_ctx, " if agent.num_ctx is not None else ""
        parallel = "an endpoint with parallel = 1, or " if self._allotted(slots) > 1 else "a smaller model, or "
        return Rejected(message, hint=f"{lower}{parallel}more under [budget] {device}")

    def _allotted(self, slots: int) -> int:
        return self.endpoint.parallel if self.endpoint.kind == "ollama" else slots

    def _sum(self, model: ModelOffer, *, num_ctx: int, slots: int) -> str:
        """The arithmetic of a rejection, with what one slot would need."""
        context = model.capped(num_ctx)
        need = model.need(self.endpoint, num_ctx=context, slots=slots)
        allotted = model.allotted(self.endpoint, slots)
        text = f"{model.name} needs {need.mib} MiB at num_ctx {context} x {allotted} ({need.arithmetic})"
        text = f"{text}, budget {self.budget} MiB"
        if allotted == 1:
            return text
        single = replace(self.endpoint, parallel=1)
        return f"{text}; with parallel = 1 it needs {model.need(single, num_ctx=context, slots=1).mib} MiB"


def _remarks(model: ModelOffer, num_ctx: int) -> list[str]:
    remarks = []
    if model.capped(num_ctx) < num_ctx:
        remarks.append(
            f"{model.name} was trained for num_ctx {model.capped(num_ctx)}, less than the {num_ctx} asked for"
        )
    if not model.installed:
        remarks.append(f"{model.name} was not there yet: the run pulls it first, as `models pull {model.name}` does")
    if not model.licence.strip():
        remarks.append(f"{model.name}: its endpoint names no licence")
    return remarks
