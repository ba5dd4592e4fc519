"""The workloads by name, fixed by a seed: seven of a study, three of the pipelines that come with the package.

The seven workloads `w1` to `w4c` are those of the study the policy was chosen by: a 7B takes 5 GB, 5 s to load and has 2
slots, a 13B takes 9 GB, 9 s and has 1. They are reconstructed: the study gives their shape in words, and what the words
leave open (durations, think times, releases) was chosen so that the study's rivals (FIFO, skip 3, exhaustive, gated) come
out as they did there, over seeds 0 to 9: makespan over lower bound, loads, waits, mean run time. No policy of ours was
looked at for that. `codegen`, `review` and `hybrid` have the graphs of `pipelines/`, several runs side by side.

Durations lie on a 0.1 s grid. What the scheduler is told is an estimate: the duration times a lognormal factor (`sigma`).
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from swapsim.drafts import Draft, SimModel, Workload
from swapsim.programs import add_run

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STUDIED", "WORKLOADS", "build"]


def _7b(name: str) -> SimModel:
    return SimModel(name, 5000, 5.0, 2)


BIG: Final = SimModel("L", 9000, 9.0, 1)


def _w1(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """Four agents that think between eight requests each, over three 7B; the budget holds two."""
    for agent in range(4):
        last: list[int] = []
        for turn in range(8):
            call = draft.add(f"agent{agent}", draft.rng.choice("ABC"), draft.seconds(3, 8), last)
            last = [draft.add(f"agent{agent}", None, draft.seconds(0.5, 2), [call])] if turn < 7 else []
    return (_7b("A"), _7b("B"), _7b("C")), 10_000


def _w2(draft: Draft) -> None:
    """Twelve pipelines on the 13B and two lint agents that alternate two 7B."""
    for number in range(12):
        run = f"pipeline{number}"
        plan = draft.add(run, "L", draft.seconds(5, 12))
        code = draft.add(run, "L", draft.seconds(8, 20), [plan])
        tests = draft.add(run, "L", draft.seconds(12, 22), [plan])
        last = draft.add(run, None, draft.seconds(3, 12), [code, tests])
        for _ in range(draft.rng.choice((0, 1, 2))):
            repair = draft.add(run, "L", draft.seconds(6, 14), [last])
            last = draft.add(run, None, draft.seconds(3, 12), [repair])
        draft.add(run, "L", draft.seconds(8, 20), [last])
    for agent in range(2):
        after: list[int] = []
        for turn in range(10):
            call = draft.add(f"lint{agent}", "AB"[(turn + agent) % 2], draft.seconds(4, 8), after)
            after = [draft.add(f"lint{agent}", None, draft.seconds(1, 3), [call])] if turn < 9 else []


def _w2a(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """w2 where the 13B and one 7B fit."""
    _w2(draft)
    return (BIG, _7b("A"), _7b("B")), 14_000


def _w2b(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """w2 where the 13B fits alone, or both 7B do."""
    _w2(draft)
    return (BIG, _7b("A"), _7b("B")), 10_000


def _w3(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """Bursts of two to five interactive requests on two chat models over six batch chains on a third; two fit."""
    for chain in range(6):
        last: list[int] = []
        for _ in range(4):
            last = [draft.add(f"chain{chain}", "A", draft.seconds(6, 10), last)]
    at = 3.0
    for burst in range(8):
        for number in range(draft.rng.randint(2, 5)):
            run = f"chat{burst}.{number}"
            draft.add(run, draft.rng.choice("BC"), draft.seconds(1, 3), release=at, klass="interactive")
        at += draft.rng.uniform(3, 18)
    return (_7b("A"), _7b("B"), _7b("C")), 10_000


def _w4a(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """Four chains A, B, A, B, ... out of phase; the budget holds one."""
    for chain in range(4):
        last: list[int] = []
        for turn in range(8):
            last = [draft.add(f"chain{chain}", "AB"[(turn + chain) % 2], draft.seconds(2, 4), last)]
    return (_7b("A"), _7b("B")), 5_000


def _w4b(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """An open stream A, B, C, A, ... about every 1.5 s; the budget holds two: the worst case of least recently used."""
    at = 0.0
    for number in range(36):
        draft.add(f"call{number}", "ABC"[number % 3], draft.seconds(2, 4), release=at)
        at += draft.rng.uniform(0.5, 2.5)
    return (_7b("A"), _7b("B"), _7b("C")), 10_000


def _w4c(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """A is saturated for five minutes, three requests want B from 5 s on; the budget holds one."""
    for number in range(100):
        draft.add(f"call{number}", "A", draft.seconds(5, 7, spread=0.2), release=3.0 * number)
    for number in range(3):
        draft.add(f"other{number}", "B", draft.seconds(2, 4), release=5.0 + number)
    return (_7b("A"), _7b("B")), 5_000


def _codegen(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """Three codegen runs promoted to the 13B, two reviews on two 7B, one analysis; the 13B fits alone, or both 7B do."""
    for number in range(3):
        served = {"coder": "L", "tester": "L", "reviewer": "B"}
        add_run(draft, "codegen", f"codegen{number}", served, release=4.0 * number)
    for number in range(2):
        add_run(draft, "review", f"review{number}", {"linter": "A", "reviewer": "B"}, items=4, release=20.0 * number)
    add_run(draft, "analysis", "analysis", {"analyst": "L"}, release=30.0)
    return (BIG, _7b("A"), _7b("B")), 10_000


def _review(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """Four reviews on two 7B beside two codegen runs on a third; the budget holds two."""
    for number in range(4):
        add_run(draft, "review", f"review{number}", {"linter": "A", "reviewer": "B"}, items=4, release=15.0 * number)
    for number in range(2):
        served = {"coder": "C", "tester": "C", "reviewer": "B"}
        add_run(draft, "codegen", f"codegen{number}", served, release=5.0 * number)
    return (_7b("A"), _7b("B"), _7b("C")), 10_000


def _hybrid(draft: Draft) -> tuple[tuple[SimModel, ...], int]:
    """Six people ask: 7B drafts, a decision by the 13B; two reviews on two other 7B below; the 13B and one 7B fit."""
    for number in range(6):
        served = {"general": "B", "judge": "L"}
        at = draft.rng.uniform(0, 12) + 12 * number
        add_run(draft, "hybrid", f"hybrid{number}", served, items=3, release=at, klass="interactive")
    for number in range(2):
        add_run(draft, "review", f"review{number}", {"linter": "A", "reviewer": "C"}, items=4, release=10.0 * number)
    return (BIG, _7b("A"), _7b("B"), _7b("C")), 14_000


_DRAWN: Final[dict[str, Callable[[Draft], tuple[tuple[SimModel, ...], int]]]] = {
    "w1": _w1,
    "w2a": _w2a,
    "w2b": _w2b,
    "w3": _w3,
    "w4a": _w4a,
    "w4b": _w4b,
    "w4c": _w4c,
    "codegen": _codegen,
    "review": _review,
    "hybrid": _hybrid,
}

WORKLOADS: Final[tuple[str, ...]] = tuple(_DRAWN)
"""All of them."""

STUDIED: Final = WORKLOADS[:7]
"""Those of the study."""


def build(name: str, seed: int, sigma: float = 0.3) -> Workload:
    """The workload of that name and seed; `sigma` is the spread of the estimates (lognormal), 0 for exact ones."""
    draft = Draft(random.Random(f"{name[:2] if name.startswith('w2') else name}/{seed}"))
    models, budget = _DRAWN[name](draft)
    noise = random.Random(f"{name}/{seed}/noise")
    jobs = [
        replace(job, estimate=max(0.1, job.seconds * math.exp(noise.gauss(0.0, 1.0) * sigma))) for job in draft.jobs
    ]
    return Workload(name, models, budget, tuple(jobs))
