"""What the calls of one stage share: who they are, and where their seeds come from. Owns no call, and no stage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["StageScope", "seed_from"]


@dataclass(slots=True)
class StageScope:
    """What the calls of one stage share: who they are, the seed they are sampled from, whether they are escalated.

    `can_escalate`: some agent of the stage has a larger model to go to. `retry` is the number of the try, from 0: another
    try asks with other seeds.
    """

    run: str
    stage: str
    seed: int
    item: str = ""
    can_escalate: bool = False
    escalated: bool = False
    attempt: int = 0
    retry: int = 0

    def seed_of(self, agent: str, number: int) -> int:
        """A seed of its own for each call, the same in every run with the same seed: a replayed run asks the same questions."""
        again = f"/retry {self.retry}" if self.retry else ""
        return seed_from(f"{self.seed}/{self.stage}/{self.item}/{agent}/{number}{again}")


def seed_from(text: str) -> int:
    """A seed that the same text always gives, and as good as another for another text: 0 to 2**31 - 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF
