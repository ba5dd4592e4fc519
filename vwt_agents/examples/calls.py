"""Examples as a call and what it gives in one line: `f(1) => 2`, `f(1) returns 2`, `f(0) raises ValueError`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from vwt_agents.examples.complaints import GIVES, RAISES, is_complaint, is_of_now
from vwt_agents.examples.example import Example
from vwt_agents.examples.literals import call_at, closing_at, expression, is_value, literal_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["calls", "is_plain_call"]

_ERROR: Final = re.compile(r"\s*([A-Z]\w*(?:Error|Exception))\b")
_PART: Final = re.compile(r"\.[A-Za-z_]\w*")
_BULLET: Final = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_OPERATED: Final = re.compile(r"[\w)\]]\s*(?:\*\*?|//?|[+%@&^])\s*$|[\d)\]]\s*-\s*$|^\s*[-+~]$")
"""The call is only a part of what is said to give the value: `2 * f(1) == 4`."""
_KNOWN: Final = frozenset(
    {"len", "list", "sorted", "set", "tuple", "str", "int", "sum", "max", "min", "dict", "repr", "bool", "float", "abs"}
    | {"round", "next", "iter", "type", "frozenset", "range", "any", "all"}
)


def calls(lines: Sequence[str], wanted: str) -> Iterator[Example]:
    """Those of one call only, where the lines give it one value: of two that differ, one tells of a fault."""
    found = list(_said_of_calls(lines, wanted))
    for example in found:
        if all(
            (one.expected, one.raises) == (example.expected, example.raises)
            for one in found
            if one.call == example.call
        ):
            yield example


def _said_of_calls(lines: Sequence[str], wanted: str) -> Iterator[Example]:
    header: list[str] = []
    for line in lines:
        header = _header_of(line, header)
        if line.lstrip().startswith(("def ", "async def ")):
            continue
        doctest_line = line.lstrip().startswith(">>>")
        text = line.replace("`", "")
        if not doctest_line and (stated := _as_code(text, wanted)) is not None:
            yield from stated
            continue
        cells = text.strip().strip("|").split("|")
        if text.lstrip().startswith("|") and len(cells) == 2:
            text = "" if header and is_of_now(header[-1]) else " => ".join(cells)
        yield from _in_words(text, wanted, doctest_line=doctest_line)


def _in_words(text: str, wanted: str, *, doctest_line: bool) -> Iterator[Example]:
    begin, end = call_at(text, wanted)
    while begin >= 0:
        end = _with_parts(text, end)
        call = text[begin:end]
        known = is_plain_call(call) and not _OPERATED.search(text[:begin])
        example = _after_call(call, text[end:], only_marks=doctest_line) if known else None
        if example is not None and (doctest_line or not is_complaint(text[:begin], text[end:])):
            yield example
        begin, end = call_at(text, wanted, end)


def _header_of(line: str, before: list[str]) -> list[str]:
    """The cells of the first row of the table that the line is in; none outside of tables."""
    if not line.lstrip().startswith("|"):
        return []
    return before or [cell.strip(" `*").lower() for cell in line.strip().strip("|").split("|")]


def _with_parts(text: str, end: int) -> int:
    """Where what is asked of the call's value ends: `Square(2).area()`, `f(1)[0]`."""
    while True:
        part = _PART.match(text, end)
        if part is not None:
            end = part.end()
        elif end and text[end : end + 1] in ("(", "[") and closing_at(text[end:]):
            end += closing_at(text[end:])
        else:
            return end


def _as_code(text: str, wanted: str) -> list[Example] | None:
    """What a line that is Python says, `assert len(f(1)) == 2` or `2 == f(1)`; None where it is no such line."""
    source = _BULLET.sub("", text).strip().rstrip(".;")
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    node = body[0] if len(body) == 1 else None
    tree = node.test if isinstance(node, ast.Assert) else node.value if isinstance(node, ast.Expr) else None
    if not isinstance(tree, ast.Compare) or not isinstance(node, ast.Assert | ast.Expr):
        return None
    match tree:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            sides = [(left, right), (right, left)]
        case _:
            return []
    if "#" in source and is_complaint("", source.partition("#")[2]):
        return []
    return [
        Example(ast.get_source_segment(source, asked) or "", ast.get_source_segment(source, value) or "")
        for asked, value in sides
        if is_value(ast.unparse(value)) and _is_about(asked, wanted)
    ]


def _is_about(node: ast.expr, wanted: str) -> bool:
    """Asks for nothing but `wanted` and what everybody knows."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return wanted in names and all(name == wanted or name in _KNOWN for name in names)


def _after_call(call: str, rest: str, *, only_marks: bool) -> Example | None:
    raised = RAISES.match(rest)
    if raised is not None:
        name = raised[1].rstrip(".")
        return Example(call, raises=name) if "." not in name else None
    gives = GIVES.match(rest)
    if gives is None:
        value, after = literal_at(rest) if only_marks else ("", "")  # `>>> f(1) [2]`: the mark was forgotten
        return Example(call, value) if value and not after.strip() else None
    if only_marks and gives[0].strip() == "==":
        return None  # read as a doctest already
    value, _ = literal_at(rest[gives.end() :])
    if value:
        return Example(call, value)
    error = _ERROR.match(rest[gives.end() :])
    return Example(call, raises=error[1]) if error is not None else None


def is_plain_call(call: str) -> bool:
    """Its arguments are values: `f(n)` in a sentence is no example."""
    tree = expression(call)
    if not isinstance(tree, ast.Call | ast.Attribute | ast.Subscript):
        return False
    while isinstance(tree, ast.Call | ast.Attribute | ast.Subscript):
        arguments: list[ast.expr] = []
        if isinstance(tree, ast.Call):
            arguments = [*tree.args, *(keyword.value for keyword in tree.keywords)]
        elif isinstance(tree, ast.Subscript):
            arguments = [tree.slice]
        if not all(_is_plain(argument) for argument in arguments):
            return False
        tree = tree.func if isinstance(tree, ast.Call) else tree.value
    return isinstance(tree, ast.Name)


def _is_plain(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):  # of something made on the spot, such as date(2024, 1, 1)
        return isinstance(node.func, ast.Name | ast.Attribute) and all(_is_plain(one) for one in node.args)
    return is_value(ast.unparse(node)) or _is_calculated(node)


def _is_calculated(node: ast.expr) -> bool:
    """`10 ** 3`, `"a" * 100`, `list(range(3))`: only values and operators."""
    return isinstance(node, ast.BinOp | ast.UnaryOp) and not any(isinstance(one, ast.Name) for one in ast.walk(node))
