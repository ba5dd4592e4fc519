"""The difference of two sets of files as one patch that `git apply` takes. Pure.

Lines end at `\\n` and nowhere else, as git has it: a form feed or a Unicode line separator is part of its line.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["unified_patch"]


def unified_patch(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The patch from one to the other: files changed, new, and gone; empty where nothing differs."""
    parts: list[str] = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old != new:
            parts += _file(path, old, new)
    return "".join(parts)


def _file(path: str, old: str | None, new: str | None) -> Iterator[str]:
    yield f"diff --git {_quoted(f'a/{path}')} {_quoted(f'b/{path}')}\n"
    if old is None:
        yield "new file mode 100644\n"
    if new is None:
        yield "deleted file mode 100644\n"
    left, right = _lines(old or ""), _lines(new or "")
    if not left and not right:
        return  # an empty file: its mode line says it all
    yield f"--- {_name(f'a/{path}') if old is not None else '/dev/null'}\n"
    yield f"+++ {_name(f'b/{path}') if new is not None else '/dev/null'}\n"
    for group in difflib.SequenceMatcher(None, left, right, autojunk=False).get_grouped_opcodes(3):
        yield from _hunk(group, left, right)


def _hunk(group: Sequence[tuple[str, int, int, int, int]], left: list[str], right: list[str]) -> Iterator[str]:
    first, last = group[0], group[-1]
    yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n"
    for tag, i1, i2, j1, j2 in group:
        if tag == "equal":
            yield from _marked(" ", left[i1:i2])
            continue
        yield from _marked("-", left[i1:i2])
        yield from _marked("+", right[j1:j2])


def _range(start: int, stop: int) -> str:
    length = stop - start
    return str(start + 1) if length == 1 else f"{start + 1 if length else start},{length}"


def _marked(mark: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _name(path: str) -> str:
    quoted = _quoted(path)
    return f"{path}\t" if quoted == path and " " in path else quoted  # else what follows the blank reads as a date


def _quoted(path: str) -> str:
    """The path as git writes it: in C quotes where it holds a control character, a quote or a backslash."""
    if not any(one in '"\\' or ord(one) < 0x20 or ord(one) == 0x7F for one in path):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if 0x20 <= ord(one) != 0x7F else f"\\{ord(one):03o}" for one in escaped) + '"'
