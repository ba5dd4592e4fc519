"""The best schedule there is, by constraint programming (OR-Tools' CP-SAT), for exactly the model of simulate.py.

An interval for each job; for each model as many optional stays as could be of use, each with a load in front; every call
within one stay of its model and after its load; at each moment at most the slots of each model, one load, and the budget
over all stays. The makespan is minimised, then the number of loads. Time is in tenths of a second, the grid that all
durations and releases lie on, so nothing is lost by rounding.

OR-Tools is only needed to solve; what was solved is kept in `optima.json` and checked by schedule.py when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from swapsim.bounds import lower_bound
from swapsim.schedule import Schedule, faults
from swapsim.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from swapsim.drafts import Job, Workload
    from swapsim.simulate import Outcome
    from vwt_agents.core import Policy

__all__ = [
    "Optimum",
    "Problem",
    "fingerprint",
    "keep",
    "known",
    "makespan_of",
    "most_stays",
    "schedule_of",
    "solve",
    "solved",
]

TENTHS: Final = 10
OPTIMA: Final = Path(__file__).with_name("optima.json")


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best makespan found, in seconds, one no schedule is below, and the schedule; closed when the two meet."""

    best: float
    bound: float
    schedule: Schedule

    @property
    def closed(self) -> bool:
        """Whether `best` is proven to be the optimum."""
        return self.bound > self.best - 0.5 / TENTHS


def most_stays(workload: Workload, makespan: float) -> dict[str, int]:
    """By model, how many stays a schedule of at most this makespan can make use of.

    A stay without a call is of no use. Between two stays of a model another one is loaded, or they could be one. So k
    stays take k loads of it, k - 1 loads of others, and its own work, one after the other.
    """
    calls: dict[str, list[Job]] = {model.name: [] for model in workload.models}
    for job in workload.jobs:
        if job.model is not None:
            calls[job.model].append(job)
    most = {}
    for model in workload.models:
        others = [other.load_s for other in workload.models if other is not model]
        between = min(others, default=math.inf)
        work = sum(job.seconds for job in calls[model.name]) / model.slots
        room = 1.0 if math.isinf(between) else (makespan - work + between) / (model.load_s + between)
        most[model.name] = max(min(len(calls[model.name]), int(room + 1e-9)), 1 if calls[model.name] else 0)
    return most


def solve(workload: Workload, hint: Schedule, *, seconds: float, workers: int = 2) -> Optimum:
    """The best schedule found within that time, never worse than the hint, a possible schedule."""
    from ortools.sat.python import cp_model

    made = Problem(workload, hint)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    status = solver.solve(made.model)
    floor = math.ceil(lower_bound(workload) * TENTHS - 1e-6) / TENTHS
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        return Optimum(makespan_of(workload, hint), floor, hint)
    found = made.schedule(solver.value)
    if wrong := faults(workload, found):
        raise AssertionError(f"{workload.name}: the solver's schedule is impossible: {'; '.join(wrong)}")
    best = makespan_of(workload, found)
    proven = math.ceil((solver.best_objective_bound - made.stays) / made.weight - 1e-6) / TENTHS
    return Optimum(best, best if status == cp_model.OPTIMAL else max(floor, proven), found)


class Problem:
    """The constraints, and how to read a solution. `model` is CP-SAT's; `starts` and `loads` its variables, in tenths."""

    def __init__(self, workload: Workload, hint: Schedule) -> None:
        from ortools.sat.python import cp_model

        self.workload = workload
        self.model = cp_model.CpModel()
        self.horizon = math.ceil(makespan_of(workload, hint) * TENTHS - 1e-6)
        self.starts: dict[int, Any] = {}
        self.loads: dict[str, list[tuple[Any, Any]]] = {}
        self._stay: dict[int, Any] = {}
        self._spans: list[Any] = []
        self._sizes: list[int] = []
        self._loading: list[Any] = []
        floor = math.ceil(lower_bound(workload) * TENTHS - 1e-6)
        self.makespan = self.model.new_int_var(floor, self.horizon, "makespan")
        self._add_jobs()
        most = most_stays(workload, self.horizon / TENTHS)
        for name, count in most.items():
            self._add_stays(name, count)
        self._add_returns()
        self.model.add_cumulative(self._spans, self._sizes, workload.budget)
        self.model.add_no_overlap(self._loading)
        self.stays = sum(most.values())
        self.weight = self.stays + 1
        self.used = [there for loads in self.loads.values() for there, _ in loads]
        self.model.minimize(self.weight * self.makespan + sum(self.used))
        self._hint(hint)

    def _add_jobs(self) -> None:
        model, tails = self.model, [0] * len(self.workload.jobs)
        for job in reversed(self.workload.jobs):
            for each in job.after:
                tails[each] = max(tails[each], tenths(job.seconds) + tails[job.id])
        for job in self.workload.jobs:
            last = self.horizon - tenths(job.seconds) - tails[job.id]
            self.starts[job.id] = model.new_int_var(tenths(job.release), last, f"start{job.id}")
            for each in job.after:
                model.add(self.starts[job.id] >= self.starts[each] + tenths(self.workload.jobs[each].seconds))
            model.add(self.makespan >= self.starts[job.id] + tenths(job.seconds) + tails[job.id])

    def _add_stays(self, name: str, count: int) -> None:
        """The stays of one model, in order of time, and each of its calls in one of them."""
        model, spec = self.model, self.workload.model(name)
        takes = tenths(spec.load_s)
        calls = [job for job in self.workload.jobs if job.model == name]
        model.add_cumulative(
            [model.new_fixed_size_interval_var(self.starts[job.id], tenths(job.seconds), "") for job in calls],
            [1] * len(calls),
            spec.slots,
        )
        self.loads[name] = []
        others = [tenths(other.load_s) for other in self.workload.models if other is not spec]
        between = min(others, default=0)
        held_by: list[list[Any]] = []
        before: tuple[Any, Any] | None = None
        for number in range(count):
            there = model.new_bool_var(f"{name}{number}")
            load = model.new_int_var(0, self.horizon, f"load {name}{number}")
            end = model.new_int_var(0, self.horizon, f"end {name}{number}")
            length = model.new_int_var(takes, self.horizon, "")
            self._spans.append(model.new_optional_interval_var(load, length, end, there, ""))
            self._sizes.append(spec.mib)
            self._loading.append(model.new_optional_fixed_size_interval_var(load, takes, there, ""))
            if before is not None:
                model.add_implication(there, before[0])
                model.add(load >= before[1] + between).only_enforce_if(there)
            before = there, end
            held_by.append([model.new_bool_var("") for _ in calls])
            model.add_bool_or(held_by[-1]).only_enforce_if(there)
            self.loads[name].append((there, load))
            for job, held in zip(calls, held_by[-1], strict=True):
                model.add_implication(held, there)
                model.add(self.starts[job.id] >= load + takes).only_enforce_if(held)
                model.add(self.starts[job.id] + tenths(job.seconds) <= end).only_enforce_if(held)
        for job, stays in zip(calls, zip(*held_by, strict=True), strict=True):
            model.add_exactly_one(stays)
            self._stay[job.id] = sum(number * each for number, each in enumerate(stays))

    def _add_returns(self) -> None:
        """Of two calls of one model, one after the other, the second is in the same stay or a later one: a later one if a
        call between them is of a model that does not fit beside it. Follows from the rest, and is found sooner.
        """
        behind: list[dict[str, tuple[int, int]]] = []
        for job in self.workload.jobs:
            seen: dict[str, tuple[int, int]] = {}
            for each in job.after:
                for name, (call, apart) in behind[each].items():
                    seen[name] = max(seen.get(name, (call, -1)), (call, apart), key=lambda pair: (pair[1], pair[0]))
            if job.model is not None:
                if job.model in seen:
                    call, apart = seen[job.model]
                    self.model.add(self._stay[job.id] >= self._stay[call] + apart)
                seen = {name: (call, max(apart, self._apart(name, job.model))) for name, (call, apart) in seen.items()}
                seen[job.model] = job.id, 0
            behind.append(seen)

    def _apart(self, one: str, other: str) -> int:
        """1 where the two models do not fit side by side, else 0."""
        both = self.workload.model(one).mib + self.workload.model(other).mib
        return int(one != other and both > self.workload.budget)

    def _hint(self, hint: Schedule) -> None:
        for job, start in hint.starts.items():
            self.model.add_hint(self.starts[job], tenths(start))
        for name, loads in self.loads.items():
            begins = sorted(start for model, start, _ in hint.loads if model == name)
            for number, (there, load) in enumerate(loads):
                self.model.add_hint(there, number < len(begins))
                if number < len(begins):
                    self.model.add_hint(load, max(0, tenths(begins[number])))

    def schedule(self, value: Any) -> Schedule:
        """A solution's schedule, in seconds."""
        starts = {job: value(start) / TENTHS for job, start in self.starts.items()}
        loads = [
            (name, value(load) / TENTHS, value(load) / TENTHS + self.workload.model(name).load_s)
            for name, stays in self.loads.items()
            for there, load in stays
            if value(there)
        ]
        return Schedule(starts, tuple(sorted(loads, key=lambda load: load[1])))


def tenths(seconds: float) -> int:
    """Seconds on the solver's grid."""
    return round(seconds * TENTHS)


def makespan_of(workload: Workload, schedule: Schedule) -> float:
    """Seconds until the last job's end."""
    return round(max(schedule.starts[job.id] + job.seconds for job in workload.jobs), 4)


# -- what was solved ----------------------------------------------------------------------------------------------------


def fingerprint(workload: Workload) -> str:
    """The part of a workload that decides its optimum: all but the names of runs and what is believed."""
    jobs = [(job.model, job.seconds, job.after, job.release) for job in workload.jobs]
    models = [(model.name, model.mib, model.load_s, model.slots) for model in workload.models]
    return hashlib.sha256(json.dumps([models, workload.budget, jobs]).encode()).hexdigest()[:16]


def solved(
    built: Mapping[str, Sequence[Workload]],
    policies: Mapping[str, Callable[[], Policy] | None],
    *,
    seconds: float,
    path: Path = OPTIMA,
) -> None:
    """Solve what is not known yet, hinted with the best of the policies' schedules, and keep each as it comes."""
    found, names = dict(known(path)), _names(path)
    for name, workloads in built.items():
        for number, workload in enumerate(workloads):
            mark = fingerprint(workload)
            if mark in found:
                continue
            outcomes = [simulate(workload, make() if make else None) for make in policies.values()]
            best = min(outcomes, key=lambda outcome: (round(outcome.makespan, 3), outcome.loads))
            found[mark] = solve(workload, schedule_of(workload, best), seconds=seconds)
            names[mark] = f"{name}/{number}"
            keep(found, names, path)


def schedule_of(workload: Workload, outcome: Outcome) -> Schedule:
    """A simulated outcome as a schedule: CPU work starts as soon as it may."""
    starts = dict(outcome.starts)
    for job in workload.jobs:
        if job.model is None:
            starts[job.id] = max([job.release, *(starts[each] + workload.jobs[each].seconds for each in job.after)])
    return Schedule(starts, outcome.sessions)


def _names(path: Path) -> dict[str, str]:
    return {mark: entry["of"] for mark, entry in json.loads(path.read_text("utf-8")).items()} if path.exists() else {}


def known(path: Path = OPTIMA) -> Mapping[str, Optimum]:
    """By fingerprint, what was solved before."""
    if not path.exists():
        return {}
    return {mark: _read(entry) for mark, entry in json.loads(path.read_text("utf-8")).items()}


def keep(optima: Mapping[str, Optimum], names: Mapping[str, str], path: Path = OPTIMA) -> None:
    """Write what was solved, one line each; `names` says for people which workload a fingerprint is of."""
    lines = [
        f"{json.dumps(mark)}: {json.dumps(_written(optimum, names.get(mark, '')), separators=(',', ':'))}"
        for mark, optimum in sorted(optima.items(), key=lambda item: names.get(item[0], ""))
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _written(optimum: Optimum, name: str) -> dict[str, Any]:
    return {
        "of": name,
        "best": optimum.best,
        "bound": optimum.bound,
        "starts": [optimum.schedule.starts[job] for job in sorted(optimum.schedule.starts)],
        "loads": optimum.schedule.loads,
    }


def _read(entry: Mapping[str, Any]) -> Optimum:
    loads = tuple((name, start, end) for name, start, end in entry["loads"])
    return Optimum(entry["best"], entry["bound"], Schedule(dict(enumerate(entry["starts"])), loads))
