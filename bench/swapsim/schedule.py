"""A whole schedule, and whether it could have happened. Knows the rules of the device and nothing of who made it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from swapsim.drafts import Job, Workload

__all__ = ["GRAIN", "Schedule", "faults"]

GRAIN = 1e-4
"""Seconds that two moments may differ and count as one."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each job starts, and each load: its model and the moments it begins and ends.

    How long a model stays is not said: a stay lasts at least from its load's start to the end of the last call in it.
    """

    starts: Mapping[int, float]
    loads: tuple[tuple[str, float, float], ...]


def faults(workload: Workload, schedule: Schedule) -> list[str]:
    """Everything that could not have happened, in words; an empty list for a possible schedule."""
    found = [f"job {job.id} never starts" for job in workload.jobs if job.id not in schedule.starts]
    if found:
        return found
    for job in workload.jobs:
        found += _early(job, workload.jobs, schedule)
    found += _loading(workload, schedule)
    stays: list[tuple[float, float, int]] = []
    for model in workload.models:
        calls = [job for job in workload.jobs if job.model == model.name]
        most = _peak((schedule.starts[job.id], schedule.starts[job.id] + job.seconds, 1) for job in calls)
        if most > model.slots:
            found.append(f"{model.name} serves {most} calls at once in {model.slots} slots")
        stays += ((start, end, model.mib) for start, end in _stays(model.name, calls, schedule, found))
    if (most := _peak(stays)) > workload.budget:
        found.append(f"{most} MiB are in use at once; the budget is {workload.budget} MiB")
    return found


def _loading(workload: Workload, schedule: Schedule) -> Iterator[str]:
    loads = sorted(schedule.loads, key=lambda load: load[1])
    for (one, _, end), (other, start, _) in pairwise(loads):
        if start < end - GRAIN:
            yield f"{other} is loaded at {start} while {one} is being loaded until {end}"
    for name, start, end in loads:
        if end - start < workload.model(name).load_s - GRAIN:
            yield f"{name} is loaded in {end - start} s"


def _early(job: Job, jobs: Sequence[Job], schedule: Schedule) -> Iterator[str]:
    start = schedule.starts[job.id]
    if start < job.release - GRAIN:
        yield f"job {job.id} starts at {start}, before its release"
    for each in job.after:
        if start < schedule.starts[each] + jobs[each].seconds - GRAIN:
            yield f"job {job.id} starts at {start}, before job {each} has ended"


def _stays(name: str, calls: Sequence[Job], schedule: Schedule, found: list[str]) -> list[tuple[float, float]]:
    """From each load's start to the end of the last call before the next load of the model; a call outside is a fault."""
    loads = sorted((start, end) for model, start, end in schedule.loads if model == name)
    last = [end for _, end in loads]
    for job in calls:
        start = schedule.starts[job.id]
        index = max((index for index, (_, ready) in enumerate(loads) if ready <= start + GRAIN), default=None)
        if index is None:
            found.append(f"job {job.id} starts at {start}, before {name} has been loaded")
            continue
        last[index] = max(last[index], start + job.seconds)
    for until, (following, _) in zip(last, loads[1:], strict=False):
        if following < until - GRAIN:
            found.append(f"{name} is loaded at {following} while it serves until {until}")
    return [(start, until) for (start, _), until in zip(loads, last, strict=True)]


def _peak(spans: Iterable[tuple[float, float, int]]) -> int:
    """The largest sum of weights at any moment; what ends as another begins does not meet it."""
    spans = list(spans)
    turns = [(round(start, 4), 1, weight) for start, _, weight in spans]
    turns += [(round(end, 4), 0, -weight) for _, end, weight in spans]
    most = now = 0
    for _, _, weight in sorted(turns):
        now += weight
        most = max(most, now)
    return most
