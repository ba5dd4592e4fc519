"""What a task asks for: the function's name, its signature, and the code the task gives to be completed."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vwt_agents.examples.literals import parses

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stub", "find_signature", "find_stub", "function_name", "function_names"]

_DEF: Final = re.compile(r"(?m)(?:^(?:[-*+]\s+)?|`)(?:async\s+)?def\s+([A-Za-z_]\w*)\s*\(")
_CLASS: Final = re.compile(r"\bclass\s+`?([A-Z]\w*)")
_BACKTICK_CALL: Final = re.compile(r"`([A-Za-z_]\w*)\s*\(([^`]*)\)\s*(->\s*[^`]+)?`")
_DOCTEST_CALL: Final = re.compile(r">>>\s*([A-Za-z_]\w*)\s*\(")
_PLAIN_SIGNATURE: Final = re.compile(r"\b([a-z_]\w*)\(([^()\n]*:[^()\n]*)\)\s*(->\s*[\w\[\], .|]+)?")
_FENCED: Final = re.compile(r"^```[\w+-]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stub:
    """Code the task gives to be completed: all of it up to where the body of `function` is missing, without a last newline."""

    function: str
    source: str


def function_name(task: str) -> str | None:
    """The name of the function or class the task asks for first; None when it names none.

    From the function a stub leaves open, a `def` or `class`, a call in backticks, or a doctest.
    """
    return next(iter(function_names(task)), None)


def function_names(task: str) -> tuple[str, ...]:
    """The names of all functions and classes the task asks for, in its order; see `function_name`.

    A class's methods are not among them, nor what stands ready above a stub.
    """
    stub = find_stub(task)
    if stub is not None:
        return (stub.function,)
    named = [match for pattern in (_CLASS, _DEF, _BACKTICK_CALL) for match in pattern.finditer(task)]
    of_class = any(match.re is _CLASS for match in named)  # then `push(item)` is a method of it
    heads = [match for match in named if match.re is not _BACKTICK_CALL or _is_head(match, typed=of_class)]
    for matches in (heads, named, list(_DOCTEST_CALL.finditer(task)), list(_PLAIN_SIGNATURE.finditer(task))):
        if matches:
            ordered = dict.fromkeys(match[1] for match in sorted(matches, key=lambda match: match.start()))
            return tuple(ordered) if matches is heads else tuple(ordered)[:1]
    return ()


def _is_head(match: re.Match[str], *, typed: bool) -> bool:
    """A signature rather than a call: `f(x)`, `f(x: int)`, `f() -> str`; with `typed`, not without types."""
    types = ":" in match[2] or match[3] is not None
    return types or (not typed and parses(f"def f({match[2]}): pass"))


def find_stub(task: str) -> Stub | None:
    """The code of the task, or of a fenced block in it, that ends with a function whose body is only a docstring.

    None where there is none: then the code has to be written from the task's words.
    """
    for source in _sources(task):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef) and _is_open(last):
            return Stub(last.name, source.rstrip())
    return None


def _sources(task: str) -> Iterator[str]:
    yield task
    for match in _FENCED.finditer(task):
        yield match[1]


def _is_open(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    only = function.body[0]
    return (
        len(function.body) == 1 and isinstance(only, ast.Expr) and isinstance(getattr(only.value, "value", None), str)
    )


def find_signature(task: str) -> str | None:
    """The `def ...:` line the task gives, or one made from a typed call in backticks; None when neither parses."""
    for line in task.splitlines():
        stripped = line.strip().strip("`")
        if stripped.startswith(("def ", "async def ")):
            head = stripped if stripped.endswith(":") else f"{stripped.rstrip('.')}:"
            if parses(f"{head}\n    pass"):
                return head
    for pattern in (_BACKTICK_CALL, _PLAIN_SIGNATURE):
        for match in pattern.finditer(task):
            head = f"def {match[1]}({match[2].strip()}){' ' + match[3].strip() if match[3] else ''}:"
            if parses(f"{head}\n    pass"):
                return head
    return None
