"""What in the text of tests ties them to the process of the code: they share something with it besides calls and data. Pure.

Only the tests decide. What this overlooks is found when they run.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Final

from vwt_agents.sandbox.suite_files import names_of_code, parsed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["why_not_isolated"]

_FIXTURES: Final = frozenset(
    {
        "monkeypatch",
        "tmp_path",
        "tmp_path_factory",
        "tmpdir",
        "tmpdir_factory",
        "capfd",
        "capfdbinary",
        "caplog",
        "recwarn",
    }
    | {"mocker", "pytester", "testdir"}
)
_SHARED: Final = frozenset(
    {
        "asyncio",
        "concurrent",
        "ctypes",
        "gc",
        "importlib",
        "inspect",
        "logging",
        "mock",
        "multiprocessing",
        "numpy",
        "pandas",
    }
    | {"pickle", "runpy", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "tracemalloc"}
    | {"builtins", "contextvars", "dbm", "filecmp", "fileinput", "linecache", "locale", "select", "shelve", "tarfile"}
    | {"zipfile", "types", "warnings", "weakref", "trio", "anyio", "torch", "hypothesis", "glob", "pdb", "timeit"}
)
_PURE_PATHS: Final = frozenset({"join", "dirname", "abspath", "basename", "realpath"})
_TOUCHING: Final = frozenset(
    {"read_text", "write_text", "read_bytes", "write_bytes", "exists", "mkdir", "touch", "unlink"}
)
_OF_PATHS: Final = _TOUCHING | {"is_file", "is_dir", "iterdir", "open", "glob", "rglob", "stat", "rmdir", "rename"}
"""What touches files wherever pathlib is imported, whatever the object is called."""
_OPENS: Final = frozenset({"open", "fdopen", "GzipFile", "BZ2File", "LZMAFile", "FileIO"})
"""What opens a file by name, in whatever module of the standard library."""
_PARSERS: Final = frozenset({"configparser", "xml"})


def why_not_isolated(tests: Mapping[str, str], modules: Collection[str]) -> str | None:
    """Why these tests cannot be run apart from the code, or None: they share something with it besides calls."""
    for name, tree in parsed(tests).items():
        why = next(iter(_Reading(tree, modules).reasons()), None)
        if why is not None:
            return f"{name} {why}"
    return None


class _Reading:
    """One test file being read: what it names of the code, what it defines itself."""

    def __init__(self, tree: ast.Module, modules: Collection[str]) -> None:
        self.nodes = list(ast.walk(tree))
        self.of_code = {name for name, _ in names_of_code(self.nodes, modules)}
        self.imported = self._imported()
        self.paths = "pathlib" in self.imported.values()
        self.parsers = bool(_PARSERS & set(self.imported.values()))
        self.functions = {one.name for one in self.nodes if isinstance(one, ast.FunctionDef | ast.ClassDef)}

    def _imported(self) -> dict[str, str]:
        """Names of modules of the standard library here, and the first parts of what the library calls them."""
        found = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                names = [(alias.asname or alias.name.partition(".")[0], alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(alias.asname or alias.name, node.module or "") for alias in node.names]
            else:
                continue
            found.update({name: module.partition(".")[0] for name, module in names})
        return {name: root for name, root in found.items() if root in sys.stdlib_module_names}

    def reasons(self) -> Iterable[str]:
        """Every reason, in the order of the text as far as it goes."""
        for node in self.nodes:
            match node:
                case ast.Import() | ast.ImportFrom():
                    yield from self._import(node)
                case ast.FunctionDef():
                    yield from self._function(node)
                case ast.AsyncFunctionDef():
                    yield "has async functions"
                case ast.ClassDef(bases=bases):
                    yield from (
                        f"derives {node.name} from a class of the code" for one in bases if self._is_of_code(one)
                    )
                case ast.Call():
                    yield from self._call(node)
                case ast.Attribute():
                    yield from self._attribute(node)
                case _:
                    pass

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterable[str]:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            if name.partition(".")[0] in _SHARED or name.startswith("unittest.mock"):
                yield f"uses {name}"
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "unittest"
            and any(one.name == "mock" for one in node.names)
        ):
            yield "uses unittest.mock"
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "os.path"):
            pure = {"path"} if node.module == "os" else _PURE_PATHS
            yield from (f"uses {node.module}.{one.name}" for one in node.names if one.name not in pure)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in sys.stdlib_module_names:
            yield from (f"uses {node.module}.{one.name}" for one in node.names if one.name in _OPENS)

    def _function(self, node: ast.FunctionDef) -> Iterable[str]:
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        yield from (f"uses {name}" for name in names if name in _FIXTURES)

    def _call(self, node: ast.Call) -> Iterable[str]:
        if isinstance(node.func, ast.Name) and node.func.id in ("open", "__import__"):
            yield f"calls {node.func.id}()"
        if self._is_of_code(node.func):
            for one in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(one, ast.Lambda) or (
                    isinstance(one, ast.Name) and one.id in self.functions - self.of_code
                ):
                    yield "hands functions of its own to the code"

    def _attribute(self, node: ast.Attribute) -> Iterable[str]:
        owner = node.value.id if isinstance(node.value, ast.Name) else None
        if node.attr in ("warns", "deprecated_call") and owner == "pytest":
            yield f"uses pytest.{node.attr}"
        elif owner == "random" and node.attr == "seed":
            yield "seeds the code's randomness"
        elif owner == "os" and node.attr != "path":
            yield f"uses os.{node.attr}"
        elif self._touches_files(node):
            yield "reads or writes files"
        elif node.attr in ("getcontext", "setcontext"):
            yield f"uses {node.attr}() of decimal"
        elif isinstance(node.value, ast.Attribute) and node.value.attr == "path" and self._is_os(node.value.value):
            yield from () if node.attr in _PURE_PATHS else (f"uses os.path.{node.attr}",)
        elif owner == "sys" and node.attr in (
            "stdin",
            "argv",
            "modules",
            "getrefcount",
            "getsizeof",
            "settrace",
            "setrecursionlimit",
        ):
            yield f"uses sys.{node.attr}"

    def _touches_files(self, node: ast.Attribute) -> bool:
        if self._is_of_code(node.value):
            return False
        named = isinstance(node.value, ast.Name)
        if named and node.value.id in self.imported:  # type: ignore[attr-defined]
            library = self.imported[node.value.id]  # type: ignore[attr-defined]
            return node.attr in _OPENS or (library == "xml" and node.attr == "parse")
        if self.parsers and node.attr in ("read", "write"):
            return True
        return (node.attr in _TOUCHING and not named) or (self.paths and node.attr in _OF_PATHS)

    def _is_os(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == "os"

    def _is_of_code(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute | ast.Call):
            node = node.value if isinstance(node, ast.Attribute) else node.func
        return isinstance(node, ast.Name) and node.id in self.of_code
