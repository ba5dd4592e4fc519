"""How code is scored: by hidden tests, once it has been chosen; and how candidates are compared: by visible examples.

Everything runs in the project's sandbox. A crash, a timeout and code that does not parse are failures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vwt_agents import TestSuite, find_examples
from vwt_agents.workspace import read_changes, read_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codebench.tasks import Hidden, Task
    from vwt_agents import Sandbox, Verdict

__all__ = ["Visible", "hidden_pass", "visible_pass", "visible_suite"]

CPU_S: Final = 10
WALL_S: Final = 180.0
"""What one suite may take: code that loops ends by its processor time, so that a busy machine fails nobody."""


@dataclass(frozen=True, slots=True)
class Visible:
    """How many of the examples in the task's text hold, of how many."""

    passed: int
    total: int

    @property
    def share(self) -> float:
        """1 where there are no examples: nothing speaks against the code."""
        return self.passed / self.total if self.total else 1.0


def visible_suite(task: Task) -> TestSuite:
    """The examples in the task's text, as the package reads them, as tests."""
    found = dict.fromkeys(example for name in task.defines for example in find_examples(task.text, name))
    return TestSuite(task.module).with_examples(found)


async def visible_pass(sandbox: Sandbox, task: Task, code: str) -> Visible:
    """How the code does on the visible examples; of a folder, on its own tests."""
    if task.folder is not None:
        verdict = await _in_folder(sandbox, task.folder, code, {})
        return Visible(verdict.tests_passed, verdict.tests_run)
    suite = visible_suite(task)
    if not len(suite):
        return Visible(0, 0)
    limits = replace(sandbox.limits, wall_s=WALL_S, cpu_s=CPU_S)
    verdict = await sandbox.test({f"{task.module}.py": code}, {suite.file_name: suite.render()}, limits=limits)
    return Visible(min(verdict.tests_passed, len(suite)), len(suite))


async def hidden_pass(sandbox: Sandbox, task: Task, hidden: Hidden, code: str) -> bool:
    """Whether the code passes every hidden test, and in a folder the folder's own too."""
    if task.folder is not None:
        return (await _in_folder(sandbox, task.folder, code, hidden.files)).passed
    limits = replace(sandbox.limits, wall_s=WALL_S, cpu_s=CPU_S)
    return (await sandbox.test({f"{task.module}.py": code}, hidden.files, limits=limits)).passed


async def _in_folder(sandbox: Sandbox, folder: Path, answer: str, tests: Mapping[str, str]) -> Verdict:
    """How the folder's tests and these do once the answer's changes are in it."""
    workspace = read_workspace(folder)
    changed = workspace.with_changes(read_changes(answer, workspace).files)
    limits = replace(sandbox.limits, wall_s=WALL_S, cpu_s=CPU_S)
    own = {path: workspace.files[path] for path in workspace.tests}
    code = {path: text for path, text in changed.files.items() if path not in own}
    return await sandbox.test(code, {**own, **tests}, limits=limits, paths=workspace.roots)
