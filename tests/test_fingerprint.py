"""A stage's fingerprint is another as soon as the stage, or what it uses of its own file, would do otherwise."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from vwt_agents.graph import fingerprint

HELPED = """
from __future__ import annotations
import re
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial, wraps
import helped_sub as sub
from pydantic import BaseModel, Field

LIMIT, WORDS, PATTERN = 3, {"a", "b", "c"}, re.compile("x+")

def deepest(x): return x + 1
def deep(x, by=2): return deepest(x) * by
@cache
def cached(x): return x - 1
halved = partial(divmod, 2)

class Base:
    def shown(self): return "shown"

@dataclass(frozen=True)
class Box(Base):
    size: int = 4
    def half(self): return self.size // 2

class Asked(BaseModel):
    text: str = Field(max_length=9)

BOX = Box(5)

class Kind(Enum):
    ONE = 1
    TWO = 2

class Sized:
    @property
    def size(self): return 7

def wrapped(func):
    @wraps(func)
    def around(*args): return func(*args)
    return around

@wrapped
def decorated(x): return x * 3

MORE = Kind.ONE, BOX.half, list[int], Sized, compile("1 + 1", "c", "eval")

def unused(): return "nothing"

async def stage(x, box: Box) -> Asked:
    inner = lambda y: deep(y)
    return [inner(x), cached(x), halved, LIMIT, WORDS, PATTERN, BOX, sub.used(x), x.gone(), *MORE, decorated(x)]
"""


def _helped(
    folder: Path, old: str = "", new: str = "", *, sub: str = "def used(x): return x\ndef other(x): return x"
) -> str:
    (folder / "helped_sub.py").write_text(sub)
    text = HELPED.replace(old, new) if old else HELPED
    module = types.ModuleType("helped")
    sys.modules[module.__name__] = module
    module.__file__ = str(folder / "pipeline.py")
    try:
        exec(compile(text, module.__file__, "exec"), vars(module))
        return fingerprint(module.stage, types=(module.Box, module.Asked))
    finally:
        del sys.modules[module.__name__], sys.modules["helped_sub"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + 1", "return x + 2"),
        ("by=2", "by=3"),
        ("Kind.ONE, BOX", "Kind.TWO, BOX"),
        ("BOX.half, list", "BOX.shown, list"),
        ("list[int]", "list[str]"),
        ("return 7", "return 8"),
        ('"1 + 1"', '"1 + 2"'),
        ("return x * 3", "return x * 4"),
        ("def around(*args): return func(*args)", "def around(*args): return func(*args) or 1"),
        ("return x - 1", "return x - 2"),
        ("partial(divmod, 2)", "partial(divmod, 3)"),
        ("LIMIT, WORDS, PATTERN = 3", "LIMIT, WORDS, PATTERN = 4"),
        ('"a", "b", "c"', '"a", "b", "d"'),
        ('"x+"', '"x*"'),
        ('return "shown"', 'return "hidden"'),
        ("self.size // 2", "self.size // 3"),
        ("size: int", "size: float"),
        ("Box(5)", "Box(6)"),
        ("max_length=9", "max_length=8"),
    ],
)
def test_a_fingerprint_follows_what_the_stage_uses_of_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert _helped(tmp_path, old, new) != _helped(tmp_path)


def test_a_fingerprint_leaves_out_what_the_stage_does_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    same = _helped(tmp_path)
    assert _helped(tmp_path, 'return "nothing"', 'return "something"') == same
    assert _helped(tmp_path, sub="def other(x): return 3\ndef used(x): return x") == same
    assert _helped(tmp_path, sub="def used(x): return 3\ndef other(x): return x") != same


def test_a_fingerprint_of_functions_that_call_each_other_ends() -> None:
    scope: dict[str, Any] = {}
    exec("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)", scope)
    assert fingerprint(scope["even"]) != fingerprint(scope["odd"])


def test_a_name_that_has_no_value_yet_is_part_of_what_a_stage_is() -> None:
    def marks() -> tuple[str, str]:
        def stage() -> int:
            return later

        before = fingerprint(stage)
        later = 1
        return before, fingerprint(stage)

    before, after = marks()
    assert before != after
