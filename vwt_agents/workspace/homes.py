"""Homes: which of several new files a task puts each function and class in, and new files held to that. Pure.

Small models write all a task asks for into every file they are asked for; then two files define one name, and the tests see
whichever was imported last.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from vwt_agents.examples import function_names
from vwt_agents.workspace.relevance import named_files
from vwt_agents.workspace.splice import definitions, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.workspace.tree import Workspace

__all__ = ["absent", "at_home", "homes"]


def homes(task: str, files: Sequence[str]) -> dict[str, str]:
    """The file of each function and class a task asks for: the one of `files` that it names last before it."""
    places = sorted((task.find(path), path) for path in named_files(task) if path in files)
    found: dict[str, str] = {}
    for name in function_names(task):
        first = re.search(rf"\b{name}\b(?!\.py)", task)
        before = [path for at, path in places if first is not None and at < first.start()]
        if before:
            found[name] = before[-1]
    return found


def at_home(text: str, path: str, where: Mapping[str, str], workspace: Workspace) -> str:
    """A new file less what belongs into another one; imported from there where it is used and that file has it."""
    there = definitions(text)
    away = {name: home for name, home in where.items() if home != path and name in there}
    if not away or len(away) == sum("." not in name for name in there):
        return text  # a file of nothing else would be left empty
    drop = {line for name in away for line in _lines_of(there[name])}
    rest = "\n".join(line for number, line in enumerate(text.splitlines(), 1) if number not in drop)
    used = {node.id for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Name)}
    imports = [
        f"from {workspace.module_of(home)} import {name}"
        for name, home in away.items()
        if name in used and name in definitions(workspace.files.get(home, ""))
    ]
    return (
        re.sub(r"\n{4,}", "\n\n\n", "\n".join([*imports, "", rest.strip("\n")] if imports else [rest.strip("\n")]))
        + "\n"
    )


def absent(files: Mapping[str, str], where: Mapping[str, str]) -> dict[str, str]:
    """What is not in its file, and the file: no function, class or method of the name, and nothing else that is called so."""
    return {name: path for name, path in where.items() if name not in _names_in(files.get(path, ""))}


def _names_in(text: str) -> set[str]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return set()
    found = {name.rpartition(".")[2] for name in definitions(text)}
    for node in body:
        found |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def _lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> range:
    return range(first_line(node), (node.end_lineno or node.lineno) + 1)
