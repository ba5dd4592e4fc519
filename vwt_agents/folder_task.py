"""FolderTask: what a task asks of a folder, known without a model; and Ask: one way to ask a model for its part of it.

Also for tasks that name several files and have no folder: that is a folder with nothing in it yet. Small models are asked for
one function or one file at a time, in the order in which they are likely to be it; larger ones may answer with any files.
Owns the wording of these prompts; calls no model. What all prompts share comes first and in the same bytes.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from vwt_agents.code_profiles import PLAIN, CodeProfile, module_source
from vwt_agents.errors import UsageError
from vwt_agents.folder_trial import Baseline, FolderTrial, baseline, source_of
from vwt_agents.workspace import (
    Changes,
    SpliceError,
    Suspect,
    Workspace,
    definitions,
    is_guarded,
    named_files,
    ranked,
    read_changes,
    read_workspace,
    shown,
    splice,
    suspects,
    unified_patch,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.judge import Failure
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["Ask", "FolderTask"]

_MOST_FAILURE: Final = 700  # characters of what a failing test said that go into a prompt
_MOST_FUNCTION: Final = 60  # lines of a function that a model is asked to write again by its name


@dataclass(frozen=True)
class Ask:
    """One prompt, and how its answer is read. `stub` is code the answer continues, `path` the file it is for, if one."""

    workspace: Workspace
    given: tuple[str, ...]
    prompt: str
    path: str | None = None
    stub: str | None = None
    within: str = ""

    def form(self, form: CodeProfile) -> CodeProfile:
        """The form to answer in: a file or a function as the model does it best; several files never behind an opened fence."""
        return form if self.path is not None else PLAIN

    def read(self, text: str) -> Changes:
        """What an answer, with what it was made to begin with, changes."""
        if self.path is None:
            return read_changes(text, self.workspace)
        code = text.partition("```python\n")[2].partition("\n```")[0] or text
        source = module_source(code)
        if self.stub is None:
            return read_changes(f"````python\n{source}````", self.workspace, path=self.path)
        old = self.workspace.files[self.path]
        try:
            new = splice(old, source, module=self.workspace.module_of(self.path), within=self.within)
        except SpliceError as fault:
            return Changes({}, (f"`{self.path}`: {fault}.",))
        if _tree(new) == _tree(old):
            return Changes({}, ("The function is as it was: write what has to be different.",))
        return Changes({self.path: new})


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
        return FolderTrial(sandbox, self.workspace, self.before, targets=self.targets)

    def patch(self, files: Mapping[str, str]) -> str:
        """The changes as a patch for `git apply` in the folder."""
        return unified_patch(self.workspace.files, {**self.workspace.files, **files})

    # -- asking

    def asks(
        self, budget: int, *, now: Mapping[str, str] | None = None, failure: Failure | None = None, anew: bool = False
    ) -> list[Ask]:
        """The ways to ask for a change of what is there, the likeliest first; `budget` is in tokens, for the files shown.

        `anew`: at first the body a function has is not shown, because a small model copies what it sees, fault included.
        `now` are changes made already, and `failure` what is wrong with them: then it asks for what is still missing.
        """
        workspace = self.workspace.with_changes(now or {})
        failures = [failure] if failure else [one for one in self.before.failing if one.test in self.targets]
        found = self.suspects
        if failure is not None:
            found = suspects(workspace, self.task, failure.message, source_of(workspace, failure.test))
        told = self._told(workspace, failures)
        functions = [one for one in found if _lines(workspace, one) <= _MOST_FUNCTION]
        rewrites = [_function(workspace, one, budget, self.task, told) for one in functions[:3]]
        if anew and functions:
            rewrites.insert(0, _function(workspace, functions[0], budget, self.task, told, hidden=True))
        return [*rewrites[:1], self._free(workspace, budget, told), *rewrites[1:]]

    def ask_for(self, path: str, budget: int, *, now: Mapping[str, str]) -> Ask:
        """The way to ask for one new file, with the files there are so far."""
        workspace = self.workspace.with_changes(now)
        order = [*now, *(one for one in ranked(workspace, self.task) if one not in now)]
        text = shown(workspace, order, budget=budget)
        still = [f"`{one}`" for one in self.files if one not in now and one != path]
        later = f" {', '.join(still)} will be written after it; do not repeat them." if still else ""
        prompt = f"Write the whole file `{path}` and nothing else, in one Python code block.{later}"
        return Ask(workspace, tuple(part for part in (self.task, text) if part), prompt, path)

    def _free(self, workspace: Workspace, budget: int, told: str) -> Ask:
        order = ranked(workspace, self.task, told)
        keep = {one.name.rpartition(".")[2] for one in self.suspects[:6]}
        text = shown(workspace, order, budget=budget, keep=keep)
        prompt = (
            "Change the code so that the task is done. Answer with the changed functions, each written as a whole, in fenced "
            "Python blocks, with the path of its file in the line above each block. Do not change tests."
        )
        given = tuple(part for part in (text, self.task, told) if part)
        return Ask(workspace, given, prompt)

    def _told(self, workspace: Workspace, failures: Sequence[Failure]) -> str:
        """The failing tests as a model is told of them: the smallest two, their source and what they said."""
        parts = []
        for one in sorted(failures, key=lambda failure: len(failure.message))[:2]:
            source = source_of(workspace, one.test)[-_MOST_FAILURE:] if "::" in one.test else ""
            fenced = f"\n```python\n{textwrap.dedent(source)}\n```" if source else ""
            parts.append(f"This test fails:{fenced}\n{_said(one)}")
        return "\n\n".join(parts)


def _tree(text: str) -> str:
    """What a module does, whatever its layout: models copy a function with other blanks and take it for changed."""
    return ast.dump(ast.parse(text))


def _said(failure: Failure) -> str:
    """What a failure says that helps: the lines pytest marks with E, else its end."""
    lines = [line[1:].strip() for line in failure.message.splitlines() if line.startswith("E ")]
    return "\n".join(lines or failure.message.splitlines())[-_MOST_FAILURE:]


def _is_there(path: str, workspace: Workspace) -> bool:
    return any(PurePosixPath(one) == PurePosixPath(path) or one.endswith(f"/{path}") for one in workspace.files)


def _lines(workspace: Workspace, one: Suspect) -> int:
    node = definitions(workspace.files[one.path])[one.name]
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _function(workspace: Workspace, one: Suspect, budget: int, task: str, told: str, *, hidden: bool = False) -> Ask:
    """The way to ask for one function: its head and docstring are given, and its body is to be written anew.

    The rest of its file is shown, and unless it is `hidden` the body it has.
    """
    text = shown(workspace, [one.path], budget=budget, keep={one.name.rpartition(".")[2]})
    if hidden:
        seen = workspace.with_changes({one.path: without_body(workspace.files[one.path], one.name)})
        text = shown(seen, [one.path], budget=budget)
    node = definitions(workspace.files[one.path])[one.name]
    owner, _, name = one.name.rpartition(".")
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if owner else "function"
    of = f" of `{owner}`" if owner else ""
    prompt = f"Write the {kind} `{name}`{of} in `{one.path}` again, corrected, in one Python code block."
    given = tuple(part for part in (text, task, told) if part)
    stub = None if isinstance(node, ast.ClassDef) else _stub(workspace.files[one.path], node)
    return Ask(workspace, given, prompt, one.path, stub, owner)


def without_body(text: str, name: str) -> str:
    """A module in which one function has dots for a body, below its docstring."""
    node = definitions(text)[name]
    if isinstance(node, ast.ClassDef):
        return text
    lines = text.splitlines()
    is_doc = ast.get_docstring(node, clean=False) is not None
    first = node.body[0]
    start = (first.end_lineno or first.lineno) if is_doc else first.lineno - 1
    if start < node.lineno:  # all on one line
        return text
    return "\n".join([*lines[:start], " " * first.col_offset + "...", *lines[node.end_lineno :]]) + "\n"


def _stub(text: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The function up to its body, at the left margin: head and docstring."""
    first = node.body[0]
    is_doc = ast.get_docstring(node, clean=False) is not None
    if not is_doc and first.lineno == node.lineno:  # all on one line
        bare = copy.copy(node)
        bare.body, bare.decorator_list = [ast.Pass()], []
        return ast.unparse(bare).partition("\n")[0]
    end = (first.end_lineno or first.lineno) if is_doc else first.lineno - 1
    lines = text.splitlines()[node.lineno - 1 : end]
    while lines and not is_doc and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return textwrap.dedent("\n".join(lines))
