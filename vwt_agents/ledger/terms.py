"""What all who share a model in a server's memory have to agree on, as a value and as the text in their pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["Terms"]

_TEXT: Final = re.compile(r"num_ctx (\d{1,9})( on the CPU)?")
_CPU: Final = " on the CPU"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a model was loaded with: any other figure in a request would have the server load it again, under all users."""

    num_ctx: int
    on_cpu: bool = False

    @classmethod
    def of(cls, text: str) -> Self | None:
        """The terms that a page names; None for anything else."""
        found = _TEXT.fullmatch(text)
        return cls(int(found[1]), bool(found[2])) if found is not None else None

    def __str__(self) -> str:
        return f"num_ctx {self.num_ctx}{_CPU if self.on_cpu else ''}"

    def serve(self, wanted: Terms) -> bool:
        """Whether a model with these terms does what is asked of one with those."""
        return self.on_cpu == wanted.on_cpu and self.num_ctx >= wanted.num_ctx
