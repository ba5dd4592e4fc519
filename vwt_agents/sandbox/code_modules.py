"""Modules of the code, as the tests import them. Owns what `import *` brings, which is nothing the tests judge with."""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.asking import ask, note
from vwt_agents.sandbox.handles import ClassMeta, Function, answers

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["LENT", "CodeModule", "Finder"]

LENT: Final = frozenset(
    {
        "math",
        "re",
        "json",
        "string",
        "itertools",
        "functools",
        "collections",
        "datetime",
        "statistics",
        "operator",
        "typing",
    }
    | {"decimal", "fractions", "heapq", "bisect", "copy", "random", "abc", "enum", "dataclasses", "collections.abc"}
)
"""Modules of the standard library that a test may get from the code by `import *`: it gets its own ones."""


class CodeModule(ModuleType):
    """A module of the code."""

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name == "__all__":
            return self.vwt_names(sys._getframe(1).f_globals)  # noqa: SLF001 - who asks is the test's module
        if not answers(name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        if name.startswith("__") or isinstance(value, ModuleType):
            super().__setattr__(name, value)
        else:
            ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        ask("del", self, name)

    def vwt_names(self, into: dict[str, Any]) -> list[str]:
        """What `import *` brings into a module of the tests: nothing that would take the place of what they judge with."""
        exports = self.__dict__["vwt_exports"]
        names = []
        for name in exports["own"]:
            if name.startswith(("_", "test", "Test", "pytest", "setup", "teardown")) or not name.isidentifier():
                continue
            taken = into.get(name, getattr(builtins, name, None) if name != self.__name__.rpartition(".")[2] else None)
            if taken is None or _is_of_code(taken):
                names.append(name)
            else:
                note(f"{self.__name__} would replace {name!r} in the tests by `import *`")
        for name, home in exports["other"]:
            lent = _lent(name, home) if name not in into and not hasattr(builtins, name) else None
            if lent is not None:
                self.__dict__[name] = lent
                names.append(name)
        return names


def _is_of_code(value: Any) -> bool:
    return isinstance(value, Function | CodeModule | ClassMeta) or isinstance(type(value), ClassMeta)


def _lent(name: str, home: str) -> Any:
    """This side's own module or object of that name, where the standard library has it."""
    if home == "":
        return importlib.import_module(name) if name in LENT else None
    return getattr(importlib.import_module(home), name, None) if home in LENT else None


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the code's modules, after everything else."""

    def __init__(self, modules: Collection[str], packages: Collection[str]) -> None:
        self.modules = frozenset(modules)
        self.packages = frozenset(packages)

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module that the code has."""
        if fullname not in self.modules:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname in self.packages)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty one, which asks."""
        return CodeModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Have the code import it, and learn what `import *` would bring."""
        __tracebackhide__ = True
        try:
            exports = ask("import", module.__name__)
        except SystemExit as error:
            raise ImportError(f"{module.__name__} ended with SystemExit({error}) while it was imported") from None
        own, other = exports["own"], exports["other"]
        pairs = [(str(name), str(home)) for name, home in other]
        module.__doc__ = exports["doc"]
        module.__dict__["vwt_exports"] = {"own": [str(name) for name in own], "other": pairs}
