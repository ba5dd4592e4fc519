"""Putting functions and classes a model wrote into a file that has them, the rest of the file byte for byte the same. Pure.

Small models cannot write diffs, and lose lines when they repeat a long file; a whole function they can write. A definition
takes the place of the one with its name, a method also where it stands alone; what is new goes to the end of its body.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["SpliceError", "definitions", "first_line", "holds_all_of", "is_main", "splice", "splice_anew"]

_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SpliceError(ValueError):
    """The new text does not fit into the old one; the message is written for whoever wrote it."""


def definitions(text: str) -> dict[str, _Definition]:
    """The functions and classes of a module by name, methods as `Class.method`; empty where it does not parse."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, _Definition] = {}
    for node in _defined(body):
        found[node.name] = node
        if isinstance(node, ast.ClassDef):
            found.update({f"{node.name}.{inner.name}": inner for inner in _defined(node.body)})
    return found


def holds_all_of(new: str, old: str) -> bool:
    """Whether a module has all that another has, so that it can take its place: definitions, constants, imports.

    One that does not parse has nothing; a module without any of them is replaced by whatever comes.
    """
    return _names(old) <= _names(new)


def _names(text: str) -> Counter[str]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return Counter()
    classes = [one for one in body if isinstance(one, ast.ClassDef)]
    methods = [f"{one.name}.{inner.name}" for one in classes for inner in _defined(one.body)]
    imports = [line for node in body for line in _imported(node)]
    return Counter([*(one.name for one in _defined(body)), *methods, *_assigned(body), *imports])


def splice(old: str, new: str, *, module: str = "", within: str = "") -> str:
    """The old module with the definitions, constants and imports of the new one in it; SpliceError says what does not fit.

    `module` is the name the file is imported by: an answer that imports from it means itself. `within` is the class that
    functions standing alone belong to, where it has methods of their names.
    """
    newline = "\r\n" if "\r\n" in old else "\n"
    whole = old if old.endswith("\n") or not old else old + newline
    splicing = _Splicing(whole, new, within)
    splicing.definitions()
    splicing.constants(splicing.new.body, splicing.old.body)
    splicing.imports(module)
    if not splicing.edits:
        raise SpliceError("it defines nothing that could be put into the file; write whole functions or classes")
    result = splicing.result(newline)
    _parsed(result, "the file, with the answer put in,")
    return result if whole == old else result.removesuffix(newline)


def splice_anew(old: str, new: str, *, module: str = "", within: str = "") -> str:
    """As `splice`, where something has to be different: SpliceError too for code that is as it was but for its layout, which
    models write when they have nothing better.
    """
    result = splice(old, new, module=module, within=within)
    if ast.dump(ast.parse(result)) == ast.dump(ast.parse(old)):
        raise SpliceError("the function is as it was: write what has to be different")
    return result


class _Splicing:
    """Collects edits of the old lines: (first line, end, lines instead), counted from 0."""

    def __init__(self, old: str, new: str, within: str) -> None:
        self.old = _parsed(old, "the file")
        self.new = _parsed(new, "it")
        self.lines = _lines(old)
        self.source = _Source(new)
        self.within = within
        self.edits: list[tuple[int, int, list[str]]] = []

    def result(self, newline: str) -> str:
        lines = list(self.lines)
        for start, stop, instead in sorted(self.edits, key=lambda edit: edit[:2], reverse=True):
            lines[start:stop] = [line + newline for line in instead]
        return "".join(lines)

    def definitions(self) -> None:
        added: list[str] = []
        for node in _defined(self.new.body):
            place = _find(self.old, node, self.within)
            if place is None:
                added += ["", "", *self.source.of(node, "")] if self.lines else self.source.of(node, "")
            elif isinstance(node, ast.ClassDef) and isinstance(place, ast.ClassDef):
                self._class(place, node)
            else:
                self._replace(place, node)
        if added:
            end = next((first_line(one) - 1 for one in self.old.body if is_main(one)), len(self.lines))
            self.edits.append((end, end, [*added[2:], "", ""] if end < len(self.lines) else added))

    def _replace(self, place: _Definition, node: _Definition) -> None:
        """The new definition where the old one was; decorators stay when the new one has none, as models forget them."""
        start = place.lineno - 1 if place.decorator_list and not node.decorator_list else first_line(place) - 1
        # The line of the name, not of its decorators, says how deep it stands; both are the same.
        self.edits.append((start, _end(place), self.source.of(node, self._indent(place))))

    def _class(self, place: ast.ClassDef, node: ast.ClassDef) -> None:
        had, has = (Counter(one.name for one in _defined(body)) for body in (place.body, node.body))
        if had <= has and _assigned(place.body).keys() <= _assigned(node.body).keys():
            self._replace(place, node)
            return
        self.constants(node.body, place.body)
        added: list[str] = []
        for inner in _defined(node.body):
            old = _same_name(place.body, inner)
            if old is not None:
                self._replace(old, inner)
            else:
                added += ["", *self.source.of(inner, self._indent(place.body[0]))]
        if added:
            self.edits.append((_end(place), _end(place), added))

    def constants(self, new: Sequence[ast.stmt], old: Sequence[ast.stmt]) -> None:
        """Assignments to plain names: changed where they are, new ones after the last there is, else at the top."""
        had = _assigned(old)
        added: list[str] = []
        for name, node in _assigned(new).items():
            place = had.get(name)
            indent = self._indent(old[0]) if old else ""
            if place is None:
                added += self.source.of(node, indent)
            elif ast.unparse(place) != ast.unparse(node):
                self.edits.append((place.lineno - 1, _end(place), self.source.of(node, indent)))
        if added:
            at = max((_end(one) for one in had.values()), default=None)
            self._insert(added if at is not None else ["", *added], old, at)

    def imports(self, module: str) -> None:
        have = {line for node in self.old.body for line in _imported(node)}
        wanted = dict.fromkeys(line for node in self.new.body for line in _imported(node))
        added = [line for line in wanted if line not in have and not (module and f" {module} " in f"{line} ")]
        if added:
            self._insert(added, self.old.body, None)

    def _insert(self, added: list[str], body: Sequence[ast.stmt], at: int | None) -> None:
        """Put lines at `at`, or after the imports of a body, else its docstring, else before its first statement."""
        if at is None:
            heads = [one for one in body if isinstance(one, ast.Import | ast.ImportFrom)] or body[:1]
            first = heads[-1] if heads else None
            if first is None:
                at = 0
            else:
                after = isinstance(first, ast.Import | ast.ImportFrom) or _is_docstring(first)
                at = _end(first) if after else first_line(first) - 1
        self.edits.append((at, at, added))

    def _indent(self, node: ast.stmt) -> str:
        line = self.lines[node.lineno - 1]
        return line[: len(line) - len(line.lstrip(" \t"))]


class _Source:
    """The new text, which gives out statements at any indentation; lines inside a string stay as they are."""

    def __init__(self, text: str) -> None:
        self._lines = [line.rstrip("\r\n") for line in _lines(text)]
        self._fixed = set(_inside_strings(text))

    def of(self, node: ast.stmt, indent: str) -> list[str]:
        first = first_line(node) - 1
        lines = self._lines[first : _end(node)]
        had = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))]
        moved = []
        for number, line in enumerate(lines, first + 1):
            movable = line.strip() and line.startswith(had) and number not in self._fixed
            moved.append(indent + line.removeprefix(had) if movable else line)
        return moved


def _inside_strings(text: str) -> Iterator[int]:
    """The numbers of the lines that begin inside a string; not those of docstrings, which move with their function."""
    docstrings = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, _DEFINES) and _is_docstring(node.body[0])
    }
    depth, opened = 0, 0
    begins = {getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")}
    ends = {getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and depth == 0 and token.start[0] not in docstrings:
            yield from range(token.start[0] + 1, token.end[0] + 1)
        elif token.type in begins:
            opened = token.start[0] if depth == 0 else opened
            depth += 1
        elif token.type in ends:
            depth -= 1
            if depth == 0:
                yield from range(opened + 1, token.end[0] + 1)


# -- what a tree holds


def _parsed(text: str, what: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise SpliceError(f"{what} does not parse: {error.msg} (line {error.lineno})") from error
    except ValueError as error:
        raise SpliceError(f"{what} does not parse: {error}") from error


def _find(tree: ast.Module, node: _Definition, within: str) -> _Definition | None:
    """The definition in the old module that a new one at its top stands for."""
    for owner in tree.body:
        if (
            isinstance(owner, ast.ClassDef)
            and owner.name == within
            and (one := _same_name(owner.body, node)) is not None
        ):
            return one
    found = _same_name(tree.body, node)
    if found is not None:
        return found
    deeper = [one for top in tree.body if not isinstance(top, _DEFINES) for one in ast.walk(top)]
    if any(isinstance(one, _DEFINES) and one.name == node.name for one in deeper):
        raise SpliceError(f"`{node.name}` is defined inside another statement of the file; write the whole file")
    arguments = getattr(node, "args", None)
    first = [one.arg for one in (*arguments.posonlyargs, *arguments.args)][:1] if arguments is not None else []
    owners = [one for one in tree.body if isinstance(one, ast.ClassDef) and _same_name(one.body, node) is not None]
    if first not in (["self"], ["cls"]) or not owners:
        return None
    if len(owners) > 1:
        names = " and ".join(owner.name for owner in owners)
        raise SpliceError(f"`{node.name}` is a method of {names}; write it inside its class")
    return _same_name(owners[0].body, node)


def _same_name(body: Sequence[ast.stmt], node: _Definition) -> _Definition | None:
    found = [one for one in _defined(body) if one.name == node.name]
    if len(found) > 1:
        alike = [one for one in found if _decorators(one) == _decorators(node)]
        if len(alike) != 1:
            raise SpliceError(f"`{node.name}` is defined {len(found)} times in the file; write the whole file")
        found = alike
    return found[0] if found else None


_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _defined(body: Sequence[ast.stmt]) -> list[_Definition]:
    return [one for one in body if isinstance(one, _DEFINES)]


def _decorators(node: _Definition) -> list[str]:
    return [ast.unparse(one) for one in node.decorator_list]


def _assigned(body: Sequence[ast.stmt]) -> dict[str, ast.stmt]:
    """Assignments to one plain name each, by that name."""
    found: dict[str, ast.stmt] = {}
    for one in body:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        if len(targets) == 1 and isinstance(targets[0], ast.Name):
            found[targets[0].id] = one
    return found


def _imported(node: ast.stmt) -> list[str]:
    """An import statement as one line for each name it brings."""
    if isinstance(node, ast.Import):
        return [ast.unparse(ast.Import([alias])) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [ast.unparse(ast.ImportFrom(node.module, [alias], node.level)) for alias in node.names]
    return []


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_main(node: ast.stmt) -> bool:
    """Whether it is what a module does when it is run."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def first_line(node: ast.stmt) -> int:
    """The number of the line a statement begins in, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _lines(text: str) -> list[str]:
    """The lines of a text with their ends, as Python counts them: a form feed ends none."""
    return list(io.StringIO(text, newline=""))
