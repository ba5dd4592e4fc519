"""What no schedule can beat: lower bounds of the makespan and of the loads, for the model of simulate.py.

Three bounds of the makespan, each for another reason why time must pass; `lower_bound` is the best of them.

- **Path**: the longest chain of jobs, where no call starts before its model can have been loaded for the first time.
- **Machine**: calls of one model that cannot start before `head`, and after each of which `tail` must pass, share its
  slots: head + work / slots + tail, over all thresholds of head and tail.
- **Residency cover**: a model takes memory for at least its load and its work, and one of a group of models does for as
  long as a chain calls any of them. At each moment, what is in memory fits. The least time that gives every group what it
  needs is a small linear program.
"""

from __future__ import annotations

import math
import operator
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from swapsim.drafts import Job, SimModel, Workload

__all__ = ["cover_bound", "fitting", "least_cover", "lower_bound", "machine_bound", "min_loads", "path_bound"]


@cache
def lower_bound(workload: Workload) -> float:
    """Seconds no makespan is below."""
    return max(path_bound(workload), machine_bound(workload), cover_bound(workload))


def min_loads(workload: Workload) -> int:
    """Every model asked for is loaded at least once."""
    return len({job.model for job in workload.jobs if job.model is not None})


def path_bound(workload: Workload) -> float:
    """The longest chain, with each model's first load in front of its calls."""
    heads = _heads(workload)
    return max(heads[job.id] + job.seconds for job in workload.jobs)


def machine_bound(workload: Workload) -> float:
    """The busiest model, over all thresholds of what must pass before and after its calls."""
    heads, tails = _heads(workload), _tails(workload)
    best = 0.0
    for model in workload.models:
        calls = sorted(
            (job for job in workload.jobs if job.model == model.name), key=lambda job: tails[job.id], reverse=True
        )
        for head in {heads[job.id] for job in calls}:
            work = 0.0
            for job in calls:
                if heads[job.id] >= head:
                    work += job.seconds
                    best = max(best, head + work / model.slots + tails[job.id])
    return best


def cover_bound(workload: Workload) -> float:
    """How long the sets of models that fit must at least be in memory, one after the other, for every group's need."""
    models = [model for model in workload.models if any(job.model == model.name for job in workload.jobs)]
    sets = fitting([model.mib for model in models], workload.budget)
    groups: list[tuple[frozenset[int], float]] = []
    for size in range(1, len(models) + 1):
        for group in combinations(range(len(models)), size):
            need = _chain_need(workload, [models[each] for each in group])
            if size == 1:
                need = max(need, _own_need(workload, models[group[0]]))
            within = [other_need for other, other_need in groups if other <= set(group)]
            if need > max(within, default=0.0):  # else the smaller group's need says as much
                groups.append((frozenset(group), need))
    return least_cover(sets, groups)


def _own_need(workload: Workload, model: SimModel) -> float:
    """Its load and its work, shared by its slots."""
    calls = [job.seconds for job in workload.jobs if job.model == model.name]
    return model.load_s + max(sum(calls) / model.slots, *calls)


def _chain_need(workload: Workload, group: Sequence[SimModel]) -> float:
    """The longest chain's calls to a group of models, and one load before the first: at each of these moments one of the
    group is in memory.
    """
    names = {model.name for model in group}
    longest: list[float] = []
    for job in workload.jobs:
        before = max((longest[each] for each in job.after), default=0.0)
        longest.append(before + (job.seconds if job.model in names else 0.0))
    return max(longest) + min(model.load_s for model in group)


def fitting(sizes: Sequence[int], budget: int) -> list[frozenset[int]]:
    """The largest sets, as indices, that fit side by side: those no other fitting set contains."""
    sets = [
        frozenset(chosen)
        for count in range(1, len(sizes) + 1)
        for chosen in combinations(range(len(sizes)), count)
        if sum(sizes[each] for each in chosen) <= budget
    ]
    return [each for each in sets if not any(each < other for other in sets)]


def least_cover(sets: Sequence[frozenset[int]], groups: Sequence[tuple[frozenset[int], float]]) -> float:
    """The least total time such that each group is met by sets, of which it has a member, for as long as it needs.

    A linear program with one variable for each set. Exact: an optimum lies on a vertex, and the few variables make few
    of them.
    """
    size = len(sets)
    planes = [([1.0 if group & each else 0.0 for each in sets], need) for group, need in groups]
    axes = [([1.0 if each == axis else 0.0 for each in range(size)], 0.0) for axis in range(size)]
    best = math.inf
    for chosen in combinations(planes + axes, size):
        vertex = _meet(chosen)
        if vertex is None or min(vertex) < -1e-9 or sum(vertex) >= best:
            continue
        if all(sum(map(operator.mul, row, vertex)) >= need - 1e-9 for row, need in planes):
            best = sum(vertex)
    return best


def _meet(planes: Sequence[tuple[list[float], float]]) -> list[float] | None:
    """The point where all planes meet; None where there is no one point. Gauss-Jordan with pivoting."""
    matrix = [[*row, right] for row, right in planes]
    size = len(matrix)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(matrix[row][column]))
        if abs(matrix[pivot][column]) < 1e-12:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        matrix[column] = [value / matrix[column][column] for value in matrix[column]]
        for row in range(size):
            factor = matrix[row][column]
            if row != column and factor:
                matrix[row] = [value - factor * top for value, top in zip(matrix[row], matrix[column], strict=True)]
    return [row[-1] for row in matrix]


def _heads(workload: Workload) -> list[float]:
    """By job, the earliest moment it can start."""
    loads = {model.name: model.load_s for model in workload.models}
    heads: list[float] = []
    for job in _in_order(workload):
        ends = (heads[each] + workload.jobs[each].seconds for each in job.after)
        heads.append(max(job.release, loads[job.model] if job.model else 0.0, max(ends, default=0.0)))
    return heads


def _tails(workload: Workload) -> list[float]:
    """By job, what must pass after its end until all are done."""
    tails = [0.0] * len(workload.jobs)
    for job in reversed(list(_in_order(workload))):
        for each in job.after:
            tails[each] = max(tails[each], job.seconds + tails[job.id])
    return tails


def _in_order(workload: Workload) -> Iterator[Job]:
    """The jobs, each after those it waits for: as they are listed."""
    for position, job in enumerate(workload.jobs):
        assert job.id == position, job
        assert all(each < position for each in job.after), job
        yield job
