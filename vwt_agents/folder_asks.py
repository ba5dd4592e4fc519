"""Ask: one way to ask a model for its part of a task about a folder; and in which order the ways are tried.

Small models are asked for one function or one file at a time, larger ones may answer with any files. Owns the wording of these
prompts, and how their answers are read; calls no model. What all prompts share comes first and in the same bytes.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from vwt_agents.code import fenced_blocks
from vwt_agents.code_profiles import PLAIN, CodeProfile, module_source
from vwt_agents.folder_trial import source_of
from vwt_agents.workspace import (
    Blank,
    Changes,
    SpliceError,
    Suspect,
    Workspace,
    at_home,
    blank_of,
    definitions,
    homes,
    ranked,
    read_changes,
    shown,
    shown_cases,
    splice_anew,
    stub_of_function,
    without_body,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vwt_agents.sandbox.judge import Failure

__all__ = [
    "Ask",
    "Turn",
    "blanks",
    "for_any_files",
    "for_function",
    "for_new_file",
    "rewrites",
    "told_of",
    "turns_of_blanks",
]

_MOST_FAILURE: Final = 700  # characters of what a failing test said that go into a prompt
_MOST_FUNCTION: Final = 60  # lines of a function that a model is asked to write again by its name
_MOST_CASES: Final = 600  # characters of cases in the docstring of a function that is to be completed
_MOST_DOC: Final = 300  # characters of a task that go into the docstring of a function it asks for
_MOST_SUSPECTS: Final = 3
_COMPLETE: Final = "Complete this function. Answer with one Python code block."


@dataclass(frozen=True)
class Ask:
    """One prompt, and how its answer is read.

    `path` is the file it is for, if one. `stub` is code the answer continues, `within` the class that is in; of a `blank` it
    continues the whole module up to there, and is the body alone. `homes` are the files of what the task asks for.
    """

    workspace: Workspace
    given: tuple[str, ...]
    prompt: str
    path: str | None = None
    stub: str | None = None
    within: str = ""
    blank: Blank | None = None
    homes: Mapping[str, str] = field(default_factory=dict)

    def opening(self, ways: CodeProfile) -> str:
        """What the answer begins with: a file or a function as the model does it best, several files never an opened fence."""
        if self.blank is not None:
            return ways.opening(self.blank.code, self.blank.margin)
        return self._form(ways).opening(self.stub)

    def stops(self, ways: CodeProfile) -> tuple[str, ...]:
        """Where the answer is over."""
        if self.blank is not None:
            return ways.stops(self.blank.code, self.blank.margin)
        return self._form(ways).stops(self.stub)

    def _form(self, ways: CodeProfile) -> CodeProfile:
        return ways if self.path is not None else PLAIN

    def read(self, answer: str, opening: str) -> Changes:
        """What an answer changes that was made to begin with `opening`."""
        if self.path is None:
            return read_changes(opening + answer, self.workspace)
        whole = [block.text for block in fenced_blocks(answer) if definitions(block.text)]
        if self.blank is not None and not whole:
            return _change(self.path, partial(self.blank.filled, answer))
        code = whole[0] if whole else (opening + answer).partition("```python\n")[2].partition("\n```")[0]
        source = module_source(code or opening + answer)
        if self.stub is None and self.blank is None:
            source = at_home(source, self.path, self.homes, self.workspace)
            return read_changes(f"````python\n{source}````", self.workspace, path=self.path)
        return self._spliced(source, self.path)

    def _spliced(self, source: str, path: str) -> Changes:
        old, module = self.workspace.files[path], self.workspace.module_of(path)
        return _change(path, lambda: splice_anew(old, source, module=module, within=self.within))


def _change(path: str, write: Callable[[], str]) -> Changes:
    try:
        return Changes({path: write()})
    except SpliceError as fault:
        return Changes({}, (f"`{path}`: {fault}.",))


@dataclass(frozen=True)
class Turn:
    """A request: what is asked, how many answers are drawn, and whether it is the likeliest answer that is wanted."""

    ask: Ask
    answers: int = 1
    greedy: bool = False


def turns_of_blanks(blanks: Sequence[Sequence[Ask]], last: Ask, samples: int) -> list[Turn]:
    """The order for a model that completes: `blanks` are the ways to ask for each suspect, the likeliest first.

    Each suspect gets a greedy answer in each way, and up to `samples` more. The next suspect's first answer comes before the
    rest of this one's, because who the suspects are is only likely. At the end a free answer.
    """
    rows: list[list[Turn]] = []
    for first, second in blanks:
        row = [
            Turn(first, greedy=True),
            Turn(first, -(-samples // 2)),
            Turn(second, greedy=True),
            Turn(second, samples // 2),
        ]
        rows.append([turn for turn in row if turn.answers and (samples or turn is row[0])])
    order = [(number + place, place, turn) for place, row in enumerate(rows) for number, turn in enumerate(row)]
    return [*(turn for _, _, turn in sorted(order, key=lambda one: one[:2])), Turn(last, greedy=True)]


def blanks(
    workspace: Workspace, found: Iterable[Suspect], task: str, told: str, tests: Sequence[str], budget: int
) -> list[list[Ask]]:
    """The ways to ask for each of the likeliest suspects with its body left out; `tests` are those that show most first.

    First with nothing but the code above it, its docstring and what tests show of it, as a model has read millions of; then by
    itself, with its file, the task and the failing test before it. Where no test shows anything it is the other way round.
    """
    there = [one for one in found if _is_short(workspace, one)]
    missing = [one for one in there if one.head]  # what is not there yet is what is wrong
    likely = missing or [one for one in there if one.is_likely] or there
    return [_blank_ways(workspace, one, task, told, tests, budget) for one in likely[:_MOST_SUSPECTS]]


def _blank_ways(
    workspace: Workspace, one: Suspect, task: str, told: str, tests: Sequence[str], budget: int
) -> list[Ask]:
    last = one.name.rpartition(".")[2]
    cases = shown_cases((test for test in tests if f"{last}(" in test), most=_MOST_CASES)
    blank = blank_of(workspace, one, cases=cases, doc=_said_of(last, task), budget=budget)
    alone = Ask(workspace, (), _COMPLETE, one.path, blank=blank, within=one.owner)
    hole = workspace.with_changes({one.path: without_body(workspace.files[one.path], one.name)})
    given = tuple(part for part in (shown(hole, [one.path], budget=budget), task, told) if part)
    kind = "method" if one.owner else "function"
    prompt = f"Write the {kind} `{last}` in `{one.path}` again, corrected, in one Python code block."
    told_all = Ask(workspace, given, prompt, one.path, blank=blank.alone(), within=one.owner)
    return [alone, told_all] if cases or one.head else [told_all, alone]


def _said_of(name: str, task: str) -> str:
    """What a task says a function is to do: what stands behind its name and a colon, else all of the first paragraph."""
    words = " ".join(task.strip().split("\n\n")[0].split())
    behind = re.search(rf"`[^`]*\b{name}\b[^`]*`[^.:`]*:\s*(?=\S)(.+)", words)
    said = behind[1] if behind is not None else words
    return said[:1].upper() + said[1:_MOST_DOC]


def _is_short(workspace: Workspace, one: Suspect) -> bool:
    node = definitions(workspace.files[one.path]).get(one.name)
    return node is None or (not isinstance(node, ast.ClassDef) and _is_few_lines(node))


def _is_few_lines(node: ast.stmt) -> bool:
    return (node.end_lineno or node.lineno) - node.lineno < _MOST_FUNCTION


def rewrites(workspace: Workspace, found: Iterable[Suspect], task: str, told: str, budget: int) -> list[Ask]:
    """One way to ask for each of the likeliest suspects that are there, as they are."""
    there = [one for one in found if not one.head]
    lines = {one: definitions(workspace.files[one.path])[one.name] for one in there}
    short = [one for one, node in lines.items() if _is_few_lines(node)]
    return [for_function(workspace, one, task, told, budget) for one in short[:_MOST_SUSPECTS]]


def for_function(workspace: Workspace, one: Suspect, task: str, told: str, budget: int) -> Ask:
    """The way to ask for one function or class: its file is shown, its head and docstring are given."""
    last = one.name.rpartition(".")[2]
    text = shown(workspace, [one.path], budget=budget, keep={last})
    node = definitions(workspace.files[one.path])[one.name]
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if one.owner else "function"
    of = f" of `{one.owner}`" if one.owner else ""
    prompt = f"Write the {kind} `{last}`{of} in `{one.path}` again, corrected, in one Python code block."
    given = tuple(part for part in (text, task, told) if part)
    stub = None if isinstance(node, ast.ClassDef) else stub_of_function(workspace.files[one.path], node)
    return Ask(workspace, given, prompt, one.path, stub, one.owner)


def for_any_files(workspace: Workspace, found: Sequence[Suspect], task: str, told: str, budget: int) -> Ask:
    """The way to ask for a change of any files: as many of them as fit are shown."""
    keep = {one.name.rpartition(".")[2] for one in found[:6]}
    text = shown(workspace, ranked(workspace, task, told), budget=budget, keep=keep)
    prompt = (
        "Change the code so that the task is done. Answer with the changed functions, each written as a whole, in fenced "
        "Python blocks, with the path of its file in the line above each block. Do not change tests."
    )
    return Ask(workspace, tuple(part for part in (text, task, told) if part), prompt)


def for_new_file(
    workspace: Workspace, path: str, order: Sequence[str], files: Sequence[str], task: str, budget: int
) -> Ask:
    """The way to ask for one of the new `files`, with the files there are, in `order`."""
    text = shown(workspace, order, budget=budget)
    later = [f"`{one}`" for one in files if one not in workspace.files and one != path]
    still = f" {', '.join(later)} will be written after it; do not repeat them." if later else ""
    prompt = f"Write the whole file `{path}` and nothing else, in one Python code block.{still}"
    given = tuple(part for part in (task, text) if part)
    return Ask(workspace, given, prompt, path, homes=homes(task, files))


def told_of(workspace: Workspace, failures: Sequence[Failure]) -> str:
    """The failing tests as a model is told of them: the smallest two, their source and what they said."""
    parts = []
    for one in sorted(failures, key=lambda failure: len(failure.message))[:2]:
        source = source_of(workspace, one.test)[-_MOST_FAILURE:] if "::" in one.test and one.kind != "missing" else ""
        fenced = f"\n```python\n{textwrap.dedent(source)}\n```" if source else ""
        parts.append(f"This test fails:{fenced}\n{_said(one)}")
    return "\n\n".join(parts)


def _said(failure: Failure) -> str:
    """What a failure says that helps: the lines pytest marks with E, else its end."""
    lines = [line[1:].strip() for line in failure.message.splitlines() if line.startswith("E ")]
    return "\n".join(lines or failure.message.splitlines())[-_MOST_FAILURE:]
