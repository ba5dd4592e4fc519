"""Runs a workload through the real core under virtual time. Owns the clock and the jobs' fates; decides nothing.

What happens at one moment is told in one breath, so no policy is asked between a call's end and the next call it causes.
A load takes the model's time, an unload none. Fixed durations, exact sizes, no KV effects: what is measured is the
schedule.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vwt_agents.core import (
    Action,
    Announced,
    BudgetSet,
    Event,
    Grant,
    Load,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Reject,
    Released,
    RunEnded,
    Scheduler,
    Step,
    StepBegan,
    StepEnded,
    Submitted,
    Unload,
    Unloaded,
    Use,
    Woken,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from swapsim.drafts import Job, Workload
    from vwt_agents.core import Policy

__all__ = ["Outcome", "simulate"]

DEVICE = "gpu0"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: seconds until the last job's end, loads, each call's wait and span, each run's time."""

    makespan: float
    loads: int
    waits: Mapping[int, float]
    starts: Mapping[int, float]
    runs: Mapping[str, float]
    sessions: tuple[tuple[str, float, float], ...]

    def mean_run(self) -> float:
        """The mean time of a run, from its first release to its last end."""
        return sum(self.runs.values()) / len(self.runs)


@dataclass
class _World:
    workload: Workload
    scheduler: Scheduler
    told: bool
    overrun: Mapping[int, float]
    now: float = 0.0
    serial: int = 0
    heap: list[tuple[float, int, str, int | str]] = field(default_factory=list)
    missing: dict[int, int] = field(default_factory=dict)
    followers: dict[int, list[int]] = field(default_factory=dict)
    submitted: dict[int, float] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    loading: dict[str, float] = field(default_factory=dict)
    sessions: list[tuple[str, float, float]] = field(default_factory=list)

    def later(self, at: float, what: str, about: int | str) -> None:
        self.serial += 1
        heapq.heappush(self.heap, (round(at, 6), self.serial, what, about))

    def seconds(self, job: Job) -> float:
        return self.overrun.get(job.id, job.seconds)


def _key(model: str) -> ModelKey:
    return ModelKey("sim", model)


def _announcement(run: str, jobs: Iterable[Job]) -> Announced:
    steps = []
    for job in jobs:
        after = tuple(str(each) for each in job.after)
        if job.model is None:
            steps.append(Step(str(job.id), think=job.estimate, after=after))
        else:
            steps.append(Step(str(job.id), (Use(_key(job.model), job.estimate),), after=after))
    return Announced(run, tuple(steps))


def simulate(
    workload: Workload,
    policy: Policy | None = None,
    *,
    told: bool = True,
    overrun: Mapping[int, float] | None = None,
    max_agents: int = 1000,
) -> Outcome:
    """The workload's outcome under a policy. `told`: runs announce their steps. `overrun` gives jobs another duration
    than the one believed.
    """
    scheduler = Scheduler(max_agents=max_agents, max_wait=workload.max_wait, policy=policy)
    world = _World(workload, scheduler, told, overrun or {})
    setting: list[Event] = [BudgetSet(DEVICE, workload.budget)]
    setting += [
        Registered(ModelSpec(_key(model.name), DEVICE, model.mib, model.slots, load_s=model.load_s))
        for model in workload.models
    ]
    _carry_out(world, scheduler.handle_all(setting, 0.0))
    by_run: dict[str, list[Job]] = {}
    for job in workload.jobs:
        by_run.setdefault(job.run, []).append(job)
        world.missing[job.id] = len(job.after) + 1
        for each in job.after:
            world.followers.setdefault(each, []).append(job.id)
        world.later(job.release, "ready", job.id)
    for run, jobs in by_run.items():
        world.later(min(job.release for job in jobs) - 1e-6, "announce", run)
    left = {run: len(jobs) for run, jobs in by_run.items()}
    while world.heap or len(world.ended) < len(workload.jobs):
        _step(world, by_run, left)
    runs = {
        run: max(world.ended[job.id] for job in jobs) - min(job.release for job in jobs) for run, jobs in by_run.items()
    }
    calls = [job.id for job in workload.jobs if job.model is not None]
    waits = {job: world.starts[job] - world.submitted[job] for job in calls}
    return Outcome(max(world.ended.values()), len(world.sessions), waits, world.starts, runs, tuple(world.sessions))


def _step(world: _World, by_run: Mapping[str, list[Job]], left: dict[str, int]) -> None:
    """Everything that happens at the next moment."""
    deadline = world.scheduler.deadline
    at = world.heap[0][0] if world.heap else float("inf")
    if deadline is not None and deadline < at:
        world.now = deadline
        _carry_out(world, world.scheduler.handle(Woken(), world.now))
        return
    assert world.heap, f"stuck at {world.now}: {world.workload.name}"
    world.now = at
    events: list[Event] = []
    while world.heap and world.heap[0][0] <= at:
        _, _, what, about = heapq.heappop(world.heap)
        if what == "loaded":
            events.append(Loaded(_key(str(about))))
        elif what == "announce":
            if world.told:
                events.append(_announcement(str(about), by_run[str(about)]))
        elif what == "ended":
            _ended(world, world.workload.jobs[int(about)], left, events)
        else:
            _ready(world, int(about), events)
    _carry_out(world, world.scheduler.handle_all(events, world.now))


def _ended(world: _World, job: Job, left: dict[str, int], events: list[Event]) -> None:
    world.ended[job.id] = world.now
    if job.model is not None:
        events.append(Released(job.id))
    if world.told:
        events.append(StepEnded(job.run, str(job.id)))
    left[job.run] -= 1
    for follower in world.followers.get(job.id, ()):
        _ready(world, follower, events)
    if not left[job.run]:
        events.append(RunEnded(job.run))


def _ready(world: _World, number: int, events: list[Event]) -> None:
    world.missing[number] -= 1
    if world.missing[number]:
        return
    job = world.workload.jobs[number]
    if job.model is None:
        if world.told:
            events.append(StepBegan(job.run, str(job.id)))
        world.later(world.now + world.seconds(job), "ended", job.id)
        return
    world.submitted[job.id] = world.now
    events.append(Submitted(job.id, _key(job.model), job.run, klass=job.klass, step=str(job.id), seconds=job.estimate))


def _carry_out(world: _World, actions: Iterable[Action]) -> None:
    for action in actions:
        match action:
            case Grant(request=request):
                world.starts[request] = world.now
                world.later(world.now + world.seconds(world.workload.jobs[request]), "ended", request)
            case Load(key=key):
                load_s = world.workload.model(key.model).load_s
                world.sessions.append((key.model, world.now, world.now + load_s))
                world.later(world.now + load_s, "loaded", key.model)
            case Unload(key=key):
                _carry_out(world, world.scheduler.handle(Unloaded(key), world.now))
            case Reject():
                raise AssertionError(action)
