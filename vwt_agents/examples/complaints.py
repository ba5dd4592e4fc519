"""What is said of a call: that it gives or raises something, and whether that is wanted or complained of."""

from __future__ import annotations

import re
from typing import Final

from vwt_agents.examples.literals import literal_at

__all__ = ["GIVES", "RAISES", "is_complaint", "is_of_now", "is_open"]

GIVES: Final = re.compile(
    r"""[\s`#]*(?:=+>|-+>|→|➞|⇒|⟹|==+|=(?!=)
        |(?:should\s+|must\s+|will\s+)?(?:(?:be|is)\s+equal\s+to|be|is|returns?|gives?|yields?|outputs?|equals?|evaluates\s+to)
         (?:\s+be)?\b:?)[\s`]*""",
    re.VERBOSE,
)
RAISES: Final = re.compile(
    r"[\s`#]*(?:=+>|->|→)?[\s`]*(?:should\s+|must\s+)?(?:raises?|throws?)\s+(?:an?\s+)?`?([A-Za-z_][\w.]*)"
)
# What says that a call does this now, and is not meant to: nothing that follows from it may be held against an answer.
_COMPLAINT: Final = re.compile(
    r"(?:^\W*bug|\b(?:currently|presently|at\s+the\s+moment|right\s+now|actual|wrongly|incorrectly|used\s+to|previously|got))\b"
    r"[^.;]*$",
    re.IGNORECASE,
)
_NOW: Final = re.compile(
    r"\b(?:actual|current|currently|wrong|now|before|old|got|bug|buggy|incorrect|today)\b", re.IGNORECASE
)
_DENIED: Final = re.compile(r"\b(?:never|not|nor|instead\s+of|rather\s+than)\s*$", re.IGNORECASE)
_WANTED: Final = re.compile(r"\b(?:should|must|will)\b", re.IGNORECASE)
_INSTEAD: Final = re.compile(
    r"""\W*(?:instead\b|rather\s+than\b|in\s+the\s+old\b|at\s+the\s+moment\b|currently\b|(?:right\s+)?now\b)
        |\W*(?:but|and|it|this|that|which)?\W*(?:it|this|that)?\s*(?:should|must|ought)\b
        |\W*(?:but|which|that|this|it)?\s*(?:is|'s|was|seems|looks)\s+(?:\w+\s+)?(?:wrong|incorrect|false|a\s+bug)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_OPEN: Final = re.compile(r"\s*(?:(?:or|to|through|if|when|unless|while)\b|(?:\.\.+|\u2013)\s)")
"""One of several values, or only sometimes: which one, or whether here, is not said."""


def is_complaint(before: str, after: str) -> bool:
    """Whether the text around a call tells what it does by mistake, or leaves open what it gives."""
    stated = RAISES.match(after) or GIVES.match(after)
    if _DENIED.search(before) or stated is None:
        return stated is not None
    raised = RAISES.match(after) is not None
    value, rest = ("", after[stated.end() :]) if raised else literal_at(after[stated.end() :])
    if value and _OPEN.match(rest):
        return True
    if _WANTED.search(stated[0]):
        return False
    return _COMPLAINT.search(before) is not None or _INSTEAD.match(rest) is not None


def is_open(rest: str) -> bool:
    """Whether the text after a value says that it is one of several, or the value only sometimes."""
    return _OPEN.match(rest) is not None


def is_of_now(heading: str) -> bool:
    """Whether the heading of a column says that it tells what is, not what is wanted."""
    return _NOW.search(heading) is not None
