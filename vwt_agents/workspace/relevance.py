"""Which files of a workspace a task is about: by the names it uses, and by what imports what. Pure.

Nothing here is certain, so everything is an order, not a choice: who shows files takes them from the front.
"""

from __future__ import annotations

import ast
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.workspace.splice import definitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vwt_agents.workspace.tree import Workspace

__all__ = ["imports_of", "named_files", "ranked", "words_of"]

_FILE: Final = re.compile(r"(?<![\w/.\-])((?:[\w\-]+/)*[A-Za-z_][\w\-]*\.py)\b")


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
