"""The long texts of a report, each once: prompts, answers, values, diffs. Owns how long they may be and how they are packed."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.values import decode

if TYPE_CHECKING:
    from vwt_agents.entries import Entry

__all__ = ["Texts", "pack", "readable", "value_of"]

_LIMITS: Final = (40_000, 16_000, 8_000, 4_000, 2_000, 1_000, 500)
"""Characters of one text: the first limit under which all of them fit."""


class Texts:
    """Gives each text a number; the same text twice has one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, text: str) -> int:
        """The text's number, from 0 on."""
        return self._numbers.setdefault(text, len(self._numbers))

    def within(self, limit: int) -> list[str]:
        """All texts by number, longer ones without their middle, which says how much is missing."""
        return [_cut(text, limit) for text in self._numbers]


def readable(value: Any) -> str:
    """A value of JSON as people read it: text as it is, all else indented."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def value_of(stage: Entry) -> str:
    """What a stage gave, by its entry, as people read it."""
    payload = stage.payload if isinstance(stage.payload, str) else ""
    return readable(decode(payload or "null"))


def _cut(text: str, limit: int) -> str:
    # Half a surrogate pair, which a model may answer with, cannot stand in a page.
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    missing = len(text) - head - tail
    return f"{text[:head]}\n[… {missing} more characters; `runs show RUN --json` has them …]\n{text[-tail:]}"


def pack(texts: Texts, *, plain: int, most: int) -> tuple[str, bool]:
    """The texts as JSON, or deflated and in base64 where that is longer than `plain` characters; whether it is packed.

    Texts are shortened, the longest first, until no more than `most` characters come of it.
    """
    made, packed = "[]", False
    for limit in _LIMITS:
        made = json.dumps(texts.within(limit), ensure_ascii=False, separators=(",", ":"))
        packed = len(made) > plain
        if packed:
            made = base64.b64encode(zlib.compress(made.encode(), 9)).decode()
        if len(made) <= most:
            break
    return made, packed
