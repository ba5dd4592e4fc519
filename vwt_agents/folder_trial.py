"""Folder trial: changes of a folder, judged by the folder's own tests and by new ones. Owns what a good change is.

The tests run once on the folder as it is. A change is good when all that passed then still passes, and what the task is about
passes now: tests of the folder that failed, examples the task states, new tests. What fails for reasons the code cannot help
(a missing dependency, a skip) is set apart. Tests always come from the folder as it was read, never from a candidate.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import WorldError
from vwt_agents.sandbox.base import BOX
from vwt_agents.sandbox.judge import Failure, Verdict, declared_tests
from vwt_agents.sandbox.suspicions import held_against, suspicions
from vwt_agents.workspace import Workspace, absent, definitions, is_guarded, is_test_file, named_files, words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from vwt_agents.sandbox.base import Limits
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["Baseline", "FolderTrial", "baseline", "gets_further", "verdict_of_change"]

_MISSING: Final = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_NO_FIXTURE: Final = re.compile(r"fixture '(\w+)' not found")
_NOT_THE_CODE: Final = frozenset({"skipped", "xfailed"})
_WHOLE_FILE: Final = frozenset({"not collected", "timeout", "cpu", "memory", "output", "disk"})


@dataclass(frozen=True)
class Baseline:
    """How a folder's tests do before anything is changed.

    `failing` fail by what the code does; `blocked` cannot tell here: skipped, or something is missing that is no part of the
    folder. `missing` are the modules that lack, `aside` the test files that cannot be collected for it and stay out.
    """

    passed: int = 0
    failing: tuple[Failure, ...] = ()
    blocked: tuple[Failure, ...] = ()
    missing: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()

    def failed_before(self, test: str) -> bool:
        """Whether a test of this id did not pass; all of a file that could not be collected did not."""
        ids = {failure.test for failure in (*self.failing, *self.blocked)}
        return test in ids or _base(test) in ids or _file(test) in ids

    def require_tests(self, workspace: Workspace) -> None:
        """WorldError when no test of the folder can run here because a dependency is missing."""
        if not self.missing or self.passed or self.failing:
            return
        raise WorldError(
            f"no test of {workspace.name or 'the folder'} can run: the sandbox's Python has no {', '.join(self.missing)}",
            hint=f"tests run with {sys.executable}; install what provides it there: {sys.executable} -m pip install ...",
        )

    def targets(self, task: str, workspace: Workspace) -> tuple[str, ...]:
        """The failing tests a task is about, by id.

        Those it names; else those that use a name of the folder's that it names; else, where it names nothing of the folder,
        all that fail ("make the tests pass").
        """
        words = words_of(task)
        named = [one.test for one in self.failing if _last(one.test) in words or _file(one.test) in task]
        if named:
            return tuple(named)
        known = {name.rpartition(".")[2] for path in workspace.sources for name in definitions(workspace.files[path])}
        about = {word for word in words if word in known or f"{word}(" in task}
        about |= {PurePosixPath(path).stem for path in named_files(task)}
        if not about:
            return tuple(one.test for one in self.failing)
        return tuple(one.test for one in self.failing if about & words_of(source_of(workspace, one.test)))


def source_of(workspace: Workspace, test: str) -> str:
    """The source of a test by its id; of the whole file where the id names one, or the function is not found in it."""
    text = workspace.files.get(_file(test), "")
    node = definitions(text).get(".".join(_base(test).split("::")[1:]))
    if node is None:
        return text
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])


async def baseline(
    sandbox: Sandbox, workspace: Workspace, *, wanted: Collection[str] = (), limits: Limits | None = None
) -> Baseline:
    """Run the folder's tests as they are. `wanted` are modules the task asks for: that they are not there yet is no lack.

    A file that cannot be collected, or hangs, keeps pytest from the rest; so where there is one, they run again without it.
    """
    if not workspace.tests:
        return Baseline()
    aside: set[str] = set()
    failures: list[Failure] = []
    passed = 0
    while len(aside) < len(workspace.tests):
        raw = await _run(sandbox, workspace, workspace, {}, aside, limits)
        alone = {_file(one.test) for one in raw.failures if one.kind in _WHOLE_FILE}
        if not alone:
            failures += raw.failures
            passed = raw.tests_passed
            break
        whole = {one.test for one in raw.failures}  # a file that cannot be collected stands for all of its tests
        failures += [
            one
            for one in raw.failures
            if _file(one.test) in alone and (one.test in alone or _file(one.test) not in whole)
        ]
        aside |= alone
    missing = {one.test: _lacks(one, workspace, wanted) for one in failures}
    blocked = [one for one in failures if one.kind in _NOT_THE_CODE or missing[one.test]]
    blocked_files = {_file(one.test) for one in blocked if "::" not in one.test}
    failing = [one for one in failures if one not in blocked and _file(one.test) not in blocked_files]
    return Baseline(
        passed=passed,
        failing=tuple(failing),
        blocked=tuple(blocked),
        missing=tuple(sorted({lack for lack in missing.values() if lack})),
        aside=tuple(sorted(blocked_files)),
    )


def _lacks(failure: Failure, workspace: Workspace, wanted: Collection[str]) -> str:
    """The module, or pytest plugin's fixture, that a test failed for and the folder itself does not provide."""
    for name in _MISSING.findall(failure.message):
        top = name.partition(".")[0]
        if not workspace.has_module(top) and not {name, top} & set(wanted):
            return str(top)
    fixture = _NO_FIXTURE.search(failure.message)
    return f"fixture {fixture[1]}" if fixture is not None else ""


class FolderTrial:
    """Judges changes of a workspace. Has the `test` of a Sandbox, so whoever judges modules judges changes by it.

    `targets` are ids of tests (or test files) that have to pass, beside all tests that are given to `test`. `homes` are names
    that have to be in new files, by name: tests may well not use all that a task asks for.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        workspace: Workspace,
        before: Baseline,
        *,
        targets: Collection[str] = (),
        homes: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.homes = homes or {}
        self.workspace = workspace
        self.before = before
        self.targets = tuple(targets)
        self._sandbox = sandbox
        self._limits = limits
        unable = {_file(one.test) for one in before.failing if one.kind in _WHOLE_FILE}
        self._aside = {*before.aside, *(unable - {_file(one) for one in targets})}

    async def test(self, code: Mapping[str, str], tests: Mapping[str, str]) -> Verdict:
        """Whether the changed files make a good change; `tests` are new test files, path -> text."""
        reached = [path for path in code if is_guarded(path)]
        if reached:
            reason = f"the change touches what belongs to the tests: {', '.join(reached)}"
            return Verdict(passed=False, reason=reason, tests_run=0, tests_passed=0, tests_failed=0)
        hidden = [path for path in tests if path in self.workspace.files]
        if hidden:
            raise ValueError(f"new tests may not take the place of the folder's own: {', '.join(hidden)}")
        changed = self.workspace.with_changes(code)
        raw = await _run(self._sandbox, self.workspace, changed, tests, self._aside, self._limits)
        new = [name for name in tests if declared_tests({name: tests[name]})]
        verdict = verdict_of_change(raw, self.before, self.workspace, self.targets, {name: tests[name] for name in new})
        return _with_all_there(verdict, absent(changed.files, self.homes))


def verdict_of_change(
    raw: Verdict, before: Baseline, workspace: Workspace, targets: Collection[str], new: Mapping[str, str]
) -> Verdict:
    """What a run of all tests says of a change; see the head of this file. Never good where the run cannot be believed.

    Neither is one in whose process the change brought what cheats more often than it works (`suspicions` not there before).
    """
    wanted = {*targets, *new}
    unmet = [one for one in raw.failures if _is_one_of(one.test, wanted)]
    broken = [one for one in raw.failures if one not in unmet and not before.failed_before(one.test)]
    least = before.passed + len(declared_tests(new)) + sum(_count(target, workspace) for target in targets)
    lost = least - raw.tests_passed if raw.sound and not unmet and not broken else 0
    suspected = raw.suspicions if raw.integrity == "same-process" else ()
    good = raw.sound and bool(wanted) and not unmet and not broken and lost <= 0 and not suspected
    run = raw.tests_passed + len(unmet) + len(broken)
    return replace(
        raw,
        passed=good,
        reason=_reason(raw, before, wanted, unmet, broken, lost),
        failures=(*unmet, *broken),
        tests_run=run,
        tests_failed=run - raw.tests_passed,
    )


def _with_all_there(verdict: Verdict, missing: Mapping[str, str]) -> Verdict:
    """The verdict, bad where something the task asks for is not in its file."""
    if not missing:
        return verdict
    reason = ", ".join(f"{path} has no {name}" for name, path in missing.items())
    failures = [Failure(f"{path}::{name}", "missing", f"{path} has no {name}") for name, path in missing.items()]
    return replace(
        verdict,
        passed=False,
        reason=f"{reason}, which the task asks for" if verdict.passed else f"{verdict.reason}; {reason}",
        failures=(*verdict.failures, *failures),
    )


def gets_further(now: Verdict, before: Verdict) -> bool:
    """Whether more tests pass than did, and none fails that passed. A file that was not collected had failed all it has."""
    failed = {failure.test for failure in before.failures}
    known = all({failure.test, _base(failure.test), _file(failure.test)} & failed for failure in now.failures)
    return now.tests_passed > before.tests_passed and (known or not failed)


def _reason(
    raw: Verdict, before: Baseline, wanted: Collection[str], unmet: list[Failure], broken: list[Failure], lost: int
) -> str:
    if not raw.sound:
        return raw.reason
    if unmet or broken:
        told = [f"{len(unmet)} of the tests it has to pass fail" if unmet else ""]
        told += [f"{len(broken)} that passed before fail now" if broken else ""]
        which = ", ".join(one.test for one in [*broken, *unmet][:3])
        return f"{' and '.join(one for one in told if one)}: {which}"
    if not wanted:
        return "no test shows what the task asks for: no failing test is about it, and it states no example"
    if lost > 0:
        return f"{lost} tests that passed before are not there any more"
    if raw.suspicions and raw.integrity == "same-process":
        return held_against("a change", raw.suspicions)
    still = len(
        [one for one in (*before.failing, *before.blocked) if any(one.test == had.test for had in raw.failures)]
    )
    left = f"; {still} fail or are skipped as before, and are not what the task is about" if still else ""
    return f"all {raw.tests_passed} tests that count passed{left}"


async def _run(
    sandbox: Sandbox,
    workspace: Workspace,
    changed: Workspace,
    tests: Mapping[str, str],
    aside: Collection[str],
    limits: Limits | None,
) -> Verdict:
    trusted = {path: text for path, text in _trusted(workspace).items() if path not in aside}
    judging = {**trusted, **tests}
    accepted = suspicions(workspace.files, judging)  # what the folder had before is no sign of a change that cheats
    return await sandbox.test(changed.files, judging, limits=limits, paths=workspace.roots, accepted=accepted)


def _trusted(workspace: Workspace) -> dict[str, str]:
    """What lies beside the tests, read-only: all that is no source of Python, as the folder had it.

    A test inside a package is imported as part of it, so the package has to be found on this side too: by a file that is
    the code's own `__init__.py`, and looks for modules on both sides.
    """
    tests = set(workspace.tests)
    keep = {
        path: text
        for path, text in workspace.files.items()
        if path in tests or (not is_test_file(path) and (is_guarded(path) or not path.endswith(".py")))
    }
    for path in workspace.tests:
        for folder in PurePosixPath(path).parents:
            package = f"{folder}/__init__.py"
            if package in workspace.files and package not in keep:
                keep[package] = _BOTH_SIDES.format(box=BOX, folder=folder)
    return keep


_BOTH_SIDES: Final = """\
__file__ = "{box}/{folder}/__init__.py"
__path__.append("{box}/{folder}")
with open(__file__, encoding="utf-8") as _file:
    _source = _file.read()
exec(compile(_source, __file__, "exec"))
"""


def _is_one_of(test: str, wanted: Iterable[str]) -> bool:
    return any(test == one or _base(test) == one or _file(test) == one or _file(one) == test for one in wanted)


def _count(target: str, workspace: Workspace) -> int:
    if "::" in target:
        return 1
    return len(declared_tests({target: workspace.files.get(target, "")}))


def _base(test: str) -> str:
    return test.partition("[")[0]


def _file(test: str) -> str:
    return test.partition("::")[0]


def _last(test: str) -> str:
    return _base(test).rpartition("::")[2]
