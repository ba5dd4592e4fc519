"""What the sandbox costs: a tiny pytest run through Sandbox.test over the same run without one, side by side.

python bench/sandbox.py [--runs 15] [--many 24] [--backend auto] [--json]

Plain is `python -B -m pytest` as a subprocess, in a fresh copy of the same files, with no plugins found by themselves: what the
judge's driver starts too, so that the difference is the sandbox and the judge. Both take turns in one process, so load on
the machine meets both; the ratio of medians is what to look at there. Then `--many` judged and as many plain runs, two at
a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from vwt_agents.sandbox.service import Sandbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CODE = {"m.py": "def double(x):\n    return 2 * x\n"}
TESTS = {
    "test_m.py": "import m\n\n\ndef test_zero():\n    assert m.double(0) == 0\n\n\n"
    "def test_two():\n    assert m.double(2) == 4\n\n\ndef test_text():\n    assert m.double('a') == 'aa'\n"
}
TIMES = 3  # as often are many run, plain and judged in turn
PYTEST = ("-B", "-m", "pytest", "-q", "-p", "no:cacheprovider")


async def plain() -> None:
    """The run without a sandbox."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**CODE, **TESTS}.items():
            Path(folder, name).write_text(text)  # noqa: ASYNC240 - two small files, and the judge does the same
        done = await anyio.run_process(
            [sys.executable, *PYTEST], cwd=folder, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        )
    assert b"3 passed" in done.stdout, done.stdout


async def seconds(what: Callable[[], Awaitable[object]]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    await what()
    return time.perf_counter() - began


async def measure(runs: int, many: int, backend: str) -> dict[str, float | str]:
    """Medians in milliseconds and their ratios; `many_s` is the wall time of `many` runs, two at a time."""
    sandbox = await Sandbox.open(backend)

    async def judged() -> None:
        verdict = await sandbox.test(CODE, TESTS)
        assert verdict.passed, verdict.reason

    async def bare() -> None:
        assert (await sandbox.run({"a.py": "pass"}, "a.py")).ok

    async def nothing() -> None:
        await anyio.run_process([sys.executable, "-B", "-c", "pass"])

    taken: dict[str, list[float]] = {"plain": [], "judged": [], "nothing": [], "bare": []}
    for _ in range(runs):
        for name, what in (("plain", plain), ("judged", judged), ("nothing", nothing), ("bare", bare)):
            taken[name].append(await seconds(what))

    async def two_at_a_time(what: Callable[[], Awaitable[object]]) -> float:
        turns = list(range(many))

        async def worker() -> None:
            while turns:
                turns.pop()
                await what()

        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(worker)
            group.start_soon(worker)
        return time.perf_counter() - began

    together = [(await two_at_a_time(plain), await two_at_a_time(judged)) for _ in range(TIMES)]
    plain_s, many_s = (statistics.median(times) for times in zip(*together, strict=True))
    best = {name: min(times) for name, times in taken.items()}
    middle = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "backend": sandbox.backend.name,
        **{f"{name}_ms": round(one * 1000, 1) for name, one in middle.items()},
        **{f"{name}_best_ms": round(one * 1000, 1) for name, one in best.items()},
        "ratio": round(middle["judged"] / middle["plain"], 3),
        "ratio_of_best": round(best["judged"] / best["plain"], 3),
        "ratio_of_pairs": round(
            statistics.median(a / b for a, b in zip(taken["judged"], taken["plain"], strict=True)), 3
        ),
        "many": many,
        "many_s": round(many_s, 2),
        "many_best_s": round(min(judged_s for _, judged_s in together), 2),
        "many_plain_s": round(plain_s, 2),
        "load": round(os.getloadavg()[0], 1),
        "python": sys.version.split()[0],
        "kernel": platform.release(),
    }


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--many", type=int, default=24)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    row = anyio.run(measure, options.runs, options.many, options.backend)
    if options.json:
        print(json.dumps(row, indent=2))
        return
    for name in ("plain", "judged", "nothing", "bare"):
        print(f"{name:8} {row[f'{name}_ms']:8} ms (best {row[f'{name}_best_ms']})")
    print(f"judged / plain: {row['ratio']} (of the best runs {row['ratio_of_best']}, of pairs {row['ratio_of_pairs']})")
    print(
        f"{row['many']} judged runs, two at a time: {row['many_s']} s (best of {TIMES} {row['many_best_s']}); "
        f"plain ones: {row['many_plain_s']} s"
    )
    print(f"{row['backend']}, load {row['load']}, Python {row['python']}, Linux {row['kernel']}")


if __name__ == "__main__":
    main()
