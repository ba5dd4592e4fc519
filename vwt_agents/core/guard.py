"""The guard: from when on a model's first request is due, and what makes room for it then. Pure functions of the state.

A visit that others wait for lasts long enough that the swaps they force take no more than a `share` of the time.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeAlias

from vwt_agents.core.outlook import outlook
from vwt_agents.core.placement import Placement, bring, cheapest, eviction_cost, movable, shortage, unwanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.core.placement import Cost
    from vwt_agents.core.queue import Waiting
    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.core.state import Model, Residency, State
    from vwt_agents.types import Seconds

    Shares: TypeAlias = Mapping[RequestClass, float]
    """By class, the share of time that swaps forced by waiting requests may take."""

__all__ = ["clear", "first_due", "turn", "urgent_at", "visit_end"]


def first_due(model: Model) -> Waiting:
    """The request due first of a model that is asked for."""
    head = model.queue.soonest_due()
    assert head is not None, model.spec.key
    return head


def urgent_at(state: State, model: Model, shares: Shares) -> Seconds:
    """When the model's load has to begin for its first request to be granted when due.

    A wait shorter than a swap's price over its share of time cannot be kept but by swapping for ever; there the
    price sets the moment.
    """
    first = first_due(model)
    if first.due - model.load_s > state.now:  # time enough to ask again
        return first.due - model.load_s
    longest = max((state.models[each.key].load_s for each in state.on(model.spec.device)), default=0.0)
    feasible = first.since + (model.load_s + longest) / shares[first.lane]
    return max(first.due, feasible) - model.load_s


def turn(state: State, model: Model, shares: Shares) -> tuple[Seconds, int]:
    """A due model's place in line: by its moment, but not ahead of anyone who was due when it last left."""
    return (max(urgent_at(state, model, shares), model.left_at), model.left_order)


def visit_end(state: State, residency: Residency, load_s: Seconds, share: float) -> Seconds:
    """The moment from which a residency may be drained for another that takes `load_s` to load, if swaps like that are to
    take no more than a `share` of the time; at once if nobody asks for it.
    """
    if not state.models[residency.key].queue:
        return -inf
    if not residency.granted:
        return inf
    return residency.since + (state.models[residency.key].load_s + load_s) * (1.0 / share - 1.0)


def clear(state: State, due: Model, shares: Shares) -> Placement:
    """Drain those whose visits were long enough until they are idle, then let them go together: none goes in vain.

    Nothing but the due model is loaded meanwhile.
    """
    share = shares[first_due(due).lane]
    device = due.spec.device
    yielding = [
        residency
        for residency in movable(state, device)
        if residency.draining or visit_end(state, residency, due.load_s, share) <= state.now
    ]
    price, _ = outlook(state, device)
    victims = cheapest(shortage(state, due), yielding, lambda leaving: _disruption(state, leaving, due, price))
    if victims is None:
        return Placement(target=due.spec.key)
    if all(victim.idle for victim in victims):
        return bring(state, due, victims)
    return Placement(target=due.spec.key, drain=frozenset(victim.key for victim in victims))


def _disruption(state: State, victims: Sequence[Residency], due: Model, price: Mapping[ModelKey, float]) -> Cost:
    cost = 0.0
    for victim in victims:
        wanted = not unwanted(state, victim) and not victim.draining
        swap = state.models[victim.key].load_s + due.load_s
        cost += (1.0 if wanted else 0.1) * (0.5 + price.get(victim.key, 0.0)) * swap
    return (cost, *eviction_cost(state, victims))
