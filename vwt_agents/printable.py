"""Text of models and of their programs, as a terminal may show it: it obeys none of it. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["printable", "printable_json"]

_OBEYED: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a\u202b\u202d\u202e\u2066-\u2068]")
"""Control characters but newline and tab, and those that turn the direction of what follows."""


def printable(text: str) -> str:
    """The text with every character written out that a terminal would obey."""
    return _OBEYED.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def printable_json(text: str) -> str:
    """JSON that means the same, with such characters as the escapes that JSON has for them."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
