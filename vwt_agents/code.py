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

__all__ = ["Block", "Code", "NoCodeError", "extract_code", "fenced_blocks"]

_OPENING: Final = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)")


@dataclass(frozen=True, slots=True)
class Code:
    """Source code, ending in a newline, and the language its fence named (may be empty). As text it is the source alone."""

    text: str
    language: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its text, the words behind its opening fence, the last line with text above it."""

    text: str
    info: str = ""
    above: str = ""

    @property
    def language(self) -> str:
        """The first word behind the fence, in small letters; may be empty."""
        return self.info.split()[0].lower() if self.info else ""


class NoCodeError(ValueError):
    """The text holds no code; the message is a sentence for whoever wrote the text."""


def extract_code(text: str) -> Code:
    """The fenced block in the text; NoCodeError when there is none, or only empty ones.

    Of several it is the longest, because models like to add how to install and call what they wrote.
    """
    blocks = list(fenced_blocks(text))
    filled = [block for block in blocks if block.text.strip()]
    if filled:
        longest = max(filled, key=lambda block: len(block.text))
        return Code(longest.text, longest.language)
    raise NoCodeError("The fenced code block is empty." if blocks else "There is no fenced code block.")


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text, in order."""
    # Not splitlines: a form feed or a Unicode line separator inside a string is no end of a line of code.
    lines = (line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    above = ""
    for line in lines:
        opening = _OPENING.fullmatch(line)
        if opening is None:
            above = line.strip() or above
            continue
        fence = opening["fence"]
        closing = re.compile(rf" {{0,3}}{fence[0]}{{{len(fence)},}}[ \t]*")
        body: list[str] = []
        for inner in lines:
            if closing.fullmatch(inner):
                break
            body.append(inner)
        yield Block("\n".join(body) + "\n", opening["info"].strip(), above)
        above = ""
