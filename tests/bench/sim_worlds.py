"""Small workloads, written down by hand."""

from swapsim.drafts import Job, SimModel, Workload

A, B, C = (SimModel(name, 5000, 5.0, 2) for name in "ABC")
L = SimModel("L", 9000, 9.0, 1)


def job(number, model, seconds, after=(), *, run="run", release=0.0, klass="batch"):
    return Job(number, run, model, seconds, seconds, tuple(after), release, klass)


def workload(models, budget, *jobs):
    return Workload("by hand", tuple(models), budget, tuple(jobs))


def alternating(turns, budget=5_000, models=(A, B)):
    """One chain A, B, A, B, ... of calls of 3 s."""
    jobs = [job(turn, "AB"[turn % 2], 3.0, [turn - 1] if turn else []) for turn in range(turns)]
    return workload(models, budget, *jobs)
