"""FolderTask: what a task asks of a folder, known without a model, and what a model is to be asked for in turn.

Also for tasks that name several files and have no folder: that is a folder with nothing in it yet. Reads the folder and runs
its tests once; calls no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import anyio.to_thread

from vwt_agents.errors import UsageError
from vwt_agents.folder_asks import Ask, Turn, blanks, for_any_files, for_new_file, rewrites, told_of, turns_of_blanks
from vwt_agents.folder_trial import Baseline, FolderTrial, baseline, source_of
from vwt_agents.workspace import (
    Suspect,
    Workspace,
    definitions,
    homes,
    is_guarded,
    named_files,
    ranked,
    read_workspace,
    suspects,
    unified_patch,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.code_profiles import CodeProfile
    from vwt_agents.sandbox.judge import Failure
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["FolderTask"]


@dataclass(frozen=True)
class FolderTask:
    """A task and the folder it is about.

    `files` are those it asks for that are not there, `targets` the failing tests it is about, `suspects` the functions it may
    be about. A folder without a name is one that the task only imagines.
    """

    task: str
    workspace: Workspace
    before: Baseline
    targets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = ()

    @classmethod
    async def open(cls, task: str, sandbox: Sandbox, repo: str = "") -> FolderTask:
        """Read the folder and run its tests; UsageError or WorldError where it cannot be read or nothing of it can run."""
        workspace = await anyio.to_thread.run_sync(read_workspace, repo) if repo else Workspace()
        files = tuple(path for path in named_files(task) if not _is_there(path, workspace) and not is_guarded(path))
        if not files and not workspace.sources:
            raise UsageError(
                f"{repo or 'the task'} has no Python file that may be changed, and the task names none to write",
                hint="name the files in the task, as in: write `store.py` with ...",
            )
        wanted = {PurePosixPath(path).stem for path in files} | {workspace.module_of(path) for path in files}
        before = await baseline(sandbox, workspace, wanted=wanted)
        before.require_tests(workspace)
        targets = before.targets(task, workspace)
        failures = [one for one in before.failing if one.test in targets]
        tests = "\n\n".join(source_of(workspace, one.test) for one in failures)
        found = suspects(workspace, task, "\n".join(one.message for one in failures), tests)
        return cls(task, workspace, before, targets, files, found)

    @property
    def exists(self) -> bool:
        """Whether there is a folder: then its files are the user's, and a patch is what is delivered."""
        return bool(self.workspace.files)

    @property
    def module(self) -> str:
        """The module that new tests are about first."""
        return self.workspace.module_of(self._first)

    @property
    def _first(self) -> str:
        if self.files:
            return self.files[0]
        if self.suspects:
            return self.suspects[0].path
        return ranked(self.workspace, self.task)[0]

    def imports(self, names: Sequence[str]) -> tuple[str, ...]:
        """The lines a test of these names begins with; what the folder does not define yet comes by the star."""
        known = definitions(self.workspace.files.get(self._first, ""))
        lines = [f"from {self.module} import {name}" for name in names if name in known]
        return (*lines, *(f"from {self.workspace.module_of(path)} import *" for path in self.files[1:]))

    def test_file(self) -> str:
        """A path for new tests, beside the folder's own, that is not taken."""
        folder = PurePosixPath(self.workspace.tests[0]).parent if self.workspace.tests else PurePosixPath()
        name = f"test_{self.module.rpartition('.')[2]}"
        free = (str(folder / f"{name}{end}.py") for end in ("", "_new", *(f"_new_{n}" for n in range(2, 1000))))
        return next(path for path in free if path not in self.workspace.files)

    def trial(self, sandbox: Sandbox) -> FolderTrial:
        """What judges changes of the folder."""
        where = homes(self.task, self.files)
        return FolderTrial(sandbox, self.workspace, self.before, targets=self.targets, homes=where)

    def patch(self, files: Mapping[str, str]) -> str:
        """The changes as a patch for `git apply` in the folder."""
        return unified_patch(self.workspace.files, {**self.workspace.files, **files})

    # -- asking

    def turns(
        self,
        ways: CodeProfile,
        budget: int,
        *,
        samples: int,
        now: Mapping[str, str] | None = None,
        failure: Failure | None = None,
        examples: Sequence[str] = (),
    ) -> list[Turn]:
        """The requests for a change of what is there, the likeliest first; `budget` is in tokens, for the code shown.

        `now` are changes made already, and `failure` what is wrong with them: then they ask for what is still missing.
        `examples` are tests the task states.
        """
        if not ways.blanks:
            asks = self.asks(budget, now=now, failure=failure)
            order = [0, *(0 if number % 2 == 0 else (number + 1) // 2 % len(asks) for number in range(1, samples + 1))]
            return [Turn(asks[place], greedy=number == 0) for number, place in enumerate(order)]
        workspace, failures, found = self._seen(now or {}, failure)
        told = told_of(workspace, failures)
        asked = blanks(workspace, found, self.task, told, [*examples, *self._tests(failures)], budget)
        return turns_of_blanks(asked, for_any_files(workspace, found, self.task, told, budget), samples)

    def asks(self, budget: int, *, now: Mapping[str, str] | None = None, failure: Failure | None = None) -> list[Ask]:
        """The ways to ask for a change with the code that is there before it: the likeliest function, any files, others."""
        workspace, failures, found = self._seen(now or {}, failure)
        told = told_of(workspace, failures)
        again = rewrites(workspace, found, self.task, told, budget)
        return [*again[:1], for_any_files(workspace, found, self.task, told, budget), *again[1:]]

    def ask_for(self, path: str, budget: int, *, now: Mapping[str, str]) -> Ask:
        """The way to ask for one new file, with the files there are so far."""
        workspace = self.workspace.with_changes(now)
        order = [*now, *(one for one in ranked(workspace, self.task) if one not in now)]
        return for_new_file(workspace, path, order, self.files, self.task, budget)

    def _seen(
        self, now: Mapping[str, str], failure: Failure | None
    ) -> tuple[Workspace, list[Failure], tuple[Suspect, ...]]:
        """The folder with the changes in it, what fails there, and who is suspected for it."""
        workspace = self.workspace.with_changes(now)
        if failure is not None:
            found = suspects(workspace, self.task, failure.message, source_of(workspace, failure.test))
            return workspace, [failure], found
        failures = [one for one in self.before.failing if one.test in self.targets]
        return workspace, failures, suspects(workspace, self.task) if now else self.suspects

    def _tests(self, failures: Sequence[Failure]) -> list[str]:
        """The sources of the folder's tests, those that fail first."""
        failing = [source_of(self.workspace, one.test) for one in failures if "::" in one.test]
        others = [
            source_of(self.workspace, f"{path}::{name}")
            for path in self.workspace.tests
            for name in definitions(self.workspace.files[path])
            if name.startswith("test")
        ]
        return [*dict.fromkeys((*failing, *others))]


def _is_there(path: str, workspace: Workspace) -> bool:
    return any(PurePosixPath(one) == PurePosixPath(path) or one.endswith(f"/{path}") for one in workspace.files)
