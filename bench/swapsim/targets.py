"""What our policy is held to, and whether it is. The figures are the study's best, or better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from swapsim.figures import Figures

__all__ = ["OURS", "Verdict", "hang_verdict", "noise_verdict", "verdicts"]

OURS: Final = "ours"
"""The name of the core's own policy in the tables."""

LIMITS: Final[tuple[tuple[str, str, float], ...]] = (
    ("over_best", "w1", 1.07),
    ("over_best", "w2b", 1.02),
    ("over_best", "w3", 1.06),
    ("over_best", "w4a", 1.02),
    ("over_best", "w4b", 1.03),
    ("loads", "w1", 7.5),
    ("loads", "w2b", 3.0),
    ("loads", "w4a", 9.0),
    ("worst", "w4c", 140.0),
    ("interactive_worst", "w3", 30.0),
    ("mean_run", "w2a", 450.0),
    ("mean_run", "w2b", 525.0),
)
"""A figure, a workload, and what it must not exceed."""

WORDS: Final = {
    "over_best": "makespan over the best known",
    "loads": "loads",
    "worst": "worst wait (s)",
    "interactive_worst": "worst interactive wait (s)",
    "mean_run": "mean run time (s)",
}
RIVALRY: Final = 1.02
NOISE: Final = 1.06
SWAP_S: Final = 14.0
"""Loading the 13B and a 7B: what a hold may cost at most, its threshold once more included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, in words, what was measured, and whether that is within it."""

    target: str
    measured: str
    holds: bool


def verdicts(rows: Mapping[str, Mapping[str, Figures]]) -> list[Verdict]:
    """One for each limit on a workload that was run, and one for each workload's best rival."""
    return [*_limits(rows), *_rivalries(rows)]


def _limits(rows: Mapping[str, Mapping[str, Figures]]) -> Iterator[Verdict]:
    for figure, name, limit in LIMITS:
        if name in rows and (value := getattr(rows[name][OURS], figure)) is not None:
            places = 3 if figure == "over_best" else 1
            yield Verdict(f"{name}: {WORDS[figure]} <= {limit:g}", f"{value:.{places}f}", value <= limit + 1e-9)


def _rivalries(rows: Mapping[str, Mapping[str, Figures]]) -> Iterator[Verdict]:
    for name, policies in rows.items():
        rival, best = min(
            ((policy, row.makespan) for policy, row in policies.items() if policy != OURS), key=lambda pair: pair[1]
        )
        ratio = policies[OURS].makespan / best
        yield Verdict(
            f"{name}: makespan over the best rival's <= {RIVALRY:g}", f"{ratio:.3f} ({rival})", ratio <= RIVALRY
        )


def noise_verdict(exact: Mapping[str, float], noisy: Mapping[str, float]) -> Verdict:
    """Estimates with sigma 1.0 instead of exact ones, by workload: our makespans, summed over the seeds."""
    worst, name = max((noisy[name] / exact[name], name) for name in exact)
    return Verdict(
        f"estimates with sigma 1.0 cost under {NOISE - 1:.0%} of makespan anywhere",
        f"{worst - 1:+.1%} at most ({name})",
        worst < NOISE,
    )


def hang_verdict(rows: Mapping[str, Mapping[str, Figures]]) -> Verdict:
    """A CPU stage that hangs does not keep the device idle beside a waiting call for longer than a hold may."""
    longest, name = max((policies[OURS].idle_beside, name) for name, policies in rows.items())
    return Verdict(
        f"a CPU stage that hangs keeps the device idle beside a waiting call for at most one swap ({SWAP_S:g} s)",
        f"{longest:.1f} s ({name})",
        longest <= SWAP_S,
    )
