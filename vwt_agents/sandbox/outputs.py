"""Programs judged by what they print: one run a case, in a sandbox, compared here.

The program sees its input and nothing else, so it has nothing to forge: the verdict is always `isolated`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vwt_agents.errors import UsageError
from vwt_agents.sandbox.verdict import Failure, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.base import Limits, SandboxResult
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["OutputCase", "judge_outputs"]


@dataclass(frozen=True, slots=True)
class OutputCase:
    """What a program is given on stdin, and what it must print; spaces that end lines and empty last lines do not count."""

    stdin: str
    expected: str
    name: str = ""


async def judge_outputs(
    sandbox: Sandbox, files: Mapping[str, str], entry: str, cases: Sequence[OutputCase], *, limits: Limits | None = None
) -> Verdict:
    """Run `entry` once for each case and compare. UsageError when `entry` is none of the files."""
    import anyio

    if entry not in files:
        raise UsageError(f"there is no file {entry!r} to run", hint=f"the files are: {', '.join(sorted(files))}")
    began = time.monotonic()
    results: dict[int, SandboxResult] = {}

    async def run(at: int, case: OutputCase) -> None:
        results[at] = await sandbox.run(files, entry, stdin=case.stdin.encode(), limits=limits)

    async with anyio.create_task_group() as group:
        for at, case in enumerate(cases):
            group.start_soon(run, at, case)
    failures = [
        failure
        for at, case in enumerate(cases)
        if (failure := _failure(results[at], case, case.name or f"case {at + 1}"))
    ]
    passed = len(cases) - len(failures)
    reason = f"{passed} of {len(cases)} cases passed" if failures else f"all {passed} cases passed"
    return Verdict(
        passed=bool(cases) and not failures,
        reason=reason if cases else "there are no cases, and nothing proves nothing",
        tests_run=len(cases),
        tests_passed=passed,
        tests_failed=len(failures),
        failures=tuple(failures),
        level=sandbox.backend.level,
        backend=sandbox.backend.name,
        integrity="isolated",
        stopped=next((one.stopped for one in results.values() if one.stopped), None),
        seconds=time.monotonic() - began,
    )


def _failure(result: SandboxResult, case: OutputCase, name: str) -> Failure | None:
    if result.stopped is not None:
        return Failure(name, result.stopped, f"stopped by the {result.stopped} limit after {result.wall_s:.1f} s")
    if result.exit_code != 0:
        end = f"exit code {result.exit_code}" if result.exit_code is not None else f"signal {result.signal}"
        return Failure(name, "exit", f"{end}\n{_tail(result.stderr)}")
    printed = result.stdout.decode(errors="backslashreplace")
    if result.truncated or _lines(printed) != _lines(case.expected):
        return Failure(name, "output", _difference(_lines(printed), _lines(case.expected)))
    return None


def _lines(text: str) -> list[str]:
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n").split("\n")


def _difference(printed: list[str], expected: list[str]) -> str:
    at = next((n for n, (one, other) in enumerate(zip(printed, expected, strict=False)) if one != other), None)
    if at is None:
        return f"{len(printed)} lines were printed, {len(expected)} expected"
    return f"line {at + 1} is {printed[at][:200]!r}, expected {expected[at][:200]!r}"


def _tail(data: bytes) -> str:
    return "\n".join(data.decode(errors="backslashreplace").splitlines()[-15:])[-4000:]
