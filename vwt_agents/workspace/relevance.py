"""Which files and functions of a workspace a task is about: by the names it uses, and by what imports what. Pure.

Nothing here is certain, so everything is an order, not a choice: who shows files takes them from the front.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.workspace.splice import definitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vwt_agents.workspace.tree import Workspace

__all__ = ["Suspect", "imports_of", "named_files", "ranked", "suspects", "words_of"]

_FILE: Final = re.compile(r"(?<![\w/.\-])((?:[\w\-]+/)*[A-Za-z_][\w\-]*\.py)\b")
_FRAME: Final = re.compile(r"^(?:\S*?/box/|/box/)?([\w./\-]+\.py):(\d+): in (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A function or class that a task may be about: its file, its name (`Class.method`), and how much speaks for it."""

    path: str
    name: str
    weight: int


def named_files(task: str) -> tuple[str, ...]:
    """The Python files a task names, in order: `store.py`, `shop/cart.py`; tests are none of them."""
    found = [path for path in dict.fromkeys(_FILE.findall(task)) if not PurePosixPath(path).name.startswith("test_")]
    return tuple(found)


def words_of(text: str) -> frozenset[str]:
    """The identifiers in a text."""
    return frozenset(re.findall(r"[A-Za-z_]\w*", text))


def ranked(workspace: Workspace, task: str, failures: str = "") -> tuple[str, ...]:
    """The sources, those that matter most first: named in the task or in failures, or next to such by an import.

    Of two that matter alike the one first in the alphabet comes first, so one task always gives one order.
    """
    words, failing = words_of(task), words_of(failures)
    named = set(named_files(task))
    own: dict[str, int] = {}
    for path in workspace.sources:
        names = {name.rpartition(".")[2] for name in definitions(workspace.files[path])}
        file = PurePosixPath(path)
        weight = 8 * (path in named or file.name in named) + 3 * (file.stem in words and file.stem != "__init__")
        weight += 4 * len(names & words) + 2 * len(names & failing) + 4 * (path in failures)
        own[path] = weight
    near = dict.fromkeys(own, 0)
    for path, weight in own.items():
        for other in imports_of(workspace, path):
            if other in own and other != path:
                near[other] = max(near[other], weight // 2)
                near[path] = max(near[path], own[other] // 2)
    return tuple(sorted(own, key=lambda path: (-(2 * own[path] + near[path]), path)))


def imports_of(workspace: Workspace, path: str) -> tuple[str, ...]:
    """The files of the workspace that a file imports."""
    try:
        tree = ast.parse(workspace.files[path])
    except (SyntaxError, ValueError):
        return ()
    modules = workspace.modules
    package = workspace.module_of(path).split(".")
    if PurePosixPath(path).name != "__init__.py":
        package = package[:-1]
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        for name in _targets(node, package):
            if name in modules:
                found[modules[name]] = None
    return tuple(found)


def _targets(node: ast.AST, package: Sequence[str]) -> Iterable[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = list(package[: len(package) - node.level + 1]) if node.level else []
        base += (node.module or "").split(".") if node.module else []
        yield ".".join(base)
        yield from (".".join([*base, alias.name]) for alias in node.names)


def suspects(workspace: Workspace, task: str, failures: str = "", tests: str = "") -> tuple[Suspect, ...]:
    """The functions and methods a task may be about, the likeliest first.

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
            weight += 2 * (bool(owner) and (owner in words or owner in called)) + (there and bool(weight))
            if weight:
                found.append(Suspect(path, name, weight))
    found += _helpers(workspace, found)
    return tuple(sorted(found, key=lambda one: (-one.weight, one.path, one.name)))


def _helpers(workspace: Workspace, found: Sequence[Suspect]) -> list[Suspect]:
    """The functions that suspects call: the fault may lie one step deeper, so they come right behind."""
    known = {(one.path, one.name.rpartition(".")[2]) for one in found}
    used: set[str] = set()
    for one in found:
        used |= words_of(ast.unparse(definitions(workspace.files[one.path])[one.name]))
    return [
        Suspect(path, name, 1)
        for path in workspace.sources
        for name, node in definitions(workspace.files[path]).items()
        if not isinstance(node, ast.ClassDef)
        and name.rpartition(".")[2] in used
        and (path, name.rpartition(".")[2]) not in known
        and not name.rpartition(".")[2].startswith("__")
    ]
