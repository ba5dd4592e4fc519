"""The models of a run: what its agents want of each, the size each gets, and what was given up for that. Pure.

Owns how many agents' wants become one demand on a model, and the sentences with the arithmetic of what fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from vwt_agents.routing.fit import Demand, Fit, Size, choose
from vwt_agents.routing.plan import ModelPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.config import AgentSettings
    from vwt_agents.routing.concurrency import Concurrency
    from vwt_agents.routing.pool import Pick
    from vwt_agents.types import Mib, TierName

__all__ = ["Use", "demands", "listed", "settle", "side_by_side", "substitution"]

Key: TypeAlias = tuple[str, str]
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class Use:
    """An agent in a stage: why its tier, its model, and the model its escalation leads to.

    `moved` says from which model it was moved to this one, and why; empty where it was not.
    """

    stage: str
    agent: AgentSettings
    why: str
    pick: Pick
    escalation: Pick | None = None
    moved: str = ""


def demands(uses: Sequence[Use], concurrency: Concurrency) -> dict[Key, Demand]:
    """What these uses, and their escalations, want of each model; those that routes lead to come first."""
    shared: dict[Key, list[tuple[Use, Pick]]] = {}
    for use in uses:
        shared.setdefault(use.pick.key, []).append((use, use.pick))
    for use in uses:
        if use.escalation is not None:
            shared.setdefault(use.escalation.key, []).append((use, use.escalation))
    return {key: _demand(sharing, concurrency) for key, sharing in shared.items()}


def _demand(sharing: Sequence[tuple[Use, Pick]], concurrency: Concurrency) -> Demand:
    picks = [pick for _, pick in sharing]
    return Demand(
        picks[0].endpoint,
        picks[0].model,
        num_ctx=max(pick.num_ctx for pick in picks),
        floor=max(pick.floor for pick in picks),
        slots=min(max(pick.slots for pick in picks), concurrency.of({use.stage for use, _ in sharing})),
        agents=len({use.agent.name for use, _ in sharing}),
    )


def side_by_side(wanted: Mapping[Key, Demand], budget: Mib) -> bool:
    """Whether these models fit together with as little as they can be served with."""
    return sum(demand.least() for demand in wanted.values()) <= budget


def _fitted(wanted: Mapping[Key, Demand], budget: Mib) -> Fit:
    """The sizes of models that were picked, each of which fits the budget alone with the context its agents need."""
    fit = choose(list(wanted.values()), budget)
    assert fit is not None, "each pick fits alone with the context it needs, so the largest of them does"
    return fit


def settle(uses: Sequence[Use], concurrency: Concurrency, budgets: Mapping[str, Mib]) -> list[ModelPlan]:
    """Each model once, at one size for the whole run.

    Those that routes lead to share their device. One that only an escalation leads to comes in their place, if at all,
    so it has the device to itself.
    """
    wanted = demands(uses, concurrency)
    routed = {use.pick.key for use in uses}
    tiers: dict[Key, set[TierName]] = {}
    tags: dict[Key, dict[str, None]] = {}
    groups: dict[tuple[str, ...], dict[Key, Demand]] = {}
    for pick in (pick for use in uses for pick in (use.pick, use.escalation) if pick is not None):
        tiers.setdefault(pick.key, set()).add(pick.tier)
        tags.setdefault(pick.key, {})[pick.model.name] = None
    for key, demand in wanted.items():
        group = (demand.endpoint.device,) if key in routed else (demand.endpoint.device, *key)
        groups.setdefault(group, {})[key] = demand
    plans: dict[Key, ModelPlan] = {}
    for sharing in groups.values():
        budget = budgets.get(next(iter(sharing.values())).endpoint.device, 0)
        fit = _fitted(sharing, budget)
        for (key, demand), size in zip(sharing.items(), fit.sizes, strict=True):
            plans[key] = ModelPlan(
                endpoint=demand.endpoint.name,
                model=key[1],
                device=demand.endpoint.device,
                footprint=size.need.mib,
                arithmetic=size.need.arithmetic,
                num_ctx=size.num_ctx,
                slots=size.slots,
                tiers=tuple(sorted(tiers[key], reverse=True)),
                tags=tuple(tag for tag in tags[key] if tag != key[1]),
                needs_pull=not demand.model.installed,
                only_escalation=key not in routed,
                given_up=_given_up(demand, size, list(sharing.values()) if fit.side_by_side else [demand], budget),
            )
    return [plans[key] for key in wanted]


def _given_up(demand: Demand, size: Size, sharing: Sequence[Demand], budget: Mib) -> str:
    """What a model has of what was wanted and what all of it would take; empty where it has all of it."""
    less = []
    if size.num_ctx < demand.num_ctx:
        less.append(f"num_ctx {size.num_ctx} of {demand.num_ctx}")
    if size.slots < demand.slots:
        less.append(f"{size.slots} of {demand.slots} slots")
    if not less:
        return ""
    names = listed([one.model.name for one in sharing])
    takes = f"{names} need" if len(sharing) > 1 else f"{names} needs"
    together = " side by side" if len(sharing) > 1 else ""
    total = sum(one.wish.need.mib for one in sharing)
    return f"{', '.join(less)}: with all of it {takes} {total} MiB{together}, {demand.endpoint.device} has {budget}"


def substitution(before: Mapping[Key, Demand], after: Mapping[Key, Demand], budget: Mib) -> str:
    """Why agents were moved: what all their models need at least, and what is needed now."""
    fit = _fitted(after, budget)
    least = sum(demand.least() for demand in before.values())
    text = f"the {_number(len(before))} models need at least {least} MiB side by side, budget {budget} MiB"
    if fit.side_by_side:
        return f"{text}, {_number(len(after))} {'needs' if len(after) == 1 else 'need'} {fit.mib} MiB"
    return f"{text}, {_number(len(after))} are left to swap"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)
