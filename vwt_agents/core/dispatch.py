"""Who gets the next free slot: of the models in memory the first in line, and of one model's requests which that is.

Late requests go first, then by class; in it the critical ones (much of the believed remaining time hangs on them), then
the oldest run's, so that a run ends before the next begins and keeps its warm prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.core.outlook import outlook, work

if TYPE_CHECKING:
    from vwt_agents.core.queue import Queue, Waiting
    from vwt_agents.core.state import Residency, State
    from vwt_agents.types import RequestId, Seconds

__all__ = ["first_in_line"]


def first_in_line(state: State, critical: float) -> RequestId | None:
    """The first of the requests whose model has a free slot, while an agent is free; None where there is none.

    A request is critical when more than that share of the believed remaining time hangs on it.
    """
    if len(state.leases) >= state.max_agents:
        return None
    best: tuple[tuple[float, ...], RequestId] | None = None
    for key, residency in state.residencies.items():
        queue = state.models[key].queue
        if queue and residency.grantable:
            waiting = _pick(state, queue, residency, critical)
            late = waiting.late <= state.now
            place = (not late, waiting.late if late else 0.0, *waiting.rank)
            if best is None or (place, waiting.request) < best:
                best = (place, waiting.request)
    return None if best is None else best[1]


def _pick(state: State, queue: Queue, residency: Residency, critical: float) -> Waiting:
    late, first, longest = queue.soonest_late(), queue.first(), queue.longest()
    assert late is not None
    assert first is not None
    assert longest is not None
    if late.late <= state.now:
        return late
    if longest is not first and _alike(longest, first) and _is_critical(state, longest.tail, critical):
        return longest
    if residency.slots > 1 and len(queue) <= residency.slots and any(state.cold(residency.device)):
        return max(queue, key=lambda each: (_alike(each, first), each.seconds, -each.request))
    for prefix in residency.warm:
        warm = queue.sharing(prefix)
        if warm is not None and _alike(warm, first) and first.due > state.now:
            return warm
    return first


def _alike(one: Waiting, other: Waiting) -> bool:
    """Neither goes before the other by its class or by what its run has asked for so far."""
    return one.rank[:2] == other.rank[:2]


def _is_critical(state: State, tail: Seconds, critical: float) -> bool:
    """Much of how long everything known of takes at least, on the device that takes longest, hangs on this tail."""
    busiest = max((work(state, key) / model.spec.slots for key, model in state.models.items()), default=0.0)
    if tail <= critical * busiest:  # the same answer as below, for less
        return False
    return tail > critical * max(outlook(state, device)[1] for device in state.devices)
