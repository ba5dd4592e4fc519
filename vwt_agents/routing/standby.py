"""Settings and offers as they are once endpoints have been lost in the middle of a run: where a tier's work can go on. Pure."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from vwt_agents.config import TierSettings, canonical

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from vwt_agents.config import Settings
    from vwt_agents.routing.offers import Offer

__all__ = ["standing_in"]


def standing_in(
    settings: Settings, offers: Mapping[str, Offer], down: AbstractSet[str]
) -> tuple[Settings, dict[str, Offer]]:
    """What to plan with while `down` do not answer; only models that are there already, because a run waits.

    A tier on a lost endpoint goes to its `otherwise`; where it has none that has a model, to the first other endpoint of
    agents.toml that has one of the tier's own models, with those of them that it has, in the tier's order.
    """
    left = {name: _here(offer, lost=name in down) for name, offer in offers.items()}
    tiers = {name: _moved(tier, left, down) for name, tier in settings.tiers.items()}
    return replace(settings, tiers=MappingProxyType(tiers)), left


def _here(offer: Offer, *, lost: bool) -> Offer:
    if lost:
        return replace(offer, answers=False, detail="lost in this run")
    return replace(
        offer, models=MappingProxyType({name: model for name, model in offer.models.items() if model.installed})
    )


def _moved(tier: TierSettings, offers: Mapping[str, Offer], down: AbstractSet[str]) -> TierSettings:
    if tier.endpoint not in down or (tier.otherwise is not None and _has(tier.otherwise, offers)):
        return tier
    for name, offer in offers.items():
        models = tuple(model for model in tier.models if offer.answers and offer.find(model) is not None)
        if models:
            return replace(tier, otherwise=replace(tier, endpoint=name, models=models, otherwise=None))
    return tier


def _has(tier: TierSettings, offers: Mapping[str, Offer]) -> bool:
    offer = offers.get(tier.endpoint)
    return offer is not None and offer.answers and any(offer.find(canonical(model)) for model in tier.models)
