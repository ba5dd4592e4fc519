"""Examples that give the inputs by name or place: `For n = 2 the result should be 4`, `Input: 2` and `Output: 4`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from vwt_agents.examples.calls import is_plain_call
from vwt_agents.examples.complaints import is_open
from vwt_agents.examples.example import Example
from vwt_agents.examples.literals import expression, is_value, literal_at
from vwt_agents.examples.wanted import find_signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["input_blocks", "named_inputs", "parameters_of"]

_BINDING: Final = re.compile(r"[\s,;&`*-]*(?:and\s+)?`?([A-Za-z_]\w*)`?\s*[=:]\s*")
_SHOULD_BE: Final = re.compile(r".*?\b(?:should\s+(?:be|return|give)|is|returns?|gives?|=>|->)\s*[:`]?\s*")
_FOR: Final = re.compile(r"^\s*[-*+]?\s*(?:for|given|if|when|with)\s+", re.IGNORECASE)
_INPUT: Final = re.compile(r"^[\s>*_-]*inputs?\s*(?:\d+\s*)?[*_]*\s*[:=][*_]*\s*", re.IGNORECASE)
_OUTPUT: Final = re.compile(
    r"^[\s>*_-]*(?:(?:expected\s+)?outputs?|returns?|results?|expected)\s*(?:\d+\s*)?[*_]*\s*[:=][*_]*\s*",
    re.IGNORECASE,
)
_BOTH: Final = re.compile(r"(.*?)(?:=>|->|→|\s)\s*((?:\*\*|__)?(?:expected\s+)?outputs?\b.*)$", re.IGNORECASE)
_MOST_INPUT_LINES: Final = 12


def parameters_of(task: str, wanted: str) -> tuple[str, ...]:
    """The names of the parameters of `wanted`, as the task gives its head; none where it gives none."""
    pattern = re.compile(rf"def\s+{re.escape(wanted)}\s*\(")
    match = pattern.search(task)
    head = find_signature(task[match.start() :] if match else task)
    if head is None:
        return ()
    function = ast.parse(f"{head}\n    pass").body[0]
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or function.name != wanted:
        return ()
    return tuple(
        argument.arg for argument in (*function.args.posonlyargs, *function.args.args) if argument.arg != "self"
    )


def named_inputs(lines: Sequence[str], wanted: str, parameters: Sequence[str]) -> Iterator[Example]:
    """`For s = "ab", n = 2 the result should be "b"`."""
    for line in lines:
        text = line.replace("`", "")
        start = _FOR.match(text)
        if start is None or not parameters:
            continue
        bound, rest = _bindings(text[start.end() :])
        call = _call_of(wanted, parameters, bound, ())
        should = _SHOULD_BE.match(rest) if call else None
        if call is None or should is None:
            continue
        last = rest.rfind("should be")  # `the sum will be 1 the output should be "1"`
        value, after = literal_at(rest[last + len("should be") :] if last >= 0 else rest[should.end() :])
        if value and not is_open(after):
            yield Example(call, value)


def _bindings(text: str) -> tuple[dict[str, str], str]:
    """`a = 1, b = "x" rest` as what is bound to which name, and the rest."""
    bound: dict[str, str] = {}
    while True:
        match = _BINDING.match(text)
        if match is None:
            return bound, text
        tail = text[match.end() :]
        value, rest = _first_value(tail)
        if not value:
            return bound, text
        bound[match[1]] = value
        text = rest


def _first_value(text: str) -> tuple[str, str]:
    """The first value alone, also where a comma and another one follow."""
    value, rest = literal_at(text)
    if value and (rest or not value.startswith("(") or text.lstrip().startswith("(")):
        return value, rest
    head, comma, tail = text.partition(",")
    value, rest = literal_at(head)
    return (value, rest + comma + tail) if value else ("", "")


def _call_of(wanted: str, parameters: Sequence[str], bound: dict[str, str], values: Sequence[str]) -> str | None:
    """The call with inputs by name; by position where the names are others but as many."""
    if parameters and set(bound) == set(parameters):
        return f"{wanted}({', '.join(bound[name] for name in parameters)})"
    positional = [*bound.values(), *values]
    if positional and len(positional) == len(parameters):
        return f"{wanted}({', '.join(positional)})"
    return None


def input_blocks(lines: Sequence[str], wanted: str, parameters: Sequence[str]) -> Iterator[Example]:
    """`Input: ...` and `Output: ...`, below each other or in one line."""
    lines = [part for line in lines for part in _pair(line)]
    for index, line in enumerate(lines):
        start = _INPUT.match(line)
        if start is None:
            continue
        said = [line[start.end() :]]
        for later in lines[index + 1 : index + _MOST_INPUT_LINES]:
            end = _OUTPUT.match(later)
            if end is not None:
                call = _call_of_text(wanted, parameters, said)
                value, rest = literal_at(later[end.end() :].replace("`", ""))
                if call and value and not is_open(rest):
                    yield Example(call, value)
                break
            if _INPUT.match(later):
                break
            said.append(later)


def _pair(line: str) -> list[str]:
    """`Input: 1, Output: 2` as two lines."""
    both = _BOTH.match(line) if _INPUT.match(line) else None
    return [both[1].rstrip(" ,;|*_"), both[2]] if both is not None else [line]


def _call_of_text(wanted: str, parameters: Sequence[str], said: Sequence[str]) -> str | None:
    text = " , ".join(part.strip() for part in said if part.strip()).replace("`", "")
    if is_plain_call(text) and text.startswith(f"{wanted}("):
        return text
    bound, rest = _bindings(text)
    if bound:
        return _call_of(wanted, parameters, bound, ()) if not rest.strip(" ,.;") else None
    tree = expression(f"({text},)") if text else None
    if not isinstance(tree, ast.Tuple) or not is_value(ast.unparse(tree)):
        return None
    return _call_of(wanted, parameters, {}, [ast.get_source_segment(f"({text},)", one) or "" for one in tree.elts])
