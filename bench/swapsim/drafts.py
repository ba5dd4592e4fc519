"""Jobs, models, workloads as plain values, and the draft they are drawn on. A seed fixes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["SPREAD", "Draft", "Job", "Klass", "SimModel", "Workload"]

Klass = Literal["interactive", "batch"]

SPREAD: Final = 0.3
"""The sigma of the lognormal factor between a typical duration and a real one."""


@dataclass(frozen=True, slots=True)
class SimModel:
    """A model on the device: its size in MiB, the seconds its load takes, and how many requests it serves at once."""

    name: str
    mib: int
    load_s: float
    slots: int


@dataclass(frozen=True, slots=True)
class Job:
    """One model call, or CPU work where `model` is None. `seconds` is how long it takes, `estimate` what is believed.

    It is released at `release`, but not before all jobs of `after` have ended. `run` names the pipeline run it is part of.
    """

    id: int
    run: str
    model: str | None
    seconds: float
    estimate: float
    after: tuple[int, ...] = ()
    release: float = 0.0
    klass: Klass = "batch"


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs over models within one budget (MiB), and by class how long a request may wait before its model is due."""

    name: str
    models: tuple[SimModel, ...]
    budget: int
    jobs: tuple[Job, ...]
    max_wait: dict[Klass, float] = field(default_factory=lambda: {"interactive": 15.0, "batch": 120.0}, hash=False)

    def model(self, name: str) -> SimModel:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)


@dataclass
class Draft:
    """Jobs while they are being drawn."""

    rng: random.Random
    jobs: list[Job] = field(default_factory=list)

    def seconds(self, low: float, high: float, spread: float = SPREAD) -> float:
        """A typical value between the two, times a lognormal factor, on a grid of 0.1 s."""
        return max(0.1, round(self.rng.uniform(low, high) * math.exp(self.rng.gauss(0.0, spread)), 1))

    def add(
        self,
        run: str,
        model: str | None,
        seconds: float,
        after: Sequence[int] = (),
        release: float = 0.0,
        klass: Klass = "batch",
    ) -> int:
        job = Job(len(self.jobs), run, model, seconds, seconds, tuple(after), round(release, 1), klass)
        self.jobs.append(job)
        return job.id
