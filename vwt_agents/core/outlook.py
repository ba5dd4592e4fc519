"""What is known to be wanted of a device: the seconds of work by model, and what these make of it. Pure arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.core.prices import prices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.core.specs import ModelKey
    from vwt_agents.core.state import State
    from vwt_agents.types import Mib, Seconds

__all__ = ["outlook", "work"]


def work(state: State, key: ModelKey) -> Seconds:
    """Seconds of slot time that requests wait for, or are announced to."""
    return state.models[key].queue.work + state.programs.work(key)


def outlook(state: State, device: str) -> tuple[Mapping[ModelKey, float], Seconds]:
    """The shadow prices of a device's models, and the seconds that the work known of keeps it busy at least."""
    wanted: dict[ModelKey, tuple[Mib, Seconds]] = {}
    for key, model in state.models.items():
        if model.spec.device == device:
            seconds = work(state, key) / model.spec.slots
            if seconds > 0:
                load = 0.0 if key in state.residencies else model.load_s
                wanted[key] = model.spec.footprint, seconds + load
    price = prices(wanted, state.available(device))
    return price, sum(price[key] * wanted[key][1] for key in price)
