"""Examples in a task are read as their author wrote them, or not at all."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.examples import Example, find_examples, find_signature, function_name


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("Write `slugify(text: str) -> str`, which ...", "slugify"),
        ("def add(a, b):\n    ...", "add"),
        (">>> area(2)\n4", "area"),
        ("Write word_count(text: str) -> dict[str, int]: how often ...", "word_count"),
        ("Write something nice.", None),
    ],
)
def test_the_function_a_task_asks_for_is_found(task: str, name: str | None) -> None:
    assert function_name(task) == name


@pytest.mark.parametrize(
    ("task", "signature"),
    [
        ("Write `slugify(text: str) -> str`.", "def slugify(text: str) -> str:"),
        ("Write `f(a, b=2)`.", "def f(a, b=2):"),
        ("```\ndef g(x: int) -> int\n```", "def g(x: int) -> int:"),
        ("Write word_count(text: str) -> dict[str, int]: how often", "def word_count(text: str) -> dict[str, int]:"),
        ("call `f(1, 2)` please", None),
        ("nothing here", None),
    ],
)
def test_a_signature_is_taken_from_the_task_only_where_it_is_one(task: str, signature: str | None) -> None:
    assert find_signature(task) == signature


@pytest.mark.parametrize(
    "line", ["f(1) => 2", "f(1) -> 2", "f(1) == 2", "f(1) → 2", "- `f(1)` returns `2`", "| f(1) | 2 |"]
)
def test_every_way_of_writing_an_example_is_read(line: str) -> None:
    assert find_examples(f"Write `f(x)`.\n{line}\n") == (Example("f(1)", "2"),)


def test_a_doctest_gives_the_value_below_it_and_the_error_of_a_traceback() -> None:
    task = ">>> f(1)\n'a'\n>>> f(0)\nTraceback (most recent call last):\n    ...\nValueError: no\n"
    assert find_examples(task) == (Example("f(1)", "'a'"), Example("f(0)", raises="ValueError"))


def test_raises_is_read_in_lines_and_tables() -> None:
    task = "`f(x)`\nf(0) raises ValueError\nf(1) raises a TypeError.\n| f(2) | raises KeyError |\n"
    assert [str(example) for example in find_examples(task)] == [
        "f(0) raises ValueError",
        "f(1) raises TypeError",
        "f(2) raises KeyError",
    ]


def test_words_after_the_value_do_not_belong_to_it() -> None:
    assert find_examples("`f(x)`\nf(1) => [1, 2] (sorted), as usual\n")[0].expected == "[1, 2]"


def test_an_arrow_inside_a_string_of_the_call_is_no_arrow() -> None:
    assert find_examples('`f(x)`\nf("a => b") => "b"\n') == (Example('f("a => b")', '"b"'),)


def test_what_is_no_example_of_the_wanted_function_is_left_out() -> None:
    task = "`f(x)`\ng(1) => 2\nf(1) => some words\nf(1 => 2\n>>> f(3)\n\nf(x) == x\n"
    assert find_examples(task) == ()


def test_each_example_is_kept_once() -> None:
    assert len(find_examples("`f(x)`\nf(1) => 2\nf(1) == 2\n")) == 1


def test_an_example_becomes_a_test_that_holds_just_it() -> None:
    assert Example("f(1)", "2").as_test(1) == "def test_example_1():\n    assert f(1) == 2\n"
    assert "pytest.approx(0.5)" in Example("f(1)", "0.5").as_test(2)
    assert "== [0.5]" in Example("f(1)", "[0.5]").as_test(3)
    assert "with pytest.raises(ValueError):" in Example("f(1)", raises="ValueError").as_test(4)


@given(st.text(alphabet="f(1)=>-|`\"' \n,[]{}:#abc", max_size=80))
def test_no_text_breaks_the_reader_and_what_it_finds_is_python(text: str) -> None:
    for number, example in enumerate(find_examples(text, "f"), 1):
        ast.parse(example.as_test(number))
