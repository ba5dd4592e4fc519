"""What the core is told about models: ModelKey, ModelSpec. Owns these two nouns; never says whether a model is in
memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from vwt_agents.types import Mib, Seconds

__all__ = ["REQUEST_CLASSES", "ModelKey", "ModelSpec", "RequestClass"]

RequestClass: TypeAlias = Literal["interactive", "batch"]
"""How long a request may wait before its model is due: each class has its own `max_wait`."""

REQUEST_CLASSES: Final[tuple[RequestClass, ...]] = ("interactive", "batch")


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
    load_s: Seconds = 5.0

    def __post_init__(self) -> None:
        if self.slots < 1 or self.footprint < 0:
            raise ValueError(
                f"{self.key}: slots={self.slots}, footprint={self.footprint} MiB; "
                "a model needs at least one slot and a footprint of 0 MiB or more"
            )
