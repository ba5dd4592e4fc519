"""Values that look like one that a test compares an object with: asked which of them it equals, it cannot tell which is meant.

Runs in the tests' sandbox. The same value always hides among the same others, so that asking twice tells no more.
"""

from __future__ import annotations

import os
import random
from typing import Any, Final

__all__ = ["among_decoys"]

_SECRET: Final = os.urandom(16).hex()
_MANY: Final = 7
_FAR: Final = 40


def among_decoys(value: Any) -> tuple[list[Any], int]:
    """The value between others of its type, and where it is. None of the others is near enough to be taken for it."""
    chance = random.Random(f"{_SECRET} {type(value).__name__} {value!r}")  # noqa: S311 - the secret is what cannot be guessed
    others = [*_others(value, chance), f"{chance.getrandbits(48):x}"]
    at = chance.randrange(len(others) + 1)
    return [*others[:at], value, *others[at:]], at


def _others(value: Any, chance: random.Random) -> list[Any]:
    kind = type(value)
    if kind is bool:
        return [not value]
    if kind in (int, float, complex):
        steps = chance.sample([step for step in range(-_FAR, _FAR) if step], _MANY)
        return [value + step for step in steps]
    if kind is str:
        return [_changed(value, chance) for _ in range(_MANY)]
    if kind in (list, tuple):
        return [kind((*value, step)) for step in chance.sample(range(_FAR), 2)]
    return []


def _changed(text: str, chance: random.Random) -> str:
    """Another text of its length: each letter and digit may be another one, and one of them is."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    places = [at for at, one in enumerate(text) if one.isalnum()]
    if not places:
        return f"{text}{chance.choice(letters)}"
    chosen = {at for at in places if chance.random() < 0.5} | {chance.choice(places)}
    return "".join(_other_sign(one, chance, letters) if at in chosen else one for at, one in enumerate(text))


def _other_sign(sign: str, chance: random.Random, letters: str) -> str:
    pool = "0123456789" if sign.isdigit() else letters
    return chance.choice([one for one in pool if one != sign.lower()])
