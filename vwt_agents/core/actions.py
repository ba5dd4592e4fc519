"""What to do, told to the shell. Owns the actions; what the shell learns by doing them comes back as events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from vwt_agents.core.specs import ModelKey
    from vwt_agents.types import RequestId

__all__ = ["Action", "Grant", "Load", "Reject", "Unload"]


@dataclass(frozen=True, slots=True)
class Load:
    """Bring the model into memory: its footprint is reserved. Answer with Loaded or LoadFailed."""

    key: ModelKey


@dataclass(frozen=True, slots=True)
class Unload:
    """Let the model go; nobody holds a lease on it. `why` is for people. Answer with Unloaded or UnloadFailed."""

    key: ModelKey
    why: str


@dataclass(frozen=True, slots=True)
class Grant:
    """The request holds a slot of this resident model. Answer with Released once its call is over."""

    request: RequestId
    key: ModelKey


@dataclass(frozen=True, slots=True)
class Reject:
    """The request will never be granted; `reason` says why, with the arithmetic or the engine's words."""

    request: RequestId
    reason: str


Action: TypeAlias = Load | Unload | Grant | Reject
