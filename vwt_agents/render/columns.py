"""Aligned columns and wrapped lines. Owns how text is fitted to a terminal; without a width it is left as long as it is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["columns", "wrapped"]


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "", width: int | None = None) -> str:
    """Aligned columns under a head, a line for each row.

    Where that is wider than `width`, the columns that do not fit go on lines of their own below the row, each with its
    name; rows in a row that would say the same there say it once, below the last of them.
    """
    sizes = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    fit = _fitting(sizes, None if width is None else width - len(indent))
    lines = [_line(head[:fit], sizes, indent)]
    below = [_below(head[fit:], row[fit:], f"{indent}    ", width) for row in rows]
    for number, row in enumerate(rows):
        lines.append(_line(row[:fit], sizes, indent))
        if number + 1 == len(rows) or below[number] != below[number + 1]:
            lines += below[number]
    return "\n".join(lines)


def _fitting(sizes: Sequence[int], room: int | None) -> int:
    """How many columns fit side by side; the first always does."""
    taken = -2
    for count, size in enumerate(sizes):
        taken += size + 2
        if room is not None and taken > room:
            return max(1, count)
    return len(sizes)


def _line(cells: Sequence[str], sizes: Sequence[int], indent: str) -> str:
    return (indent + "  ".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=False))).rstrip()


def _below(names: Sequence[str], cells: Sequence[str], indent: str, width: int | None) -> list[str]:
    """The cells that had no room: short ones share a line, long ones are wrapped."""
    said = [f"{name}: {cell}" for name, cell in zip(names, cells, strict=True) if cell not in ("", "-")]
    return wrapped(";  ".join(said), width, indent=indent, hang="  ").splitlines() if said else []


def wrapped(text: str, width: int | None, *, indent: str = "", hang: str = "") -> str:
    """The text, each of its lines broken at blanks to fit `width`; what a line goes on with is indented by `hang` more."""
    if width is None:
        return textwrap.indent(text, indent, lambda _line: True)
    filler = textwrap.TextWrapper(
        width=max(width, len(indent + hang) + 20),
        initial_indent=indent,
        subsequent_indent=indent + hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(filler.fill(line) if line.strip() else "" for line in text.split("\n"))
