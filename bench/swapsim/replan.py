"""What a scheduler comes to that plans perfectly, but only what it has been asked: the whole is planned anew at each release.

The optimum knows when a stream ends; no scheduler does. This one knows each call's exact duration and each load's, and what
will be released within `ahead` seconds; of that it makes the best plan there is (CP-SAT) and keeps it to the next release.
So it tells how much of the way to the optimum is a matter of knowing the future. Only for workloads of single calls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from swapsim.optimum import Problem, tenths
from swapsim.schedule import Schedule, faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swapsim.drafts import Job, Workload

__all__ = ["plannable", "replanned"]

SLACK_S: Final = 80.0
"""Seconds after a release within which all that is known of can be done, however badly."""

SOLVE_S: Final = 4.0
"""Seconds a plan may take; nearly all take less than one."""

MEAN: Final = 500
"""Thousandths that a second of the mean wait counts for against a second of makespan; as much as in the policy's own play."""

LOAD_S: Final = 0.05
"""Seconds of makespan that a load counts for: of two plans as good, the one with fewer."""


def plannable(workload: Workload) -> bool:
    """Whether it is made of single calls: nothing waits for another job."""
    return all(job.model is not None and not job.after for job in workload.jobs)


def replanned(workload: Workload, *, ahead: float) -> Schedule:
    """The schedule that comes of planning anew at each release, `ahead` seconds of the stream known. Checked to be possible."""
    if not plannable(workload):
        raise ValueError(f"{workload.name}: jobs wait for others; this plans single calls alone")
    done = Schedule({}, ())
    releases = sorted({job.release for job in workload.jobs})
    for now, until in zip(releases, [*releases[1:], float("inf")], strict=True):
        jobs = [job for job in workload.jobs if job.release <= now + ahead]
        plan = _plan(workload, jobs, done, now)
        starts = {job: start for job, start in plan.starts.items() if start < until}
        done = Schedule(starts, tuple(load for load in plan.loads if load[1] < until))
    if wrong := faults(workload, done):
        raise AssertionError(f"{workload.name}: the plans make an impossible schedule: {'; '.join(wrong)}")
    return done


def _plan(workload: Workload, jobs: Sequence[Job], done: Schedule, now: float) -> Schedule:
    """The best plan for these jobs that goes on from what was `done` before `now`."""
    from ortools.sat.python import cp_model

    known = replace(workload, jobs=tuple(replace(job, id=number) for number, job in enumerate(jobs)))
    problem = Problem(known, Schedule(dict.fromkeys(range(len(jobs)), now + SLACK_S), ()))
    model = problem.model
    model.clear_hints()
    begun = tenths(now)
    for number, job in enumerate(jobs):
        if job.id in done.starts:
            model.add(problem.starts[number] == tenths(done.starts[job.id]))
        else:
            model.add(problem.starts[number] >= begun)
    for name, stays in problem.loads.items():
        loaded = [tenths(start) for loaded, start, _ in done.loads if loaded == name]
        for number, (there, load) in enumerate(stays):
            if number < len(loaded):
                model.add(there == 1)
                model.add(load == loaded[number])
            else:
                model.add(load >= begun).only_enforce_if(there)
    to_come = [problem.starts[number] for number, job in enumerate(jobs) if job.id not in done.starts]
    mean = MEAN // max(1, len(to_come)) * sum(to_come)
    model.clear_objective()
    model.minimize(1000 * problem.makespan + mean + tenths(1000 * LOAD_S) * sum(problem.used))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = SOLVE_S
    solver.parameters.num_workers = 1
    if (status := solver.solve(model)) not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        raise AssertionError(f"{workload.name}: no plan at {now} s: {solver.status_name(status)}")
    plan = problem.schedule(solver.value)
    return Schedule({job.id: plan.starts[number] for number, job in enumerate(jobs)}, plan.loads)
