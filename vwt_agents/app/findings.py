"""What `doctor` says of one thing. A noun of its own, because several modules look at things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Level"]

Level: TypeAlias = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `missing` means runs will fail or be worse without it; `fix` is the command to type."""

    what: str
    level: Level
    detail: str
    fix: str | None = None
