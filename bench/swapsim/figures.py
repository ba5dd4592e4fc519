"""What a policy comes to on a workload: figures over several seeds, and the targets they are held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swapsim.bounds import lower_bound
from swapsim.optimum import fingerprint
from swapsim.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from swapsim.drafts import Workload
    from swapsim.optimum import Optimum
    from swapsim.simulate import Outcome
    from vwt_agents.core import Policy

__all__ = ["Figures", "Trial", "figures", "idle_beside", "percentile", "trials"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One workload of one seed under one policy."""

    workload: Workload
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Figures:
    """A policy on a workload, over all seeds: means, but for the waits, which are those of all calls of all seeds.

    `over_bound` and `over_best` are the makespan over the lower bound, and over the best schedule known, on the seeds
    (`compared`) that were solved; `closed` of these are proven optima. Waits and run times are in seconds.
    """

    makespan: float
    over_bound: float
    over_best: float | None
    compared: int
    closed: int
    loads: float
    p95: float
    p99: float
    worst: float
    interactive_p95: float | None
    interactive_worst: float | None
    mean_run: float
    idle_beside: float


def trials(workloads: Sequence[Workload], policy: Callable[[], Policy] | None, **options: object) -> list[Trial]:
    """Each workload once, under a fresh policy; None is the core's own."""
    return [
        Trial(workload, simulate(workload, policy() if policy else None, **options))  # type: ignore[arg-type]
        for workload in workloads
    ]


def figures(tried: Sequence[Trial], optima: Mapping[str, Optimum], best: Mapping[str, float]) -> Figures:
    """All of them. `best` holds the shortest makespan seen by any policy, by fingerprint: an open optimum may be worse.

    AssertionError where a makespan is below a proven optimum: then one of the two is wrong.
    """
    ratios, closed = [], 0
    for trial in tried:
        mark = fingerprint(trial.workload)
        if (optimum := optima.get(mark)) is None:
            continue
        closed += optimum.closed
        assert trial.outcome.makespan > optimum.bound - 0.01, (trial.workload.name, optimum.bound)
        known = optimum.best if optimum.closed else min(optimum.best, best[mark])
        ratios.append(trial.outcome.makespan / known)
    waits = [wait for trial in tried for wait in trial.outcome.waits.values()]
    urgent = [
        wait
        for trial in tried
        for job, wait in trial.outcome.waits.items()
        if trial.workload.jobs[job].klass == "interactive"
    ]
    outcomes = [trial.outcome for trial in tried]
    return Figures(
        makespan=_mean([outcome.makespan for outcome in outcomes]),
        over_bound=_mean([trial.outcome.makespan / lower_bound(trial.workload) for trial in tried]),
        over_best=_mean(ratios) if ratios else None,
        compared=len(ratios),
        closed=closed,
        loads=_mean([outcome.loads for outcome in outcomes]),
        p95=percentile(waits, 0.95),
        p99=percentile(waits, 0.99),
        worst=max(waits),
        interactive_p95=percentile(urgent, 0.95) if urgent else None,
        interactive_worst=max(urgent, default=None),
        mean_run=_mean([outcome.mean_run() for outcome in outcomes]),
        idle_beside=max(idle_beside(trial) for trial in tried),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def idle_beside(trial: Trial) -> float:
    """The longest time, in seconds, the device did nothing at all while a call waited: no call, no load."""
    outcome, jobs = trial.outcome, trial.workload.jobs
    spans = [(start, start + jobs[job].seconds) for job, start in outcome.starts.items()]
    spans += [(start, end) for _, start, end in outcome.sessions]
    came = {job: outcome.starts[job] - wait for job, wait in outcome.waits.items()}
    longest = busy_until = 0.0
    for start, end in sorted(spans):
        if start > busy_until:
            waiting = (came[job] for job in came if came[job] < start <= outcome.starts[job])
            longest = max(longest, start - max(busy_until, min(waiting, default=start)))
        busy_until = max(busy_until, end)
    return longest


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
