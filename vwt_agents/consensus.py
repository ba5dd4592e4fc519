"""Which of several candidates agree, by what they do with the same inputs. Pure: compares what others have observed.

Nobody says what is right: programs that are wrong are wrong in different ways, so the one most others agree with is the best
guess (minimum Bayes risk decoding by execution, arXiv:2204.11454).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["agreement"]


def agreement(observed: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """For each candidate, the share of the others that gave the same, averaged over all inputs; 1.0 where all agree.

    `observed` is what each candidate gave for the same inputs, in order; what begins with `!` is an error,
    and errors agree with nothing: an input that breaks most candidates was no fair one.
    """
    names = list(observed)
    inputs = min((len(given) for given in observed.values()), default=0)
    if len(names) < 2 or not inputs:
        return dict.fromkeys(names, 1.0)
    score = dict.fromkeys(names, 0.0)
    fair = 0
    for index in range(inputs):
        counts = Counter(given[index] for given in observed.values() if not given[index].startswith("!"))
        if sum(counts.values()) * 2 < len(names):
            continue
        fair += 1
        for name in names:
            score[name] += max(0, counts[observed[name][index]] - 1) / (len(names) - 1)
    return {name: value / fair if fair else 1.0 for name, value in score.items()}
