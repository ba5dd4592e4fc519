"""The ways people write examples, each read by a function of its own.

- doctests: `>>> f(1)` and the value below, with the statements before it; also `>>> f(1) == 2` and `>>> f(1) => 2`
- arrows and words: `f(1) => 2`, `f(1) -> 2`, `f(1) == 2`, `f(1) = 2`, `f(1) returns 2`, `f(0) raises ValueError`
- named inputs: `For s = "ab", n = 2 the result should be "b"`, `Input: s = "ab", n = 2` above `Output: "b"`
- Markdown tables: `| f(1) | 2 |`, or a column for each parameter and a last one for the result
"""

from __future__ import annotations

import ast
import doctest
import re
from typing import TYPE_CHECKING, Final

from vwt_agents.examples.complaints import GIVES, RAISES, is_complaint
from vwt_agents.examples.example import Example
from vwt_agents.examples.literals import call_at, is_value, literal_at
from vwt_agents.examples.wanted import find_signature, function_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["find_examples"]

_ERROR: Final = re.compile(r"\s*([A-Z]\w*(?:Error|Exception))\b")
_BINDING: Final = re.compile(r"[\s,;&`*-]*(?:and\s+)?`?([A-Za-z_]\w*)`?\s*[=:]\s*")
_SHOULD_BE: Final = re.compile(r".*?\b(?:should\s+(?:be|return|give)|is|returns?|gives?|=>|->)\s*[:`]?\s*")
_FOR: Final = re.compile(r"^\s*[-*+]?\s*(?:for|given|if|when|with)\s+", re.IGNORECASE)
_INPUT: Final = re.compile(r"^[\s>*_-]*inputs?\s*(?:\d+\s*)?[*_]*\s*[:=][*_]*\s*", re.IGNORECASE)
_OUTPUT: Final = re.compile(
    r"^[\s>*_-]*(?:outputs?|returns?|results?|expected)\s*(?:\d+\s*)?[*_]*\s*[:=][*_]*\s*", re.IGNORECASE
)
_CLOSING: Final = re.compile(r"(?:\"{3}|'{3}|```\w*)\s*$")
_MOST_INPUT_LINES: Final = 12


def find_examples(task: str, *names: str) -> tuple[Example, ...]:
    """The examples in the task that are about one of `names` (by default what it asks for), in order, each once."""
    lines = task.splitlines()
    found: dict[Example, None] = {}
    for name in names or function_names(task):
        parameters = _parameters(task, name)
        for example in (
            *_doctests(task, name),
            *_calls(lines, name),
            *_named_inputs(lines, name, parameters),
            *_input_blocks(lines, name, parameters),
            *_tables(lines, name, parameters),
        ):
            found.setdefault(example)
    return tuple(found)


# -- doctests ---------------------------------------------------------------------------------------------------------


def _doctests(task: str, wanted: str) -> Iterator[Example]:
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
    call = _expression(source)
    about = any(_mentions(text, wanted) for text in (source, *setup))
    if not about or (call is None and not one.exc_msg):
        return None
    if one.exc_msg:
        name = one.exc_msg.partition(":")[0].strip()
        return Example(source, raises=name, setup=setup) if name.replace(".", "").isidentifier() else None
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
    want = want.replace("\n", " ") if is_value(want.replace("\n", " ")) else want
    value, _ = literal_at(want) if "\n" not in want else ("", "")
    if value:
        return Example(text, value, setup=setup)
    return Example(text, want, setup=setup, shown=True) if _expression(want) is not None and "..." not in want else None


def _expression(source: str) -> ast.expr | None:
    try:
        return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _is_comparison(source: str) -> bool:
    return isinstance(_expression(source), ast.Compare)


def _is_statement(source: str) -> bool:
    return _expression(source) is None and _parses(source)


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _mentions(source: str, wanted: str) -> bool:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.Name) and node.id == wanted for node in ast.walk(tree))


# -- calls in lines -----------------------------------------------------------------------------------------------------


def _calls(lines: Sequence[str], wanted: str) -> Iterator[Example]:
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
    for line in lines:
        if line.lstrip().startswith(("def ", "async def ")):
            continue
        doctest_line = line.lstrip().startswith(">>>")
        text = line.replace("`", "")
        cells = text.strip().strip("|").split("|")
        if text.lstrip().startswith("|") and len(cells) == 2:
            text = " => ".join(cells)
        begin, end = call_at(text, wanted)
        while begin >= 0:
            call = text[begin:end]
            example = _after_call(call, text[end:], only_marks=doctest_line) if _is_plain_call(call) else None
            if example is not None and (doctest_line or not is_complaint(text[:begin], text[end:])):
                yield example
            begin, end = call_at(text, wanted, end)


def _after_call(call: str, rest: str, *, only_marks: bool) -> Example | None:
    raised = RAISES.match(rest)
    if raised is not None:
        return Example(call, raises=raised[1].rstrip("."))
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


def _is_plain_call(call: str) -> bool:
    """Its arguments are values: `f(n)` in a sentence is no example."""
    tree = _expression(call)
    if not isinstance(tree, ast.Call):
        return False
    arguments = [*tree.args, *(keyword.value for keyword in tree.keywords)]
    return all(_is_plain(argument) for argument in arguments)


def _is_plain(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):  # of something made on the spot, such as date(2024, 1, 1)
        return isinstance(node.func, ast.Name | ast.Attribute) and all(_is_plain(one) for one in node.args)
    return is_value(ast.unparse(node)) or _is_calculated(node)


def _is_calculated(node: ast.expr) -> bool:
    """`10 ** 3`, `"a" * 100`, `list(range(3))`: only values and operators."""
    return isinstance(node, ast.BinOp | ast.UnaryOp) and not any(isinstance(one, ast.Name) for one in ast.walk(node))


# -- inputs by name -----------------------------------------------------------------------------------------------------


def _parameters(task: str, wanted: str) -> tuple[str, ...]:
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


def _named_inputs(lines: Sequence[str], wanted: str, parameters: Sequence[str]) -> Iterator[Example]:
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
        value, _ = literal_at(rest[last + len("should be") :] if last >= 0 else rest[should.end() :])
        if value:
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


def _input_blocks(lines: Sequence[str], wanted: str, parameters: Sequence[str]) -> Iterator[Example]:
    for index, line in enumerate(lines):
        start = _INPUT.match(line)
        if start is None:
            continue
        said = [line[start.end() :]]
        for later in lines[index + 1 : index + _MOST_INPUT_LINES]:
            end = _OUTPUT.match(later)
            if end is not None:
                call = _call_of_text(wanted, parameters, said)
                value, _ = literal_at(later[end.end() :].replace("`", ""))
                if call and value:
                    yield Example(call, value)
                break
            if _INPUT.match(later):
                break
            said.append(later)


def _call_of_text(wanted: str, parameters: Sequence[str], said: Sequence[str]) -> str | None:
    text = " , ".join(part.strip() for part in said if part.strip()).replace("`", "")
    bound, rest = _bindings(text)
    if bound:
        return _call_of(wanted, parameters, bound, ()) if not rest.strip(" ,.;") else None
    tree = _expression(f"({text},)") if text else None
    if not isinstance(tree, ast.Tuple) or not is_value(ast.unparse(tree)):
        return None
    return _call_of(wanted, parameters, {}, [ast.get_source_segment(f"({text},)", one) or "" for one in tree.elts])


# -- tables ---------------------------------------------------------------------------------------------------------------


def _tables(lines: Sequence[str], wanted: str, parameters: Sequence[str]) -> Iterator[Example]:
    header: list[str] = []
    for line in lines:
        if not line.lstrip().startswith("|"):
            header = []
            continue
        cells = [cell.strip().strip("`").strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not header:
            header = [cell.lower() for cell in cells]
            continue
        example = _row(cells, header, wanted, parameters)
        if example is not None:
            yield example


def _row(cells: Sequence[str], header: Sequence[str], wanted: str, parameters: Sequence[str]) -> Example | None:
    inputs, result = cells[:-1], cells[-1]
    if len(cells) != len(header) or len(inputs) != len(parameters) or not all(is_value(cell) for cell in inputs):
        return None
    named = dict(zip(header, inputs, strict=False))
    ordered = [named.get(name.lower(), "") for name in parameters]
    call = f"{wanted}({', '.join(ordered if all(ordered) else inputs)})"
    raised = re.fullmatch(r"(?:raises\s+)?([A-Z]\w*(?:Error|Exception))", result)
    if raised is not None:
        return Example(call, raises=raised[1])
    value, rest = literal_at(result)
    return Example(call, value) if value and not rest else None
