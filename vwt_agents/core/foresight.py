"""Whether another move than the rules' own is better, by playing what is believed to come. Owns the comparison.

A believed duration is a guess, so each move is played in several cases: in each of them every job takes a little longer
or shorter than believed, in all of them together each job every way there is. The cases are fixed, there is no chance in
them. Only a move that is better by more than PLAIN departs from the rules.
"""

from __future__ import annotations

from math import exp
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from vwt_agents.core.future import future
from vwt_agents.core.placement import NOTHING, Placement, bring
from vwt_agents.core.playing import Move, play

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vwt_agents.core.future import Future
    from vwt_agents.core.state import Model, Residency, State
    from vwt_agents.types import Seconds

__all__ = ["better"]

CASES: Final = 32
"""Cases that each move is played in; a power of two, see `_cases`."""

SPREAD: Final = 0.3
"""The sigma of the factor by which durations are off from what is believed of them."""

FACTORS: Final = tuple(exp(SPREAD * NormalDist().inv_cdf((case + 0.5) / CASES)) for case in range(CASES))
"""The factors of a duration in all cases: each as likely as the other."""

RUNS: Final = 0.5
"""What a second of the mean run counts for against a second until all is done."""

LOADS: Final = 0.5
"""What a second of loading counts for, whoever it keeps waiting."""

PLAIN: Final = 0.2
"""By how much of a load a move must be better than the rules' own."""

MOVES: Final = 8
"""Moves that are compared at most."""


def better(
    state: State, device: str, ruled: Placement, moves: Sequence[tuple[Model, tuple[Residency, ...]]], *, wait: bool
) -> Placement:
    """The best of what the rules say, these moves and, if one may `wait`, none of them for now."""
    own = frozenset(ruled.unload)
    others = [
        (model, victims)
        for model, victims in moves
        if model.spec.key != ruled.target or own != {victim.key for victim in victims}
    ][:MOVES]
    wait = wait and ruled.target is not None
    if not others and not wait:
        return ruled
    coming = future(state, device)
    if coming is None:
        return ruled
    tails, cases = coming.tails(), list(_cases(coming))

    def cost(first: Move | None) -> Seconds:
        played = (play(coming, tails, seconds, first) for seconds in cases)
        return sum(end + RUNS * mean + LOADS * loads for end, mean, loads in played) / CASES

    number = coming.number
    first = None
    if ruled.target is not None:
        first = Move(number[ruled.target], tuple(number[key] for key in ruled.unload))
    best, least = ruled, cost(first) - PLAIN * max(coming.load_s)
    if wait and (value := cost(None)) < least:
        best, least = NOTHING, value
    for model, victims in others:
        value = cost(Move(number[model.spec.key], tuple(number[victim.key] for victim in victims)))
        if value < least:
            best, least = bring(state, model, victims), value
    return best


def _cases(coming: Future) -> Iterator[list[Seconds]]:
    """By case, the seconds of every job. An odd stride visits each factor once, so over the cases no job is favoured."""
    strides = [(2 * (5 * job % 8) + 1, 7 * job) for job in range(len(coming.seconds))]
    for case in range(CASES):
        yield [
            seconds * FACTORS[(case * stride + shift) % CASES]
            for seconds, (stride, shift) in zip(coming.seconds, strides, strict=True)
        ]
