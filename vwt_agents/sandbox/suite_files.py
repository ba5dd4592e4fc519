"""The files of a judgement as text: which names are allowed, which tests they declare, which modules they are. Pure."""

from __future__ import annotations

import ast
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["checked_files", "declared_tests", "module_names", "names_of_code", "parsed"]

_LONGEST_PART: Final = 255
_LONGEST: Final = 2000
_SHOWN: Final = 80


def checked_files(files: Mapping[str, str]) -> Mapping[str, str]:
    """The same files; UsageError when a name would leave its folder, or no file system could hold it beside the others."""
    paths = {name: PurePosixPath(name) for name in files}
    folders = {parent for path in paths.values() for parent in path.parents}
    for name, path in paths.items():
        if not path.parts or "\0" in name or path.is_absolute() or ".." in path.parts:
            hint = "use a relative path without '..'"
        elif path in folders:
            hint = "it is a folder too: leave one of the two out"
        elif not _is_short(path):
            hint = f"use at most {_LONGEST_PART} bytes for each part of a path and {_LONGEST} for all of it, in UTF-8"
        else:
            continue
        raise UsageError(f"{_shortened(name)} is no name for a file in a work folder", hint=hint)
    return files


def _is_short(path: PurePosixPath) -> bool:
    try:
        return len(os.fsencode(path)) <= _LONGEST and all(len(os.fsencode(one)) <= _LONGEST_PART for one in path.parts)
    except UnicodeEncodeError:
        return False


def _shortened(name: str) -> str:
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}..."


def declared_tests(tests: Mapping[str, str]) -> frozenset[str]:
    """Ids of the test functions the text of the files declares, as pytest names them without parameters."""
    found: set[str] = set()
    for name, text in tests.items():
        file = PurePosixPath(name)
        if file.suffix == ".py" and (file.name.startswith("test_") or file.stem.endswith("_test")):
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                found.add(f"{name}::does not parse")
                continue
            found.update(f"{name}::{one}" for one in _functions(tree.body))
    return frozenset(found)


def _functions(body: Iterable[ast.stmt], *, unittest: bool = False) -> Iterable[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            if not unittest or node.name != "test":
                yield node.name
        elif isinstance(node, ast.ClassDef):
            bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
            case = any(base.endswith("TestCase") for base in bases)
            if case or node.name.startswith("Test"):
                yield from (f"{node.name}::{one}" for one in _functions(node.body, unittest=case))


def parsed(files: Mapping[str, str]) -> dict[str, ast.Module]:
    """The Python files that parse; what does not cannot be imported either."""
    found = {}
    for name, text in files.items():
        if PurePosixPath(name).suffix == ".py":
            try:
                found[name] = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
    return found


def names_of_code(nodes: Iterable[ast.AST], modules: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """What these nodes import of the code: the name it has here, and the one it has there; None for a module as a whole.

    `modules` are those of the code. `*` is a name like another.
    """
    roots = {module.partition(".")[0] for module in modules}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in roots:
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                if root in roots:
                    yield alias.asname or root, None


def module_names(code: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """The modules that can be imported from a folder with these files, and those among them that are packages."""
    modules: set[str] = set()
    packages: set[str] = set()
    for name in code:
        path = PurePosixPath(name)
        if path.suffix != ".py":
            continue
        parts = path.parent.parts if path.name == "__init__.py" else (*path.parent.parts, path.stem)
        if not all(part.isidentifier() for part in parts):
            continue
        parents = [".".join(path.parent.parts[:end]) for end in range(1, len(path.parent.parts) + 1)]
        packages.update(parents)
        modules.update(parents, [".".join(parts)] if parts else [])
    return frozenset(modules), frozenset(packages)
