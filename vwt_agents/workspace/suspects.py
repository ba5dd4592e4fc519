"""Suspects: the functions a task may be about, those that are there and those that are still to be written. Pure.

Found without a model: by the names in the task, the frames and the source of failing tests, and what those functions call.
Nothing here is certain, so it is an order, not a choice.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.examples import function_names, parses
from vwt_agents.workspace.relevance import named_files, ranked, words_of
from vwt_agents.workspace.splice import definitions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.workspace.tree import Workspace

__all__ = ["Suspect", "suspects"]

_FRAME: Final = re.compile(r"^(?:\S*?/box/|/box/)?([\w./\-]+\.py):(\d+): in (\S+)", re.MULTILINE)
_NO_NAME: Final = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_NO_ATTRIBUTE: Final = re.compile(r"AttributeError: (?:type object )?'(\w+)'(?: object)? has no attribute '(\w+)'")
_NOT_IN_MODULE: Final = re.compile(r"AttributeError: module '([\w.]+)' has no attribute '(\w+)'")
_BESIDE: Final = 1  # a method of a class that is named or used
_CALLED: Final = 3  # called by a suspect
_ASKED_FOR: Final = 32  # more than anything speaks for a function that is there


@dataclass(frozen=True, slots=True)
class Suspect:
    """A function or class that a task may be about: its file, its name (`Class.method`), and how much speaks for it.

    `head` is the `def` line of one that is not there yet; where it is empty the file defines it.
    """

    path: str
    name: str
    weight: int
    head: str = ""

    @property
    def is_likely(self) -> bool:
        """Whether more speaks for it than that its class is named or used."""
        return self.weight > _BESIDE

    @property
    def owner(self) -> str:
        """The class it is a method of, or nothing."""
        return self.name.rpartition(".")[0]


def suspects(workspace: Workspace, task: str, failures: str = "", tests: str = "") -> tuple[Suspect, ...]:
    """The functions and methods a task may be about, the likeliest first; those it wants written come before all others.

    `failures` are what failing tests said (their frames inside the sources weigh most after the task's own words), `tests`
    is the source of those tests, whose calls are the next best sign.
    """
    words, called = words_of(task), words_of(tests)
    files = set(named_files(task))
    frames = {(path, name) for path, _, name in _FRAME.findall(failures)}
    found = []
    for path in workspace.sources:
        there = path in files or PurePosixPath(path).name in files
        for name, node in definitions(workspace.files[path]).items():
            if isinstance(node, ast.ClassDef) and any(isinstance(one, ast.FunctionDef) for one in node.body):
                continue  # its methods are named one by one
            last = name.rpartition(".")[2]
            weight = 8 * (last in words) + 5 * ((path, last) in frames) + 4 * (last in called)
            owner = name.partition(".")[0] if "." in name else ""
            beside = bool(owner) and (owner in words or owner in called)
            weight += (2 * beside + there) if weight else beside
            if weight:
                found.append(Suspect(path, name, weight))
    called_by = _helpers(workspace, found)
    deeper = {(one.path, one.name) for one in called_by}
    found = [one for one in found if (one.path, one.name) not in deeper] + called_by
    found += _missing(workspace, task, failures, tests)
    return tuple(sorted(found, key=lambda one: (-one.weight, one.path, one.name)))


def _helpers(workspace: Workspace, found: Sequence[Suspect]) -> list[Suspect]:
    """The functions that suspects call: the fault may lie one step deeper, so they come right behind those.

    What is suspected for nothing but its class says nothing of what it calls.
    """
    likely = [one for one in found if one.is_likely]
    known = {(one.path, one.name.rpartition(".")[2]) for one in likely}
    used: set[str] = set()
    for one in likely:
        used |= words_of(ast.unparse(definitions(workspace.files[one.path])[one.name]))
    return [
        Suspect(path, name, _CALLED)
        for path in workspace.sources
        for name, node in definitions(workspace.files[path]).items()
        if not isinstance(node, ast.ClassDef)
        and name.rpartition(".")[2] in used
        and (path, name.rpartition(".")[2]) not in known
        and not name.rpartition(".")[2].startswith("__")
    ]


# -- what is not there yet


def _missing(workspace: Workspace, task: str, failures: str, tests: str) -> list[Suspect]:
    """The functions that failing tests lack or the task asks for, where a `def` line can be made for them."""
    classes = {
        name: path
        for path in workspace.sources
        for name, node in definitions(workspace.files[path]).items()
        if isinstance(node, ast.ClassDef)
    }
    places: dict[str, str] = {}  # name as in a Suspect -> path
    for name, module in _NO_NAME.findall(failures):
        places[name] = workspace.modules.get(module, "")
    for module, name in _NOT_IN_MODULE.findall(failures):
        places[name] = workspace.modules.get(module, "")
    for owner, name in _NO_ATTRIBUTE.findall(failures):
        places[f"{owner}.{name}"] = classes.get(owner, "")
    known = {name.rpartition(".")[2] for path in workspace.sources for name in definitions(workspace.files[path])}
    known |= {name.rpartition(".")[2] for name in places}
    for name in function_names(task):
        if name not in known and name[0].islower():
            owner = _owner(task, classes)
            places[f"{owner}.{name}" if owner else name] = (
                classes[owner] if owner else _home(name, workspace, task, failures)
            )
    found = []
    for name, path in places.items():
        head = _head(name, task, tests) if path in workspace.sources else ""
        if head:
            found.append(Suspect(path, name, _ASKED_FOR, head))
    return found


def _owner(task: str, classes: Mapping[str, str]) -> str:
    """The class that a task wants a method for: the only one it names, where it speaks of a method."""
    named = [name for name in classes if name in words_of(task)]
    return named[0] if len(named) == 1 and "method" in words_of(task) else ""


def _home(name: str, workspace: Workspace, task: str, failures: str) -> str:
    """The file a new function goes into: the one the task names last before it, else the likeliest.

    None where the task names a file that is not there: that one is written as a whole.
    """
    there = set(workspace.files)
    named = named_files(task)
    if any(one not in there and not any(path.endswith(f"/{one}") for path in there) for one in named):
        return ""
    before = [one for one in named if -1 < task.find(one) < task.find(f"{name}(")]
    order = [path for path in ranked(workspace, task, failures) if workspace.files[path].strip()]
    near = [path for one in before[-1:] for path in order if path == one or path.endswith(f"/{one}")]
    return next(iter([*near, *order]), "")


def _head(name: str, task: str, tests: str) -> str:
    """The `def` line of a function: as the task has it, else with the arguments a test calls it with; empty without either."""
    owner, _, last = name.rpartition(".")
    first = ["self"] if owner else []
    for match in re.finditer(
        rf"(?<![\w.]){last}\(([^()`]*)\)(\s*->\s*[\w\[\], .|]+?)?(?=`|:|$|\s)", task, re.MULTILINE
    ):
        given = match[1].strip()
        if given.split(",")[0].strip() in ("self", "cls"):
            given = given.partition(",")[2].strip()
        head = f"def {last}({', '.join([*first, *([given] if given else [])])}){match[2] or ''}:"
        if parses(f"{head}\n    pass"):
            return head
    calls = [node for node in ast.walk(_tree(tests)) if isinstance(node, ast.Call) and _called(node) == last]
    if not calls:
        return ""
    call = max(calls, key=lambda one: len(one.args) + len(one.keywords))
    names = [one.id if isinstance(one, ast.Name) else f"value{number or ''}" for number, one in enumerate(call.args)]
    names += [one.arg for one in call.keywords if one.arg is not None]
    return f"def {last}({', '.join(dict.fromkeys([*first, *names]))}):"


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _tree(text: str) -> ast.AST:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])
