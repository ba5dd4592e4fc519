"""The name of what a prompt begins with: equal for prompts that begin with the same text. Knows no engine and no cache."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["prefix_name"]


def prefix_name(system: str, given: Sequence[str]) -> str:
    """Names the text a prompt begins with that others begin with too; empty where it begins with nothing shared.

    Calls with one name are served one after another, so that the engine finds in its cache what the last one left there.
    """
    return _mark((system, *(part.strip("\n") for part in given))) if given else _mark_of_system(system)


def _mark(shared: Sequence[str]) -> str:
    if not any(shared):
        return ""
    mark = hashlib.blake2b(digest_size=8)
    for part in shared:
        text = part.encode("utf-8", "surrogatepass")
        mark.update(b"%d:" % len(text))  # so that ("ab", "c") and ("a", "bc") differ
        mark.update(text)
    return mark.hexdigest()


@functools.lru_cache(maxsize=64)
def _mark_of_system(system: str) -> str:
    """An agent's calls that share no more than its instructions have one name, made once."""
    return _mark((system,))
