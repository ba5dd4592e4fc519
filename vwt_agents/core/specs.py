"""What the core is told about models: ModelKey, ModelSpec. Owns these two nouns; never says whether a model is in
memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from vwt_agents.core.steps import believable

if TYPE_CHECKING:
    from vwt_agents.types import Mib, Seconds

__all__ = ["REQUEST_CLASSES", "ModelKey", "ModelSpec", "RequestClass"]

RequestClass: TypeAlias = Literal["interactive", "batch"]
"""How long a request may wait before its model is due: each class has its own `max_wait`."""

REQUEST_CLASSES: Final[tuple[RequestClass, ...]] = ("interactive", "batch")

LOAD_S: Final[Seconds] = 5.0
"""How long a load that nothing sensible is known of is believed to take."""


class ModelKey(NamedTuple):
    """A model on an endpoint: the thing that is loaded, unloaded and waited for.

    A tuple, because it is hashed several times an event.
    """

    endpoint: str
    model: str

    def __str__(self) -> str:
        return f"{self.model} on {self.endpoint}"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model lives and what it takes there; `keep_alive` is the idle time allowed, None for no limit.

    `load_s` is how long its load is believed to take until one has been seen.
    """

    key: ModelKey
    device: str
    footprint: Mib
    slots: int
    keep_alive: Seconds | None = None
    load_s: Seconds = LOAD_S

    def __post_init__(self) -> None:
        object.__setattr__(self, "load_s", believable(self.load_s, LOAD_S))
        if self.slots < 1 or self.footprint < 0:
            raise ValueError(
                f"{self.key}: slots={self.slots}, footprint={self.footprint} MiB; "
                "a model needs at least one slot and a footprint of 0 MiB or more"
            )
        if self.keep_alive is not None and not self.keep_alive >= 0.0:
            raise ValueError(f"{self.key}: keep_alive={self.keep_alive}; it is 0 seconds or more, or None for no limit")
