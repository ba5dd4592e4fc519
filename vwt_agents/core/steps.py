"""What a run says it will do: Use, Step. Owns the two nouns and what may be believed of them; never what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vwt_agents.core.specs import ModelKey
    from vwt_agents.types import Seconds

__all__ = ["CALL_S", "Step", "Use", "believable"]

CALL_S: Final[Seconds] = 5.0
"""How long a request that nothing sensible is known of is believed to hold its slot."""

LONGEST: Final[Seconds] = 1e7
"""No belief goes beyond this (four months), so that sums of them stay numbers."""


def believable(seconds: Seconds | None, otherwise: Seconds) -> Seconds:
    """A belief as it is; `otherwise` for none, for what is not a number, negative or beyond all bounds."""
    return seconds if seconds is not None and 0.0 <= seconds <= LONGEST else otherwise


@dataclass(frozen=True, slots=True)
class Use:
    """How a step uses a model: how many requests it makes, as believed, and how many seconds each takes once granted."""

    key: ModelKey
    seconds: Seconds
    calls: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", believable(self.seconds, CALL_S))
        object.__setattr__(self, "calls", believable(self.calls, 1.0))


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a run as the scheduler sees it; each model is named once in its uses.

    `think` is the believed time without a model: before its first request, between two of them, and in all for a step
    that uses none. `after` names the steps it waits for.
    """

    name: str
    uses: tuple[Use, ...] = ()
    think: Seconds = 0.0
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "think", believable(self.think, 0.0))
        if len({use.key for use in self.uses}) < len(self.uses):
            raise ValueError(f"step {self.name!r} names a model twice in its uses; add their calls up")
