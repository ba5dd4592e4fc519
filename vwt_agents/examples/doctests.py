"""Examples as doctests: `>>> f(1)` and the value, or the Traceback, below it, with the statements before it."""

from __future__ import annotations

import ast
import doctest
import re
from typing import TYPE_CHECKING, Final

from vwt_agents.examples.example import Example
from vwt_agents.examples.literals import expression, is_value, literal_at, parses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["doctests"]

_CLOSING: Final = re.compile(r"(?:\"{3}|'{3}|```\w*)\s*$")


def doctests(task: str, wanted: str) -> Iterator[Example]:
    """Every doctest that is about `wanted`, or follows statements that are."""
    setup: list[str] = []
    last_line = -1
    for one in _doctest_examples(task):
        if one.lineno > last_line:
            setup = []  # another block: what came before says nothing about it
        source = one.source.strip()
        last_line = one.lineno + one.source.count("\n") + one.want.count("\n")
        example = _doctest(one, source, wanted, tuple(setup))
        if example is not None:
            yield example
        if not one.exc_msg and (_is_statement(source) or setup or not one.want) and not _is_comparison(source):
            setup.append(source)  # also a call: it may change what the next one sees


def _doctest_examples(task: str) -> Sequence[doctest.Example]:
    # What closes a docstring or a fenced block is no part of the last value shown in it.
    text = "\n".join(_CLOSING.sub("", line.expandtabs()) for line in task.splitlines()) + "\n"
    try:
        return doctest.DocTestParser().get_examples(text)
    except ValueError:  # one line that doctest finds badly indented costs no other example
        return [one for chunk in _chunks(text) for one in _chunk_examples(chunk)]


def _chunks(text: str) -> list[str]:
    return re.split(r"\n(?=\s*>>>)", text)


def _chunk_examples(chunk: str) -> list[doctest.Example]:
    try:
        return doctest.DocTestParser().get_examples(chunk + "\n")
    except ValueError:
        return []


def _doctest(one: doctest.Example, source: str, wanted: str, setup: tuple[str, ...]) -> Example | None:
    call = expression(source)
    about = any(_mentions(text, wanted) for text in (source, *setup))
    if not about or (call is None and not one.exc_msg):
        return None
    if one.exc_msg:
        name = one.exc_msg.partition(":")[0].strip()  # one that is written with its module cannot be named in the test
        return Example(source, raises=name, setup=setup) if name.isidentifier() else None
    assert call is not None
    want = one.want.strip()
    if (
        isinstance(call, ast.Compare)
        and len(call.ops) == 1
        and isinstance(call.ops[0], ast.Eq)
        and want in {"", "True"}
    ):
        left, right = ast.unparse(call.left), ast.unparse(call.comparators[0])
        return Example(left, right, setup=setup) if is_value(right) else None
    if isinstance(call, ast.Name | ast.Constant) or not want:
        return None
    text = ast.unparse(call) if "#" in source or "\n" in source else source
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print":
        one_value = len(call.args) == 1 and not call.keywords and "\n" not in want
        return Example(f"str({ast.unparse(call.args[0])})", repr(want), setup=setup) if one_value else None
    want = want.replace("\n", " ") if is_value(want.replace("\n", " ")) else want
    value, _ = literal_at(want) if "\n" not in want else ("", "")
    if value:
        return Example(text, value, setup=setup)
    return Example(text, want, setup=setup, shown=True) if expression(want) is not None and "..." not in want else None


def _is_comparison(source: str) -> bool:
    return isinstance(expression(source), ast.Compare)


def _is_statement(source: str) -> bool:
    return expression(source) is None and parses(source)


def _mentions(source: str, wanted: str) -> bool:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.Name) and node.id == wanted for node in ast.walk(tree))
