"""A workspace as text for a prompt, within a budget of tokens. Pure; the same workspace and order give the same bytes.

What matters most is shown whole, what does not fit as an outline (signatures and first lines of docstrings), the rest by name.
Files stand in the order of their paths, whatever their rank: prompts of one run then begin with the same text.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from vwt_agents.workspace.splice import first_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from vwt_agents.workspace.tree import Workspace

__all__ = ["outline", "shown", "tokens_of"]

_CHARACTERS: Final = 3.0  # of a token, in code; models' tokenizers were seen between 3.0 and 4.1


def tokens_of(text: str) -> int:
    """About how many tokens a text is, rather too many than too few."""
    return int(len(text) / _CHARACTERS) + 1


def shown(workspace: Workspace, order: Sequence[str], *, budget: int, keep: Collection[str] = ()) -> str:
    """The files in `order`, the first the most important, in at most `budget` tokens.

    `keep` names functions that stay whole in an outline: those the task is about.
    """
    chosen: dict[str, str] = {}
    left = budget - tokens_of(_listing(list(order)))
    for path in order:
        text = workspace.files[path]
        for form in (_fenced(path, text), _fenced(path, outline(text, keep=keep)), _fenced(path, outline(text))):
            if tokens_of(form) <= left:
                chosen[path] = form
                left -= tokens_of(form)
                break
    rest = [path for path in sorted(order) if path not in chosen]
    parts = [chosen[path] for path in sorted(chosen)]
    return "\n\n".join([*parts, _listing(rest)] if rest and left >= 0 else parts)


def _listing(paths: list[str]) -> str:
    return "Other files: " + ", ".join(f"`{path}`" for path in paths[:40]) + (", ..." if len(paths) > 40 else "")


def _fenced(path: str, text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"`{path}`:\n{fence}{'python' if path.endswith('.py') else ''}\n{text.strip(chr(10))}\n{fence}"


def outline(text: str, *, keep: Collection[str] = ()) -> str:
    """A module without the bodies of its functions, but for those named in `keep`; as it is where it does not parse."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    return "\n".join(_outlined(tree.body, text.splitlines(), keep)) + "\n"


def _outlined(body: Sequence[ast.stmt], lines: list[str], keep: Collection[str]) -> Iterator[str]:
    for node in body:
        start = first_line(node) - 1
        if isinstance(node, ast.ClassDef):
            yield from lines[start : node.body[0].lineno - 1] or [lines[start]]
            yield from _outlined(node.body, lines, keep)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in keep:
            yield from _signature(node, lines[start : node.end_lineno])
        else:
            yield from lines[start : node.end_lineno]


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> Iterator[str]:
    """The head of a function, the first line of its docstring, and dots for the rest; a one-liner stays."""
    if len(lines) <= 2:
        yield from lines
        return
    first = node.body[0]
    head = len(lines) - ((node.end_lineno or 0) - first.lineno) - 1
    indent = " " * first.col_offset
    yield from lines[:head]
    doc = ast.get_docstring(node)
    if doc:
        yield f'{indent}"""{doc.partition(chr(10))[0]}"""'
    yield f"{indent}..."
