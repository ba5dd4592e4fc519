"""What in the text of code is found in code that cheats more often than in code that works. Pure.

A scan proves nothing either way. Isolated, suspicions are only shown; in the same process they keep a verdict from being good.
"""

from __future__ import annotations

import ast
import builtins
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.sandbox.suite_files import module_names, parsed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["held_against", "suspicions"]

_MODULES: Final = {
    "_pytest": "imports pytest's insides",
    "pytest": "imports pytest",
    "pluggy": "imports pytest's plugin system",
    "unittest": "imports unittest",
    "gc": "imports gc, which finds any object of the process",
    "ctypes": "imports ctypes, which changes any memory of the process",
    "_ctypes": "imports ctypes, which changes any memory of the process",
    "atexit": "imports atexit, which runs code when the tests have ended",
    "_testcapi": "imports the interpreter's insides",
    "_testinternalcapi": "imports the interpreter's insides",
    "faulthandler": "imports faulthandler",
    "builtins": "imports builtins, which it can replace",
    "__main__": "imports the program that judges it",
    "inspect": "imports inspect, which reaches the frames of the tests",
    "mmap": "imports mmap",
    "importlib": "imports by computed names",
    "runpy": "runs other programs in its process",
}
_ATTRIBUTES: Final = {
    "_getframe": "reaches the frames of the tests",
    "_current_frames": "reaches the frames of the tests",
    "f_back": "reaches the frames of the tests",
    "f_globals": "reaches the frames of the tests",
    "f_locals": "reaches the frames of the tests",
    "tb_frame": "reaches the frames of the tests",
    "gi_frame": "reaches frames",
    "_exit": "ends the process at once",
    "__subclasses__": "finds classes it was not given",
    "__globals__": "reaches the globals of other functions",
    "__builtins__": "reaches the builtins",
    "__code__": "replaces the code of functions",
    "__closure__": "reads the closures of other functions",
}
_OF_MODULES: Final = {
    ("os", "abort"): "ends the process at once",
    ("os", "kill"): "sends signals",
    ("os", "execv"): "replaces the process",
    ("os", "execve"): "replaces the process",
    ("os", "execvp"): "replaces the process",
    ("sys", "modules"): "reads or changes the loaded modules",
    ("sys", "settrace"): "traces the tests",
    ("sys", "setprofile"): "traces the tests",
    ("sys", "monitoring"): "traces the tests",
    ("sys", "excepthook"): "changes what is done about exceptions",
    ("sys", "meta_path"): "changes how modules are imported",
    ("sys", "path_hooks"): "changes how modules are imported",
    ("sys", "addaudithook"): "watches the interpreter",
    ("threading", "settrace"): "traces the tests",
}
_NAMES: Final = {
    "__builtins__": "reaches the builtins",
    "__import__": "imports by a computed name",
    "exec": "runs text as code",
    "eval": "runs text as code",
    "globals": "reaches its globals by name",
}
_PLACES: Final = ("/tests", "/trusted", "/serving", "/proc/")
_REACHING: Final = frozenset({"getattr", "setattr", "delattr", "vars"})
_COMPARING: Final = {
    "__eq__": "equals anything",
    "__ne__": "differs from nothing, or from anything",
    "__contains__": "contains anything",
    "__exit__": "swallows any exception",
    "__lt__": "is less than anything",
    "__le__": "is at most anything",
    "__gt__": "is more than anything",
    "__ge__": "is at least anything",
    "__instancecheck__": "takes anything for its instance",
    "__subclasscheck__": "takes anything for its subclass",
}


def held_against(what: str, seen: Sequence[str]) -> str:
    """Why tests that passed are not believed: `what`, in whose process they ran, is suspected; and how a user accepts that."""
    named = json.dumps(list(seen), ensure_ascii=False)
    return (
        f"the tests passed, but in the process of {what} that {seen[0]}, and there it could have made them; "
        f"if it is meant to, accept it by name: `sandbox test --accept`, or for a pipeline -i accept='{named}'"
    )


def suspicions(code: Mapping[str, str], tests: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
    """What in the code is found in code that cheats more often than in code that works, such as `imports pytest (m.py)`."""
    own = {root.partition(".")[0] for root in module_names(code)[0]}
    trees = parsed(tests).values()
    taken = {name for tree in trees for name in _imported(tree, own)}
    found: dict[str, None] = {}
    spread = any(_takes_all(tree, own) for tree in trees)
    for name, tree in parsed(code).items():
        shadows = _shadows(tree, taken) if spread else ()
        found.update(dict.fromkeys(f"{what} ({name})" for what in (*_suspicious(tree, own), *shadows)))
    return tuple(found)


def _imported(tree: ast.Module, own: Collection[str]) -> set[str]:
    """The names that imports bind, other than those of these own modules."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = [
                (alias.asname or alias.name.partition(".")[0], alias.name.partition(".")[0]) for alias in node.names
            ]
            names.update(name for name, root in roots if root not in own)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] not in own:
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def _takes_all(tree: ast.Module, own: Collection[str]) -> bool:
    """Whether a test file takes all that a module of the code has, by `import *`."""
    taking = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.names[0].name == "*")
    return any((node.module or "").partition(".")[0] in own for node in taking)


def _suspicious(tree: ast.Module, own: Collection[str]) -> Iterable[str]:
    modules = _imported(tree, own)
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from _imports(node)
            case ast.Attribute():
                yield from _attribute(node, modules)
            case ast.Name(id=name) if name in _NAMES:
                yield _NAMES[name]
            case ast.Constant(value=str(text)) if text.startswith(_PLACES):
                yield f"names {text[:40]!r}, a place of the judge"
            case ast.Constant(value=str(text)) if text in _ATTRIBUTES or text in _COMPARING:
                yield f"names {text!r} as text"
            case ast.Call(func=ast.Name(id="type"), args=[_, _, _]):
                yield "makes a class while it runs"
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=owner), *_]) if (
                name in _REACHING and owner in modules
            ):
                yield f"reaches into {owner} by name"
            case ast.ClassDef():
                yield from _class(node)
            case _:
                pass


def _imports(node: ast.Import | ast.ImportFrom) -> Iterable[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module or ""] if node.level == 0 else []
        for alias in node.names:
            what = _ATTRIBUTES.get(alias.name) or _OF_MODULES.get((node.module or "", alias.name))
            yield from (what,) if what else ()
    yield from (_MODULES[root] for name in names if (root := name.partition(".")[0]) in _MODULES)


def _attribute(node: ast.Attribute, modules: Collection[str]) -> Iterable[str]:
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    name = root.id if isinstance(root, ast.Name) and root.id in modules else None
    if name is not None and (node.attr == "__dict__" or not isinstance(node.ctx, ast.Load)):
        yield f"changes {name}, which is not its own"
    if node.attr in _ATTRIBUTES:
        yield _ATTRIBUTES[node.attr]
    elif isinstance(node.value, ast.Name) and (node.value.id, node.attr) in _OF_MODULES:
        yield _OF_MODULES[node.value.id, node.attr]
    elif node.attr in _COMPARING and isinstance(node.ctx, ast.Store):
        yield f"puts a {node.attr} into a class from outside"


def _class(node: ast.ClassDef) -> Iterable[str]:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name in _COMPARING:
            if _constant(statement):
                yield f"has a class that {_COMPARING[statement.name]} ({node.name})"
        elif isinstance(statement, ast.Assign):
            names = [one.id for one in statement.targets if isinstance(one, ast.Name)]
            if any(name in _COMPARING for name in names) and not isinstance(statement.value, ast.Constant):
                yield f"has a class whose comparing is computed ({node.name})"


def _constant(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it answers the same whatever it is given: every return says so, or the arguments are never looked at."""
    returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    if returns and all(isinstance(one, ast.Constant) for one in returns):
        return function.name != "__exit__" or all(isinstance(one, ast.Constant) and bool(one.value) for one in returns)
    names = {one.arg for one in (*function.args.posonlyargs, *function.args.args)[1:]}
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return function.name != "__exit__" and bool(returns) and not names & used and not function.args.vararg


def _shadows(tree: ast.Module, taken: Collection[str]) -> Iterable[str]:
    """Names of builtins, or of what the tests import, to which the module gives another meaning: `import *` would spread it."""
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [one.id for one in targets if isinstance(one, ast.Name)]
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names = [alias.asname for alias in aliases if alias.asname]
            case _:
                continue
        for name in names:
            if name in taken or (hasattr(builtins, name) and not name.startswith("_")):
                yield f"gives {name!r} another meaning"
            elif name.startswith(("pytest", "setup_", "teardown_", "test_")):
                yield f"defines {name!r}, which pytest looks for"
