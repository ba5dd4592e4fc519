"""What a test shows of a function, as a docstring shows it: `>>>` lines with what they give. Pure; runs nothing.

Small models have read many docstrings with examples, and few failing tests: they follow the one and repeat the other.
"""

from __future__ import annotations

import ast
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["cases_of", "shown_cases"]


def cases_of(test: str) -> tuple[str, ...]:
    """The lines of a doctest that says what a test function does; empty where it takes fixtures or is no single function."""
    try:
        body = ast.parse(textwrap.dedent(test)).body
    except (SyntaxError, ValueError):
        return ()
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        return ()
    if {one.arg for one in ast.walk(body[0].args) if isinstance(one, ast.arg)} - {"self"}:
        return ()
    statements = [
        one for one in body[0].body if not isinstance(one, ast.Expr) or not isinstance(one.value, ast.Constant)
    ]
    return tuple(line for one in statements for line in _shown(one))


def shown_cases(tests: Iterable[str], *, most: int) -> tuple[str, ...]:
    """The cases of tests, in their order and each line of code but once, as far as whole tests fit into `most` characters."""
    lines: list[str] = []
    left = most
    for test in tests:
        cases = cases_of(test)
        size = sum(len(line) + 1 for line in cases)
        if cases and size <= left and not set(cases) <= set(lines):
            lines += cases
            left -= size
    return tuple(lines)


def _shown(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq() | ast.Is()], comparators=[right])):
            yield from (f">>> {ast.unparse(left)}", *([] if _is_none(right) else [ast.unparse(right)]))
        case ast.Assert(test=ast.UnaryOp(op=ast.Not(), operand=test)):
            yield from (f">>> bool({ast.unparse(test)})", "False")
        case ast.Assert(test=test):
            yield from (f">>> bool({ast.unparse(test)})", "True")
        case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Attribute(attr="raises"), args=[error, *_]))]):
            yield f">>> {ast.unparse(node.body[0])}"
            yield from ("Traceback (most recent call last):", "    ...", ast.unparse(error))
        case _:
            first, *rest = ast.unparse(node).splitlines()
            yield from (f">>> {first}", *(f"... {line}" for line in rest))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
