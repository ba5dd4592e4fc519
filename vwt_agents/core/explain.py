"""Why a request waits, in one sentence for people. Owns the wording; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.core.placement import fewest, shortage

if TYPE_CHECKING:
    from vwt_agents.core.queue import Waiting
    from vwt_agents.core.state import Model, Residency, State
    from vwt_agents.types import RequestId

__all__ = ["explain"]


def explain(state: State, request: RequestId) -> str:
    """What the request waits for, such as "waits for a slot of llama2:13b (1 of 1 in use)"; also where it has ended."""
    if request in state.leases:
        return f"runs on {state.leases[request]}"
    waiting = state.waiting.get(request)
    if waiting is None:
        return "has ended"
    residency = state.residencies.get(waiting.key)
    if residency is None:
        return _cold(state, state.models[waiting.key])
    if residency.phase == "loading":
        return f"{waiting.key.model} is loading"
    if residency.phase == "unloading":
        return f"{waiting.key.model} is being unloaded and has to be loaded again"
    return _resident(state, waiting, residency)


def _resident(state: State, waiting: Waiting, residency: Residency) -> str:
    model, taken = waiting.key.model, len(residency.leases)
    if residency.draining:
        target = state.targets.get(residency.device)
        return f"{model} takes no new requests: it makes room for {target.model if target else 'the budget'}"
    if taken >= residency.slots:
        return f"waits for a slot of {model} ({taken} of {residency.slots} in use)"
    return f"waits: {len(state.leases)} of {state.max_agents} agents busy"


def _cold(state: State, model: Model) -> str:
    spec, device = model.spec, model.spec.device
    there = state.on(device)
    loading = [residency.key.model for residency in there if residency.phase == "loading"]
    if loading:
        return f"waits until {loading[0]} is loaded: {device} loads one model at a time"
    target = state.targets.get(device, spec.key)
    if target != spec.key:
        return f"waits for its turn on {device}: {target.model} is next"
    missing = f"waits for {spec.footprint} MiB on {device} ({max(state.headroom(device), 0)} free)"
    if model.starved_since is not None:
        return f"{missing}; {model.why or f'others take {state.occupied(device)} MiB of it'}"
    need = shortage(state, model)
    if need <= 0:
        leaving = [residency.key.model for residency in there if residency.phase == "unloading"]
        return f"{missing}; {_names(leaving)} being unloaded"
    movable = sorted(
        (r for r in there if r.phase == "resident"), key=lambda r: (not r.draining, not r.idle, r.last_used)
    )
    victims = fewest(need, movable) or ()
    return f"{missing}; frees when {_names([victim.key.model for victim in victims])} idle"


def _names(models: list[str]) -> str:
    return f"{' and '.join(models)} {'is' if len(models) == 1 else 'are'}"
