"""Room for others: what leaves when another process or program needs memory that our models take. Pure preferences.

What others have taken already can't be had back by unloading in a hurry: nothing that is in use leaves for it. A process
that waits is another matter: it is served as a model of ours that is due would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.core.placement import NOTHING, Placement, fewest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from vwt_agents.core.specs import ModelKey
    from vwt_agents.core.state import Residency, State
    from vwt_agents.types import Mib, Seconds

__all__ = ["make_way", "spare"]


def make_way(
    state: State,
    device: str,
    idle: Sequence[Residency],
    movable: Sequence[Residency],
    visit_end: Callable[[Residency], Seconds],
) -> Placement:
    """What to unload or drain on a device for others; nothing where they have room, or unloading would not give it.

    A model that another process waits for, to load it otherwise, goes first: no room would do in its place.
    `idle` are those nobody needs now, `movable` all that could leave, the least missed first; one in use may be drained
    from its `visit_end` on.
    """
    room, pressure = state.room(device), state.pressure(device)
    if room < 0 and idle:
        return _leave(fewest(-room, idle) or idle, f"others take {state.occupied(device)} MiB of {device}")
    if (way := _give_back(state, device, idle, movable, visit_end)) is not NOTHING:
        return way
    need: Mib = pressure.mib - max(room, 0) if pressure is not None else 0
    if pressure is None or need <= 0:
        return NOTHING
    why = f"another process waits for {pressure.mib} MiB of {device}"
    if victims := _share(state, device, need, idle):
        return _leave(victims, why)
    if pressure.due > state.now:
        return NOTHING
    victims = _share(state, device, need, [r for r in movable if r.draining or visit_end(r) <= state.now])
    return _leave(victims, why) if victims else NOTHING


def spare(state: State, device: str, drained: Collection[ModelKey]) -> Mib:
    """What of a device is free, and stays free once these have made way and those who wait have what they wait for."""
    asked = [state.asked_back(key) for key in drained]
    wanted = sum(pressure.mib for pressure in (state.pressure(device), *asked) if pressure is not None)
    freed = sum(state.residencies[key].footprint for key in drained)
    return state.room(device) + min(0, freed - wanted)


def _give_back(
    state: State,
    device: str,
    idle: Sequence[Residency],
    movable: Sequence[Residency],
    visit_end: Callable[[Residency], Seconds],
) -> Placement:
    for residency in state.owed(device):
        asked = state.asked_back(residency.key)
        assert asked is not None
        overstays = asked.due <= state.now and (residency.draining or visit_end(residency) <= state.now)
        if residency in idle or (residency in movable and overstays):
            return _leave((residency,), f"another process waits for {asked.wanted}")
    return NOTHING


def _share(state: State, device: str, need: Mib, candidates: Sequence[Residency]) -> Sequence[Residency]:
    """Those that free `need`; all of them where only others could free the rest, who make way too; else none."""
    if victims := fewest(need, candidates):
        return victims
    rest = need - sum(candidate.footprint for candidate in candidates)
    return candidates if rest <= state.occupied(device) else ()


def _leave(victims: Sequence[Residency], why: str) -> Placement:
    """Together, once all are idle, so that none goes in vain; until then they are drained."""
    keys = tuple(victim.key for victim in victims)
    if all(victim.idle for victim in victims):
        return Placement(unload=keys, why=why)
    return Placement(drain=frozenset(keys))
