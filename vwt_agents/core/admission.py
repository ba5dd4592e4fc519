"""Who may wait and where in line, and why a request is told that it waits in vain. Pure functions of the state."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from vwt_agents.core.queue import Waiting
from vwt_agents.core.specs import REQUEST_CLASSES
from vwt_agents.core.steps import CALL_S, believable

if TYPE_CHECKING:
    from vwt_agents.core.events import Submitted
    from vwt_agents.core.programs import Program
    from vwt_agents.core.specs import ModelKey, RequestClass
    from vwt_agents.core.state import Model, State
    from vwt_agents.types import Seconds

__all__ = ["DEADLINE", "KEPT_OUT", "admit", "hopeless", "kept_out", "too_late", "unknown"]

DEADLINE: Final = "deadline passed"
"""How the reason of a Reject begins when the request waited past its deadline."""

KEPT_OUT: Final = "others have kept it out"
"""What the reason of a Reject says when the core has lost patience with those who hold the memory its model needs."""

FAIR_SHARE: Final[Seconds] = 900.0
"""Seconds of model time after which a run goes behind those that asked for less."""

SHORT: Final[Seconds] = 30.0
"""Runs with less left than this are all as short as can be; above it, sizes are told apart by factors of two."""

LATE: Final = 3.0
"""A request that has waited this many times its class's `max_wait` goes before all that have not."""


def admit(state: State, event: Submitted, lane: RequestClass, max_wait: Seconds) -> Waiting:
    """The request as it waits from now on, in a lane whose requests are due after `max_wait`."""
    believed = state.programs.seconds(event.run, event.step, event.key)
    seconds = believable(event.seconds, believable(believed, CALL_S))
    tail = state.programs.tail(event.run, event.step)
    return Waiting(
        event.request,
        event.key,
        event.run,
        event.step,
        lane,
        since=state.now,
        due=state.now + max_wait,
        late=state.now + LATE * max_wait,
        rank=_rank(state.programs.program(event.run), lane, seconds, tail),
        seconds=seconds,
        prefix=event.prefix,
        deadline=event.deadline if event.deadline is not None and event.deadline < inf else None,
    )


def _rank(program: Program, lane: RequestClass, seconds: Seconds, tail: Seconds) -> tuple[int, int, int, int, Seconds]:
    """A request's place in line. People are served in the order in which they came; of the other runs one with half
    as much left goes first, which is what makes runs short on average; of about equal ones the oldest does, and of
    its requests the one with the longest way to its end.
    """
    level = int(program.asked // FAIR_SHARE)
    size = 0 if lane == "interactive" else int(max(program.left, seconds) / SHORT).bit_length()
    return REQUEST_CLASSES.index(lane), level, size, program.order, -tail


def unknown(state: State, key: ModelKey) -> str:
    """Why a request for a model that was never registered is rejected."""
    known = ", ".join(map(str, sorted(state.models))) or "none"
    return f"{key} is not registered; registered: {known}"


def hopeless(state: State, key: ModelKey) -> str | None:
    """Why requests for a model can never be granted as things are; None where they can."""
    if state.closing:
        return "closing"
    spec = state.models[key].spec
    budget = state.budget(spec.device)
    if spec.footprint <= budget:
        return None
    return f"{key} needs {spec.footprint} MiB, budget of {spec.device} is {budget} MiB"


def too_late(state: State, waiting: Waiting) -> str:
    """Why a request is rejected whose deadline has passed."""
    return f"{DEADLINE} after waiting {state.now - waiting.since:.0f} s"


def kept_out(state: State, model: Model) -> str:
    """Why requests for a model are rejected that others have starved for longer than the core has patience."""
    spec, waited = model.spec, state.now - (model.starved_since or 0.0)
    others = f"of the {state.budget(spec.device)} MiB of {spec.device} others take {state.occupied(spec.device)} MiB"
    return f"{spec.key} needs {spec.footprint} MiB, and for {waited:.0f} s {KEPT_OUT}: {model.why or others}"
