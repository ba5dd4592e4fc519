"""How good the swap schedule is: our policy and its rivals on the core under virtual time, next to bounds and optima.

    python bench/swaps.py [--seeds 10] [--only w1,w3] [--sigma 0.3] [--hung] [--json] [--solve SECONDS] [--replan 0,5,10]

Each row is a policy on a workload over all seeds. "/bound" is the mean makespan over the lower bound (bounds.py), "/best"
over the best schedule known (optimum.py): a proven optimum, or marked ~ where not all are proven. Waits are those of all
calls. Below the table: the targets, and whether they hold. Durations are fixed, sizes exact, there are no KV caches.

--sigma is the spread of what the scheduler is told of each duration. --hung lets the first CPU stage of a lint agent of w2
take 60 s. --solve first solves what bench/swapsim/optima.json does not know, SECONDS each (needs the extra `bench`).
--replan says, for workloads of single calls, how near the optimum a scheduler comes that plans perfectly at each release, but
sees only so many seconds ahead (the same extra).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from swapsim.figures import Figures, figures, trials
from swapsim.optimum import fingerprint, known, makespan_of, solved
from swapsim.replan import plannable, replanned
from swapsim.rivals import RIVALS
from swapsim.targets import OURS, Verdict, hang_verdict, noise_verdict, verdicts
from swapsim.workloads import WORKLOADS, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from swapsim.drafts import Workload
    from swapsim.optimum import Optimum

    from vwt_agents.core import Policy

POLICIES: dict[str, Callable[[], Policy] | None] = {**RIVALS, OURS: None}
HANG_S = 60.0


def main() -> int:
    """Measure, and print one table; 1 where a target is missed."""
    options = _options()
    names = options.only.split(",") if options.only else ["w2a", "w2b"] if options.hung else list(WORKLOADS)
    if unknown := [name for name in names if name not in WORKLOADS]:
        print(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    built = {name: [build(name, seed, options.sigma) for seed in range(options.seeds)] for name in names}
    if options.solve:
        solved(built, POLICIES, seconds=options.solve)
    optima = known()
    rows = {name: table_of(workloads, optima, hung=options.hung) for name, workloads in built.items()}
    checked = [hang_verdict(rows)] if options.hung else verdicts(rows)
    if not options.hung and options.sigma != 1.0:
        noisy = {name: [build(name, seed, 1.0) for seed in range(options.seeds)] for name in names}
        exact = {name: [build(name, seed, 0.0) for seed in range(options.seeds)] for name in names}
        checked.append(noise_verdict(_makespans(exact), _makespans(noisy)))
    if options.replan and not options.json:
        _replan(built, optima, [float(ahead) for ahead in options.replan.split(",")])
    if options.json:
        print(json.dumps(_data(rows, checked), indent=1))
    else:
        Console(width=132).print(_table(rows))
        for verdict in checked:
            print(f"{'holds ' if verdict.holds else 'MISSED'}  {verdict.target}: {verdict.measured}")
    return 0 if all(verdict.holds for verdict in checked) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="", help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--sigma", type=float, default=0.3)
    parser.add_argument("--hung", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--solve", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--replan", default="", metavar="SECONDS,...")
    return parser.parse_args()


def table_of(workloads: Sequence[Workload], optima: Mapping[str, Optimum], *, hung: bool) -> dict[str, Figures]:
    """One workload under each policy."""
    tried = {}
    for policy, make in POLICIES.items():
        tried[policy] = [
            trial
            for workload in workloads
            for trial in trials([workload], make, overrun=_hang(workload) if hung else None)
        ]
    best: dict[str, float] = {}
    for each in tried.values():
        for trial in each:
            mark = fingerprint(trial.workload)
            best[mark] = min(best.get(mark, trial.outcome.makespan), trial.outcome.makespan)
    return {policy: figures(each, {} if hung else optima, best) for policy, each in tried.items()}


def _replan(built: Mapping[str, Sequence[Workload]], optima: Mapping[str, Optimum], aheads: Sequence[float]) -> None:
    """How near the best plans come that see so far ahead, on the solved seeds of each workload of single calls."""
    for name, workloads in built.items():
        solved_ones = [each for each in workloads if plannable(each) and fingerprint(each) in optima]
        for ahead in aheads if solved_ones else ():
            plans = [(each, replanned(each, ahead=ahead)) for each in solved_ones]
            ratios = [makespan_of(each, plan) / optima[fingerprint(each)].best for each, plan in plans]
            loads = sum(len(plan.loads) for _, plan in plans) / len(plans)
            mean = sum(ratios) / len(ratios)
            print(
                f"{name}, planned anew at each release, seeing {ahead:g} s ahead: {mean:.3f} of the best, {loads:.1f} loads"
            )


def _hang(workload: Workload) -> dict[int, float]:
    """The first CPU stage of the first lint agent never seems to end; none where there is no lint agent."""
    hanging = (job.id for job in workload.jobs if job.run.startswith("lint") and job.model is None)
    return {job: HANG_S for job in [next(hanging, None)] if job is not None}


def _makespans(built: Mapping[str, Sequence[Workload]]) -> dict[str, float]:
    return {name: sum(trial.outcome.makespan for trial in trials(workloads, None)) for name, workloads in built.items()}


def _table(rows: Mapping[str, Mapping[str, Figures]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("workload", "policy"):
        table.add_column(column, no_wrap=True)
    for column in ("/bound", "/best", "loads", "p95 s", "p99 s", "worst s", "interactive p95", "worst", "mean run s"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, policies in rows.items():
        for policy, row in policies.items():
            style = "bold" if policy == OURS else ""
            table.add_row(name, policy, *_cells(row), style=style)
            name = ""  # noqa: PLW2901 - said once for each workload
        table.add_section()
    return table


def _cells(row: Figures) -> list[str]:
    best = "-" if row.over_best is None else f"{'' if row.closed == row.compared else '~'}{row.over_best:.3f}"
    waits = [f"{row.p95:.0f}", f"{row.p99:.0f}", f"{row.worst:.0f}"]
    urgent = ["" if each is None else f"{each:.0f}" for each in (row.interactive_p95, row.interactive_worst)]
    return [f"{row.over_bound:.3f}", best, f"{row.loads:.1f}", *waits, *urgent, f"{row.mean_run:.0f}"]


def _data(rows: Mapping[str, Mapping[str, Figures]], checked: Sequence[Verdict]) -> dict[str, object]:
    return {
        "rows": [
            {"workload": name, "policy": policy, **asdict(row)}
            for name, policies in rows.items()
            for policy, row in policies.items()
        ],
        "targets": [asdict(verdict) for verdict in checked],
    }


if __name__ == "__main__":
    sys.exit(main())
