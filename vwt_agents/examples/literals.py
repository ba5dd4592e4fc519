"""Python values and calls at the beginning of a piece of prose: what is read, and what is left of the line after it."""

from __future__ import annotations

import ast
import re
from typing import Final

__all__ = ["call_at", "closing_at", "expression", "is_value", "literal_at", "parses"]

_WORDS: Final = {"true": "True", "false": "False", "null": "None", "True": "True", "False": "False", "None": "None"}
_NUMBER: Final = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?j?")
_STRING: Final = re.compile(r"""[rRbBuU]{0,2}('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_EMPTY_SET: Final = re.compile(r"(?:frozen)?set\(\)")
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
_GOES_ON: Final = re.compile(r"\s*(?:[+*/%^<&|]|!(?!=)|[KMGT]i?B\b|-(?!>|\s+[A-Za-z])|,\s*[-\d'\"\[({])|\.?\w")
"""The value was only the beginning of something: of a calculation, a tuple without brackets, a size, a word."""
_THOUSANDS: Final = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?!\S)")
"""A number as people write it, which Python would read as a tuple."""


def literal_at(text: str) -> tuple[str, str]:
    """The Python value that `text` begins with, and the rest; two empty strings where it begins with none.

    `true`, `false` and `null` are read as people mean them. A value that goes on as a calculation (`1 + n`) is none.
    """
    text = text.lstrip()
    if _THOUSANDS.match(text):
        return "", ""
    whole = text.rstrip().rstrip(".;").rstrip()
    if whole and "#" not in whole and _is_whole(whole):
        return whole, ""
    span = _span(text)
    if not span:
        return "", ""
    found, rest = text[:span], text[span:]
    found = _WORDS.get(found, found)
    return (found, rest) if _is_whole(found) and not _GOES_ON.match(rest) else ("", "")


def _span(text: str) -> int:
    """How many characters the first value takes, as far as its form tells; 0 where none begins here."""
    if text[:1] in _CLOSING:
        return closing_at(text)
    for form in (_EMPTY_SET, _STRING, _NUMBER):
        match = form.match(text)
        if match is not None and match.end():
            return match.end()
    word = _WORD.match(text)
    return word.end() if word is not None and word[0] in _WORDS else 0


def closing_at(text: str) -> int:
    """The length of the bracket that `text` begins with, strings and inner brackets passed over; 0 where it stays open."""
    open_ones: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char in "'\"":
            string = _STRING.match(text, position)
            if string is None:
                return 0
            position = string.end()
            continue
        if char in _CLOSING:
            open_ones.append(_CLOSING[char])
        elif char in ")]}":
            if not open_ones or open_ones.pop() != char:
                return 0
            if not open_ones:
                return position + 1
        position += 1
    return 0


def call_at(text: str, name: str, start: int = 0) -> tuple[int, int]:
    """Where the next call of `name` in `text` begins and ends; (-1, -1) where there is none."""
    for match in re.finditer(rf"(?<![\w.]){re.escape(name)}\s*\(", text[start:]):
        begin, bracket = start + match.start(), start + match.end() - 1
        length = closing_at(text[bracket:])
        if length:
            return begin, bracket + length
    return -1, -1


def _is_whole(text: str) -> bool:
    """A value that says all it holds: `[1, 2, ...]` does not."""
    return is_value(text) and not ("..." in text and "Ellipsis" in repr(ast.literal_eval(text)))


def is_value(text: str) -> bool:
    """True for a literal, also of nested containers, sets and negative numbers."""
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text in {"set()", "frozenset()"}
    return True


def expression(source: str) -> ast.expr | None:
    """The text as a Python expression, or None."""
    try:
        return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def parses(source: str) -> bool:
    """True for a text that is Python."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
