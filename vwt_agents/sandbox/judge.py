"""Did the tests truly pass? Owns how it is found out and what is made of the reports; believes signed records only.

Isolated, the code is in another sandbox than its tests: it can answer, but not judge. In their own process (`same-process`)
what it could forge is made to show: records are signed, two sentinel tests with random names must fail and pass, and code
that `suspicions` names cannot pass. Both ways every test function found in the trusted text must have passed cleanly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vwt_agents.errors import SandboxUnavailable, UsageError
from vwt_agents.sandbox.suite_files import checked_files, declared_tests, module_names
from vwt_agents.sandbox.suspicions import held_against, suspicions
from vwt_agents.sandbox.ties import why_not_isolated
from vwt_agents.sandbox.trial import Trial, try_tests
from vwt_agents.sandbox.verdict import Failure, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from vwt_agents.sandbox.base import Backend, Integrity, Limits, SandboxResult
    from vwt_agents.sandbox.records import Ran, Report

__all__ = ["CHOICES", "Choice", "Failure", "Verdict", "checked_files", "declared_tests", "green", "judge"]

Choice: TypeAlias = Literal["auto", "isolated", "same-process"]
CHOICES: Final[tuple[Choice, ...]] = ("auto", "isolated", "same-process")


async def judge(
    backend: Backend,
    code: Mapping[str, str],
    tests: Mapping[str, str],
    *,
    limits: Limits,
    integrity: Choice = "auto",
    accepted: Collection[str] = (),
    paths: Sequence[str] = (),
) -> Verdict:
    """Run the tests against the code and judge. UsageError for unusable files, SandboxUnavailable without sandbox or pytest.

    `auto` isolates unless the tests cannot be run that way, which only their own text and doings decide, never the code's.
    `accepted` are suspicions that do not count, such as those a folder gave before anything in it was changed. `paths` are
    folders of tests and code that are imported from beside their tops.
    """
    if integrity not in CHOICES:
        raise UsageError(f"there is no integrity {integrity!r}", hint=f"possible: {', '.join(CHOICES)}")
    seen = tuple(one for one in suspicions(code, tests) if one not in accepted)
    why = why_not_isolated(tests, module_names(code)[0]) if integrity != "same-process" else None
    if backend.level == "none" and integrity != "same-process":
        if integrity == "isolated":
            message = f"{backend.name} does not keep two programs apart, so nothing is isolated there"
            raise SandboxUnavailable(message, hint="use a sandbox, or --integrity same-process")
        why = f"{backend.name} does not keep two programs apart"
    elif paths and integrity != "same-process":
        why = why or f"modules are imported from {', '.join(paths)} too"
    declared = declared_tests(tests)
    if integrity == "isolated" or (integrity == "auto" and why is None):
        trial = await try_tests(backend, code, tests, limits=limits, isolated=True)
        verdict = _judged(trial, declared, "isolated", seen)
        if trial.report.not_isolatable is None:
            return verdict
        why = why or trial.report.not_isolatable
        if integrity == "isolated":
            return replace(verdict, passed=False, reason=f"it cannot be judged isolated, because {why}")
    trial = await try_tests(backend, code, tests, limits=limits, isolated=False, paths=paths)
    verdict = _judged(trial, declared, "same-process", seen)
    if verdict.passed and seen:
        verdict = replace(verdict, passed=False, reason=held_against("code", seen))
    return replace(verdict, reason=f"{verdict.reason}; not isolated, because {why}") if why else verdict


async def green(
    backend: Backend, stub: Mapping[str, str], tests: Mapping[str, str], *, limits: Limits
) -> tuple[str, ...]:
    """The ids of tests that pass against a stub: whatever the code does, they prove nothing. Empty is what one wants to see."""
    verdict = await judge(backend, stub, tests, limits=limits)
    return tuple(sorted(declared_tests(tests) - {_function(one.test) for one in verdict.failures}))


# ---- what is made of a report


def _judged(trial: Trial, declared: frozenset[str], integrity: Integrity, seen: tuple[str, ...]) -> Verdict:
    result, report = trial.result, trial.report
    sentinels = {test: one for test, one in report.tests.items() if test.endswith(f"_{trial.token}")}
    tests = {test: one for test, one in report.tests.items() if test not in sentinels}
    clean = [test for test, one in tests.items() if one.clean]
    failures = [*report.collect, *(one.failure for one in tests.values() if one.failure is not None)]
    stopped = result.stopped or (trial.code.stopped if trial.code is not None and report.lost else None)
    if report.running in tests and result.stopped is not None:
        failures.append(
            Failure(report.running or "", result.stopped, f"it was running when the {result.stopped} limit was reached")
        )
    tampered = _tampered(result, report, sentinels, trial.token)
    if not tampered:
        floor = declared - {_function(test) for test in clean} - {_function(one.test) for one in failures}
        failures += [Failure(test, "not run", "the test is declared but has no clean pass") for test in sorted(floor)]
    reason = (
        _stop_reason(result, report)
        or _lost_reason(trial)
        or tampered
        or _count_reason(declared, tests, failures, len(clean))
    )
    sound = result.stopped is None and report.status == 1 and _sentinels_held(result, sentinels, trial.token)
    if reason is None and not sound:
        reason = "the tests ended before it was clear that they can fail"
    return Verdict(
        passed=reason is None,
        reason=reason or f"all {len(clean)} tests passed",
        tests_run=len(tests),
        tests_passed=len(clean),
        tests_failed=len(tests) - len(clean),
        failures=tuple(failures),
        level=result.level,
        backend=result.backend,
        integrity=integrity,
        stopped=stopped,
        seconds=result.wall_s,
        stdout_tail=(result.stdout + result.stderr).decode(errors="backslashreplace")[-4000:],
        suspicions=(*seen, *report.doubts),
        sound=sound and not report.forged and report.aborted is None and report.lost is None,
    )


def _function(test: str) -> str:
    """The id of a test's function, without the parameters."""
    return test.split("[", maxsplit=1)[0]


def _lost_reason(trial: Trial) -> str | None:
    if trial.report.lost is None:
        return None
    if trial.code is not None and trial.code.stopped is not None:
        return f"the code was stopped by the {trial.code.stopped} limit after {trial.code.wall_s:.1f} s"
    return trial.report.lost


def _stop_reason(result: SandboxResult, report: Report) -> str | None:
    if result.stopped is not None:
        where = f" while {report.running} was running" if report.running else ""
        return f"stopped by the {result.stopped} limit after {result.wall_s:.1f} s{where}"
    if report.forged:
        return "the report of the tests was tampered with"
    if report.aborted is not None:
        return f"the code ended the test run with {report.aborted}"
    if report.status is None:
        return "the test process ended before the tests did"
    return None


def _tampered(result: SandboxResult, report: Report, sentinels: Mapping[str, Ran], token: str) -> str | None:
    if report.collect or report.status in (2, 3, 4, 5):
        return None  # an honest end without a run; the failures say why, and nothing can be called passed
    if report.status == 1 and _sentinels_held(result, sentinels, token):
        return None
    return "the code changed how tests are judged: a test that must fail did not, or one that must pass did not"


def _sentinels_held(result: SandboxResult, sentinels: Mapping[str, Ran], token: str) -> bool:
    """Whether the test that must pass did, the one that must fail did, and the process ended as the driver ends it."""
    good = [one.clean for test, one in sentinels.items() if test.endswith(f"::test_good_{token}")]
    bad = [one for test, one in sentinels.items() if test.endswith(f"::test_bad_{token}")]
    failed_as_it_must = len(bad) == 1 and bad[0].phases == {"setup": "passed", "call": "failed", "teardown": "passed"}
    return good == [True] and failed_as_it_must and result.exit_code == 0


def _count_reason(
    declared: frozenset[str], tests: Mapping[str, Ran], failures: Sequence[Failure], clean: int
) -> str | None:
    if not declared or (not tests and not failures):
        return "there are no tests, and nothing proves nothing"
    if failures or clean < len(tests):
        kinds = ", ".join(sorted({one.kind for one in failures})[:4])
        return f"{clean} of {max(len(tests), len(declared))} tests passed ({kinds})"
    return None
