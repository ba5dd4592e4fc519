"""What a keeper is told on its stdin, and the exit codes it answers with. Owns nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from vwt_agents.deployments.deployment import Deployment

__all__ = ["TAKEN", "Job"]

TAKEN: Final = 75
"""The exit code of a keeper that came second."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a keeper is told: whose folder, what to start, and whether it is only to stop what is there.

    `since` is when whoever waits for it began to: a start that has failed since then is not tried again for him.
    """

    folder: Path
    deployment: Deployment
    stop: bool = False
    since: float = inf

    def line(self) -> bytes:
        """As it goes over stdin."""
        parts = {"folder": str(self.folder), "deployment": self.deployment.as_json(), "stop": self.stop}
        return json.dumps({**parts, "since": None if self.since == inf else self.since}).encode()

    @classmethod
    def read(cls, line: bytes) -> Job:
        """The job that `line` wrote."""
        data = json.loads(line)
        since = inf if data["since"] is None else data["since"]
        return cls(Path(data["folder"]), Deployment.from_json(data["deployment"]), data["stop"], since)
