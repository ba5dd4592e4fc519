"""Shadow prices of models on one device: whose work sets the end of everything. A tiny exact linear programme.

Maximise the sum of price x seconds over prices of 0 or more such that, for every set of models that fits side by side,
its prices sum to at most 1. It is the dual of the shortest schedule that gives each model its seconds while every moment
has one resident set; a price of 1 says that the model alone sets the end, 0 that it hides behind another.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.core.specs import ModelKey
    from vwt_agents.types import Mib, Seconds

__all__ = ["prices"]

MOST = 6
"""Models looked at, those with most work; more would not change who is first."""


def prices(work: Mapping[ModelKey, tuple[Mib, Seconds]], budget: Mib) -> dict[ModelKey, float]:
    """By model, the price of a second of its work (0 to 1), given its MiB and its seconds of work left."""
    keys = sorted(work, key=lambda key: (-work[key][1], key))[:MOST]
    if sum(work[key][0] for key in keys) <= budget:  # all fit: the longest sets the end
        return {key: float(index == 0) for index, key in enumerate(keys)}
    fitting = [
        chosen
        for count in range(1, len(keys) + 1)
        for chosen in combinations(range(len(keys)), count)
        if sum(work[keys[index]][0] for index in chosen) <= budget
    ]
    maximal = [set(chosen) for chosen in fitting if not any(set(chosen) < set(other) for other in fitting)]
    alone = [{index} for index in range(len(keys)) if not any(index in chosen for chosen in maximal)]
    rows = [[float(index in chosen) for index in range(len(keys))] for chosen in maximal + alone]
    solved = _simplex(rows, [work[key][1] for key in keys])
    return dict(zip(keys, solved, strict=True))


def _simplex(rows: Sequence[Sequence[float]], gain: Sequence[float]) -> list[float]:
    """The x >= 0 that maximises gain . x with every row . x <= 1; Bland's rule, so it ends."""
    count, slack = len(gain), len(rows)
    table = [[*row, *(float(i == j) for j in range(slack)), 1.0] for i, row in enumerate(rows)]
    goal = [*(-each for each in gain), *([0.0] * slack), 0.0]
    basis = [count + i for i in range(slack)]
    while (enter := next((j for j, each in enumerate(goal[:-1]) if each < -1e-9), None)) is not None:
        ratios = [(row[-1] / row[enter], basis[i], i) for i, row in enumerate(table) if row[enter] > 1e-9]
        leave = min(ratios)[2]
        pivot = [each / table[leave][enter] for each in table[leave]]
        table[leave], basis[leave] = pivot, enter
        for i, row in enumerate(table):
            if i != leave and row[enter]:
                table[i] = [a - row[enter] * b for a, b in zip(row, pivot, strict=True)]
        goal = [a - goal[enter] * b for a, b in zip(goal, pivot, strict=True)]
    values = [0.0] * (count + slack)
    for i, variable in enumerate(basis):
        values[variable] = table[i][-1]
    return values[:count]
