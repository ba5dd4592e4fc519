"""Which lines of tests compare an object that the tests made themselves, as `Money(5) == 5`, or work with it: `Bag() + [1]`.

Such a line asks for the object's own word, so the code may be asked there, told what it is compared with. Everywhere else an
object of the code equals no plain data, and what came of one and a value of the tests gives no figure or truth of itself. Only
the text of the tests says which lines these are. Pure.
"""

from __future__ import annotations

import ast
import builtins
import functools
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from vwt_agents.sandbox.suite_files import names_of_code, parsed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["lines_of_tests"]

_Ranges: TypeAlias = tuple[tuple[int, int], ...]
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_WORKING: Final = (ast.Add, ast.Mult, ast.MatMult, ast.Div, ast.FloorDiv, ast.BitOr, ast.BitAnd)
_SIMPLE: Final = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Assert, ast.Expr, ast.Return)
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class _Lines(NamedTuple):
    made: _Ranges
    worked: _Ranges
    guarded: _Ranges


def lines_of_tests(tests: Mapping[str, str], modules: Collection[str]) -> dict[str, dict[str, _Ranges]]:
    """By kind and test file, first and last lines. `made`: of what compares an object made by calling a class of the code;
    `worked`: of the statements whose operators all have such an object on one side; `guarded`: of a `with` from its first
    statement to the last that asserts something.

    A class is what is imported from the code, begins with a capital letter and is called. `modules` are those of the code.
    """
    found = {name: _read(name, text, frozenset(modules)) for name, text in tests.items()}
    return {
        kind: {name: getattr(lines, kind) for name, lines in found.items() if lines is not None}
        for kind in _Lines._fields
    }


@functools.lru_cache(maxsize=64)
def _read(name: str, text: str, modules: frozenset[str]) -> _Lines | None:
    """The lines of one file: the same tests are read for every program that they judge."""
    tree = parsed({name: text}).get(name)
    if tree is None:
        return None
    file = _File(tree, modules)
    return _Lines(_ranges(file.lines()), _ranges(file.worked_lines()), _ranges(_guarded(tree)))


def _ranges(lines: Iterable[tuple[int, int]]) -> _Ranges:
    return tuple(sorted(set(lines)))


def _guarded(tree: ast.Module) -> Iterator[tuple[int, int]]:
    for block in ast.walk(tree):
        if isinstance(block, ast.With):
            ends = [_end(node) for one in block.body for node in ast.walk(one) if _asserts(node)]
            if ends:
                yield block.body[0].lineno, max(ends)


def _asserts(node: ast.AST) -> bool:
    match node:
        case ast.Assert(test=test):
            return not isinstance(test, ast.Constant)
        case ast.Call(func=ast.Attribute(attr=name)):
            return name.startswith("assert")
        case _:
            return False


def _end(node: ast.AST) -> int:
    return int(getattr(node, "end_lineno", 0) or 0)


class _File:
    def __init__(self, tree: ast.Module, modules: Collection[str]) -> None:
        self.tree = tree
        self.roots = {module.partition(".")[0] for module in modules}
        self.classes: set[str] = set()
        self.modules: set[str] = set()
        for here, there in names_of_code(ast.walk(tree), modules):
            (self.classes if (there or "")[:1].isupper() else self.modules).add(here)
        if "*" in self.modules:
            self.classes |= self._called_classes()
        self.common = self._made_names(tree, set()) | self._fixtures()
        self.attributes = self._attributes()

    def _called_classes(self) -> set[str]:
        """What is called as a class is, and is neither made here nor Python's own."""
        called = {one.func.id for one in ast.walk(self.tree) if _calls_name(one)}  # type: ignore[attr-defined]
        bound = {one.id for one in ast.walk(self.tree) if isinstance(one, ast.Name) and _is_bound(one)}
        own = {one.name for one in ast.walk(self.tree) if isinstance(one, ast.ClassDef)} | self._of_others()
        return {name for name in called - bound - own if name[:1].isupper() and not hasattr(builtins, name)}

    def _of_others(self) -> set[str]:
        """Names that are imported from elsewhere than the code."""
        imports = [one for one in ast.walk(self.tree) if isinstance(one, ast.Import | ast.ImportFrom)]
        others = [
            one
            for one in imports
            if not isinstance(one, ast.ImportFrom) or (one.module or "").partition(".")[0] not in self.roots
        ]
        return {alias.asname or alias.name.partition(".")[0] for one in others for alias in one.names}

    def lines(self) -> Iterator[tuple[int, int]]:
        """The lines of every comparison that has an object of the tests' making in it."""
        for scope, known in self._scopes():
            yield from self._in_body(scope, known)

    def worked_lines(self) -> Iterator[tuple[int, int]]:
        """The lines of every statement that only works with objects of the tests' making."""
        for scope, known in self._scopes():
            for node in _own_nodes(scope):
                if isinstance(node, _SIMPLE) and self._only_works(node, known):
                    yield node.lineno, node.end_lineno or node.lineno

    def _scopes(self) -> Iterator[tuple[ast.AST, set[str]]]:
        yield self.tree, self.common
        for node in ast.walk(self.tree):
            if isinstance(node, _Function):
                yield node, self._known_in(node)

    def _only_works(self, statement: ast.stmt, known: set[str]) -> bool:
        sides = {
            node: (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
            for node in ast.walk(statement)
            if isinstance(node, ast.BinOp | ast.AugAssign)
        }
        return bool(sides) and all(any(self._is_made(one, known) for one in both) for node, both in sides.items())

    def _known_in(self, function: _Function) -> set[str]:
        given = {one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
        rebound = {one.id for one in _own_nodes(function) if isinstance(one, ast.Name) and _is_bound(one)}
        fixtures = self.common & given
        known = (self.common - given - rebound) | fixtures | self._parameters(function)
        return known | self._made_names(function, known)

    def _in_body(self, scope: ast.AST, known: set[str]) -> Iterator[tuple[int, int]]:
        for node in _own_nodes(scope):
            asserted = isinstance(node, ast.Assert)
            parts = list(ast.walk(node)) if asserted else [node]
            if any(self._compares(part, known) for part in parts):
                assert isinstance(node, ast.stmt | ast.expr)
                yield node.lineno, node.end_lineno or node.lineno

    def _compares(self, node: ast.AST, known: set[str]) -> bool:
        match node:
            case ast.Compare(left=left, comparators=others):
                return any(self._is_made(one, known) for one in (left, *others))
            case ast.Call(func=ast.Attribute(attr=name), args=args) if name.startswith("assert"):
                return any(self._is_made(one, known) for one in args)
            case _:
                return False

    def _is_made(self, node: ast.expr | None, known: set[str]) -> bool:
        match node:
            case ast.Call(func=ast.Name(id=name)):
                return name in self.classes
            case ast.Call(func=ast.Attribute(value=owner, attr=name)):
                return name[:1].isupper() and _root(owner) in self.modules
            case ast.Name(id=name):
                return name in known
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return name in self.attributes
            case _:
                return False

    def _made_names(self, scope: ast.AST, known: set[str]) -> set[str]:
        """Names that are only ever given such an object here."""
        made: set[str] = set()
        other: set[str] = set()
        for node in _own_nodes(scope):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                for target, value in _one_by_one(node.targets[0], node.value):
                    names = {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
                    whole = isinstance(target, ast.Name) and self._is_made(value, known | made)
                    (made if whole else other).update(names)
                continue
            if isinstance(node, ast.Assign) and self._is_made(node.value, known | made):
                made.update(one.id for one in node.targets if isinstance(one, ast.Name))
                continue
            # What such an operator leaves there is like what was there.
            if not (isinstance(node, ast.AugAssign) and isinstance(node.op, _WORKING)):
                other.update(one.id for one in _targets(node) if isinstance(one, ast.Name))
        return made - other

    def _fixtures(self) -> set[str]:
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, _Function) and any("fixture" in ast.unparse(one) for one in node.decorator_list):
                known = self._made_names(node, set())
                given = [one.value for one in _own_nodes(node) if isinstance(one, ast.Return | ast.Yield)]
                if given and all(self._is_made(one, known) for one in given):
                    found.add(node.name)
        return found

    def _attributes(self) -> set[str]:
        """What `self` only ever gets such an object for."""
        made: set[str] = set()
        other: set[str] = set()
        for node in ast.walk(self.tree):
            for target in _targets(node):
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    good = isinstance(node, ast.Assign) and self._is_made(node.value, set())
                    (made if good else other).add(target.attr)
        return made - other

    def _parameters(self, function: _Function) -> set[str]:
        """Arguments that `parametrize` only ever gives such an object."""
        found: set[str] = set()
        for call in function.decorator_list:
            match call:
                case ast.Call(
                    func=ast.Attribute(attr="parametrize"), args=[names, ast.List(elts=rows) | ast.Tuple(elts=rows), *_]
                ):
                    found.update(self._columns(_words(names), rows))
                case _:
                    continue
        return found

    def _columns(self, names: list[str], rows: list[ast.expr]) -> Iterable[str]:
        for at, name in enumerate(names):
            cells = [_cell(row, at, len(names)) for row in rows]
            if cells and all(self._is_made(cell, set()) for cell in cells):
                yield name


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a scope itself, not in the functions and classes in it."""
    todo = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop(0)
        yield node
        if not isinstance(node, _SCOPES):
            todo.extend(ast.iter_child_nodes(node))


def _targets(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return [part for one in targets for part in ast.walk(one) if isinstance(part, ast.Name | ast.Attribute)]
        case ast.AugAssign(target=one) | ast.AnnAssign(target=one) | ast.For(target=one) | ast.NamedExpr(target=one):
            return [part for part in ast.walk(one) if isinstance(part, ast.Name | ast.Attribute)]
        case ast.withitem(optional_vars=ast.expr() as one) | ast.comprehension(target=one):
            return [part for part in ast.walk(one) if isinstance(part, ast.Name | ast.Attribute)]
        case _:
            return []


def _one_by_one(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """What is given to what: `a, b = A(), B()` is two assignments, where nothing is starred."""
    match target, value:
        case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), (ast.Tuple(elts=values) | ast.List(elts=values))) if (
            len(targets) == len(values) and not any(isinstance(one, ast.Starred) for one in (*targets, *values))
        ):
            return list(zip(targets, values, strict=True))
        case _:
            return [(target, value)]


def _calls_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _is_bound(node: ast.Name) -> bool:
    return not isinstance(node.ctx, ast.Load)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _words(names: ast.expr) -> list[str]:
    if isinstance(names, ast.Tuple | ast.List):
        return [str(one.value) for one in names.elts if isinstance(one, ast.Constant)]
    return [one.strip() for one in str(names.value).split(",")] if isinstance(names, ast.Constant) else []


def _cell(row: ast.expr, at: int, width: int) -> ast.expr | None:
    if width == 1:
        return row
    return row.elts[at] if isinstance(row, ast.Tuple | ast.List) and len(row.elts) == width else None
