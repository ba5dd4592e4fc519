"""Code: the answer type for source code, and how it is read from a model's text. Pure; knows no model and no agent.

Code travels as one fenced block, never inside JSON. Fences are read as CommonMark has them, so a block that was cut off
runs to the end of the text and an indented fence inside a docstring closes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Code", "NoCodeError", "extract_code"]

_OPENING: Final = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)")


@dataclass(frozen=True, slots=True)
class Code:
    """Source code, ending in a newline, and the language its fence named (may be empty). As text it is the source alone."""

    text: str
    language: str = ""

    def __str__(self) -> str:
        return self.text


class NoCodeError(ValueError):
    """The text holds no code; the message is a sentence for whoever wrote the text."""


def extract_code(text: str) -> Code:
    """The fenced block in the text; NoCodeError when there is none, or only empty ones.

    Of several it is the longest, because models like to add how to install and call what they wrote.
    """
    blocks = list(_blocks(text))
    filled = [block for block in blocks if block.text.strip()]
    if filled:
        return max(filled, key=lambda block: len(block.text))
    raise NoCodeError("The fenced code block is empty." if blocks else "There is no fenced code block.")


def _blocks(text: str) -> Iterator[Code]:
    lines = iter(text.splitlines())
    for line in lines:
        opening = _OPENING.fullmatch(line)
        if opening is None:
            continue
        fence = opening["fence"]
        closing = re.compile(rf" {{0,3}}{fence[0]}{{{len(fence)},}}[ \t]*")
        body: list[str] = []
        for inner in lines:
            if closing.fullmatch(inner):
                break
            body.append(inner)
        language = opening["info"].split()[0].lower() if opening["info"].strip() else ""
        yield Code("\n".join(body) + "\n", language)
