"""A model's text becomes a value of the type asked for, or a sentence the model can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from vwt_agents.answers import BadAnswer, shape_of
from vwt_agents.code import Code


class Plan(BaseModel):
    steps: list[str]


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("returns", "text", "value"),
    [
        (str, "  hello \n", "hello"),
        (Code, "Here:\n```python\nx = 1\n```\nDone.", Code("x = 1\n", "python")),
        (Plan, '{"steps": ["a"]}', Plan(steps=["a"])),
        (Plan, '```json\n{"steps": []}\n```', Plan(steps=[])),
        (Point, '{"x": 3}', Point(3)),
        (list[int], "[1, 2]", [1, 2]),
        (Literal["yes", "no"], '"yes"', "yes"),
        (bool, "true", True),
    ],
)
def test_each_type_is_read(returns: Any, text: str, value: Any) -> None:
    assert shape_of(returns).parse(text) == value


def test_text_after_a_prefill_keeps_its_first_blank_because_it_may_be_an_indentation() -> None:
    assert shape_of(str).parse(" return 1\n", prefill="def f():\n   ") == " return 1\n"


def test_code_is_read_from_the_prefill_and_what_follows_it() -> None:
    assert shape_of(Code).parse("x = 1\n", prefill="```python\n") == Code("x = 1\n", "python")


def test_only_json_types_are_bound_by_a_schema_and_say_so() -> None:
    assert shape_of(str).schema is None
    assert shape_of(Code).schema is None
    schema = shape_of(Plan).schema
    assert schema is not None
    assert schema["properties"]["steps"]["type"] == "array"
    assert "schema" in shape_of(Plan).instruction
    assert shape_of(str).instruction == ""


@pytest.mark.parametrize(
    ("returns", "text", "words"),
    [(Plan, '{"steps": 3}', "steps: "), (Plan, "no json", "Invalid JSON"), (Code, "no block", "one fenced code block")],
)
def test_what_does_not_fit_is_told_in_words_for_the_model(returns: Any, text: str, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        shape_of(returns).parse(text)
