"""What a recording must not hold: keys, tokens, private keys, addresses, names of home folders. Pure.

Patterns find what looks like a secret. They cannot know a password that looks like a word: read a recording before you
commit it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["Redact", "redacted", "redactor"]

Redact: TypeAlias = Callable[[str], str]
"""Gives a text without what must not be in it. Called for what is recorded and for what is asked of the recording."""

# api_key = "...", DB_PASSWORD=..., "access_token": "...": what follows, if there is a digit in it
_NAMED: Final = (
    r"(?i)\b((?:[a-z0-9]+[_-])*(?:api[_-]?key|secret|token|passw(?:or)?d)(?:[_-][a-z0-9]+)*[\"']?\s*[:=]\s*[\"']?)"
)
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----", "<private key>"),
        (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}", "<token>"),  # a JSON web token
        (r"\b(?:sk|pk|rk)[-_](?:[\w]+-)*[A-Za-z0-9_]{20,}", "<key>"),
        (r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,})", "<token>"),
        (r"\b(?:xox[abposr]-[\w-]{10,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{50,})", "<token>"),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{35}", "<key>"),
        (r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9+/=._~-]{16,}", r"\1\2<token>"),
        (_NAMED + r"(?=[^\s\"',;(){}\[\]<>]*\d)[^\s\"',;(){}\[\]<>]{8,}", r"\1<secret>"),
        (r"(://[^/\s:@]+:)[^/\s:@]+(@)", r"\1<password>\2"),
        (r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b", "<email>"),
        (r"(/home/|/Users/|[A-Z]:\\Users\\)(?!<)[^/\\\s\"'<>:]+", r"\1<user>"),
    )
)


def redacted(text: str) -> str:
    """The text, with what looks like a secret, an address or the name of a home folder replaced; again, it stays the same."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redactor(own: Redact | None) -> Redact:
    """`redacted`, and after it what the user replaces."""
    return redacted if own is None else lambda text: own(redacted(text))
