"""A stage's value comes back from its JSON as what it was, or not at all."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from vwt_agents import Code, TestCase, TestSuite, Verdict
from vwt_agents.stored import Unreadable, read_value, why_unreadable
from vwt_agents.values import encode


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Leaf:
    name: str
    size: float | None = None


@dataclass(frozen=True)
class More(Leaf):
    extra: int = 0


class Model(BaseModel):
    leaf: Leaf
    kind: Literal["a", 1]


class Named(NamedTuple):
    one: int
    two: str


class Anything(Protocol):
    name: str


VERDICT = Verdict(passed=True, reason="all passed", tests_run=1, tests_passed=1, tests_failed=0)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (None, None),
        ("text", str),
        (b"\xff\x00", bytes),
        ({1: "a"}, dict[int, str]),
        ((1, "a"), tuple[int, str]),
        ((1, 2), tuple[int, ...]),
        ({3}, set[int]),
        ([Leaf("a", 1.5), Leaf("b")], list[Leaf]),
        (Model(leaf=Leaf("a"), kind=1), Model),
        (Named(1, "a"), Named),
        (Colour.RED, Colour),
        (Path("a/b"), Path),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime),
        (math.inf, float),
        (1, int | str),
        ("1", int | str),
        (None, Leaf | None),
        (Code("x = 1\n", "python"), Code),
        (TestSuite("mod", (TestCase("test_a", "def test_a(): pass"),)), TestSuite),
        (VERDICT, Verdict),
    ],
)
def test_a_value_of_a_type_that_says_what_it_is_comes_back(value: Any, annotation: Any) -> None:
    back = read_value(encode(value), annotation)
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(
    "annotation",
    [Any, object, list, dict, list[Any], dict[str, Any], Leaf | More, Path | str, Anything, OrderedDict, list[object]],
)
def test_a_type_whose_values_json_cannot_tell_apart_is_not_guessed(annotation: Any) -> None:
    assert why_unreadable(annotation)
    with pytest.raises(Unreadable):
        read_value("{}", annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (More("a", None, 3), Leaf),
        (1, float),
        ("text", int),
        ({"name": "a", "size": None, "gone": 1}, Leaf),
        ([1], list[str]),
    ],
)
def test_what_was_kept_as_another_type_is_not_read(value: Any, annotation: Any) -> None:
    with pytest.raises(Unreadable, match="what was kept"):
        read_value(encode(value), annotation)


def test_a_class_of_which_pydantic_knows_nothing_is_not_read() -> None:
    class Plain: ...

    assert "Plain" in (why_unreadable(Plain) or "")


@given(st.recursive(st.text() | st.integers() | st.none() | st.booleans(), lambda of: st.lists(of)))
def test_read_values_encode_to_what_was_read(value: Any) -> None:
    kinds = str | int | bool | None
    try:
        back = read_value(encode(value), kinds)
    except Unreadable:
        assert isinstance(value, list)
    else:
        assert (back, type(back)) == (value, type(value))
