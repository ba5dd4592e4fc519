"""Examples as rows of a Markdown table: a column for each parameter and one for the result. The header says which is which."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vwt_agents.examples.complaints import is_of_now
from vwt_agents.examples.example import Example
from vwt_agents.examples.literals import is_value, literal_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["tables"]

_RESULTS: Final = re.compile(
    r"(?:expected|wanted|correct)?\s*(?:results?|outputs?|returns?|returned|value|answer|gives)?(?:\s+value)?"
)
_RULE: Final = re.compile(r"[\s|:-]+")


def tables(lines: Sequence[str], wanted: str, parameters: Sequence[str]) -> Iterator[Example]:
    """The rows whose header leaves no doubt which cell is which input and which the result."""
    places: tuple[list[int], int] | None = None
    inside = False
    for line in lines:
        if not line.lstrip().startswith("|"):
            inside = False
            continue
        cells = [cell.strip().strip("`").strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not inside:
            inside, width = True, len(cells)
            places = _places([cell.strip("*_ ").lower() for cell in cells], [name.lower() for name in parameters])
        elif places is not None and len(cells) == width and not _RULE.fullmatch(line):
            example = _row([cells[at] for at in places[0]], cells[places[1]], wanted)
            if example is not None:
                yield example


def _places(header: list[str], parameters: list[str]) -> tuple[list[int], int] | None:
    """Where the inputs are, in the order of the parameters, and where the result is; None where the header leaves that open."""
    if not parameters or len(set(header)) < len(header):
        return None
    named = all(name in header for name in parameters)
    results = [at for at, name in enumerate(header) if name and _RESULTS.fullmatch(name) and name not in parameters]
    others = [at for at, name in enumerate(header) if name not in parameters]
    if not results and len(header) == len(parameters) + 1:
        results = others if named else [len(header) - 1]
    if len(results) != 1 or is_of_now(header[results[0]]):
        return None
    if named:
        return [header.index(name) for name in parameters], results[0]
    unknown = not any(name in parameters for name in header)
    last = results[0] == len(header) - 1 and len(header) == len(parameters) + 1
    return (list(range(len(parameters))), results[0]) if unknown and last else None


def _row(inputs: Sequence[str], result: str, wanted: str) -> Example | None:
    if not all(is_value(cell) for cell in inputs):
        return None
    call = f"{wanted}({', '.join(inputs)})"
    raised = re.fullmatch(r"(?:raises\s+)?([A-Z]\w*(?:Error|Exception))", result)
    if raised is not None:
        return Example(call, raises=raised[1])
    value, rest = literal_at(result)
    return Example(call, value) if value and not rest.strip() else None
