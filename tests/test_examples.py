"""Examples in a task are read as their author wrote them, or not at all."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.examples import Example, find_examples, find_signature, find_stub, function_name, function_names


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


@pytest.mark.parametrize(
    "line",
    [
        "f(1) ==> 2", "f(1) ➞ 2", "f(1) = 2", "assert f(1) == 2", "for f(1) == 2", "f(1) should return 2.", "f(1) must be 2",
        ">>> f(1) == 2", ">>> f(1) => 2", ">>> f(1)  # why\n2", "f(1)   # returns 2", "for example f(1) gives 2, as said",
    ],
)  # fmt: skip
def test_the_marks_and_words_people_use_are_read(line: str) -> None:
    assert find_examples(f"Write `f(x)`.\n\n{line}\n") == (Example("f(1)", "2"),)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('For s = "a, b", n = 2 the result should be 7', 'f("a, b", 2)'),
        ('Given n = 2 and s = "x", the output is 7.', 'f("x", 2)'),
        ("Input: s = [1, 2], n = 3\nOutput: 7  # why", "f([1, 2], 3)"),
        ("Input:\n  text : [1]\n  times : 3\nOutput: 7", "f([1], 3)"),
        ("Example 1:\n    Input: 'a', 3\n    Output: 7", "f('a', 3)"),
        ("| s | n | result |\n|---|---|---|\n| 'a' | 2 | 7 |", "f('a', 2)"),
    ],
)
def test_inputs_given_by_name_are_put_in_the_order_of_the_signature(text: str, call: str) -> None:
    assert find_examples(f"def f(s, n):\n\n{text}\n") == (Example(call, "7"),)


def test_a_doctest_brings_the_statements_before_it_and_shows_values_that_are_no_literals() -> None:
    task = """Write a class Stack.

    >>> s = Stack()
    >>> s.push(1)
    >>> s.pop()
    1
    >>> s
    Stack([])
    """
    setup = ("s = Stack()", "s.push(1)")
    assert find_examples(task) == (Example("s.pop()", "1", setup=setup),)
    counted = ">>> f('aa')\nCounter({'a': 2})\n"
    assert find_examples(counted, "f") == (Example("f('aa')", "Counter({'a': 2})", shown=True),)
    ast.parse(find_examples(counted, "f")[0].as_test(1))


@pytest.mark.parametrize(
    "line",
    ["f(n) = 1 + n", "f(2) = 1 + (2 / 2) = 2", "f(2) = f(1) + 1", "f(x) => 2", "f(1) => 2, 3 for others", "is f(1) 2?"],
)
def test_a_rule_or_a_sentence_is_no_example(line: str) -> None:
    assert find_examples(f"`f(x)`\n{line}\n") == ()


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("`f(1)` returns 2 instead of 3.", ""),
        ("f(1) should return 2 instead of 3.", "f(1) == 2"),
        ("Currently `f(1)` returns 2, but it should return 3.", ""),
        ("f(1) == 2 is wrong, it should raise ValueError.", ""),
        ("I call f(1) => 2. That is wrong.", ""),
        ("Bug: calling f(1) raises KeyError. It should return 0.", ""),
        ("Fix the bug: f(1) => 2", "f(1) == 2"),
        ("f(1) raises KeyError instead of returning 0", ""),
        ("Never f(1) => 3", ""),
        ("f(1) returns 1 to 6, f(2) returns None or raises", ""),
        ("Actual: f(1) == 2\nExpected: f(1) == 3", "f(1) == 3"),
        ("`f(1)` returns 2 in the old version; make `f(1)` return 3.", "f(1) == 3"),
        ("f(1) -> [1, 2, ...]", ""),
        ("f(1) -> ['...']", "f(1) == ['...']"),
        ("f(5) = 5! = 120", ""),
        ("f(1) -> 1,000", ""),
        ("f(1024) returns 1 KB", ""),
        ("f(1) => 2\nf(1) => 3\nf(2) => 4", "f(2) == 4"),
        ("f(1) returns 2, f(2) returns 3 and f(3) should return 4. It must be fast.", "f(1) == 2|f(2) == 3|f(3) == 4"),
    ],
)
def test_what_a_call_does_by_mistake_is_no_example(told: str, read: str) -> None:
    assert "|".join(map(str, find_examples(f"About `f(x: int)`.\n{told}", "f"))) == read


def test_words_for_truth_and_nothing_are_read_as_people_mean_them() -> None:
    assert [each.expected for each in find_examples("`f(x)`\nf(1) => true\nf(2) => null\nf(3) => False\n")] == [
        "True",
        "None",
        "False",
    ]


def test_a_stub_is_code_that_ends_where_a_body_is_missing() -> None:
    code = 'def helper(a):\n    return a\n\n\ndef f(b):\n    """Do."""'
    for task in (code + "\n", f"Please:\n\n```python\n{code}\n```\n"):
        stub = find_stub(task)
        assert stub is not None
        assert (stub.function, stub.source, function_name(task)) == ("f", code, "f")
    assert find_stub("def f(b):\n    return b\n") is None
    assert find_stub("Write f.") is None


def test_all_that_a_task_asks_for_is_named_in_its_order() -> None:
    task = (
        "Write `read(path: str) -> str` and `write(path: str, text: str)`; read(1) is no good. `class Log` keeps all."
    )
    assert function_names(task) == ("read", "write", "Log")
    assert function_names("`c_to_f(c)` and `f_to_c(f)`; `c_to_f(0)` is 32") == ("c_to_f", "f_to_c")
    assert function_names("A class `Stack` with `push(item)` and `pop()`.") == ("Stack",)
    assert function_names("class A:\n    def m(self): ...\n") == ("A",)
    assert {str(each) for each in find_examples("`f(x: int)` and `g(x: int)`\nf(1) => 2\ng(1) => 3\n")} == {
        "f(1) == 2",
        "g(1) == 3",
    }


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("S(2).area() == 4", "S(2).area() == 4"),
        ("`S(2).area()` should return 4", "S(2).area() == 4"),
        ("S(2).side -> 2", "S(2).side == 2"),
        ("S().pop() raises IndexError", "S().pop() raises IndexError"),
        ("- len(S([1])) == 1", "len(S([1])) == 1"),
        ("S(1) is equal to 2", "S(1) == 2"),
        ("2 * S(1) == 4", "2 * S(1) == 4"),
        ("2 * S(1) -> 4", ""),
        ("3 == S(1)", "S(1) == 3"),
        ("assert S(1) == 2, 'why'", "S(1) == 2"),
        ("S(1)  # => 4 (two squared)", "S(1) == 4"),
        ("S(1)  # 4", ""),
        ("S(1) throws KeyError, S(2) throws TypeError", "S(1) raises KeyError|S(2) raises TypeError"),
        ("S(1) raises json.JSONDecodeError", ""),
        ("S(1) returns True if x else False", ""),
        ("S(2) returns 4 when it is even", ""),
        ("S(1) == 2 == S(3)", ""),
        ("S(n) == 2", ""),
        ("n + S(1) returns 2", ""),
        ("Input: 3  Output: 4", "S(3) == 4"),
        ("**Input:** `x = 3`, **Output:** `4`", "S(3) == 4"),
        ("Input: S(3)\nOutput: 4", "S(3) == 4"),
        ("Input: 3\nOutput: 4 or 5", ""),
        ("Input: 3, 4\nOutput: 4", ""),
        ("| x | note | expected |\n|---|---|---|\n| 1 | ok | 2 |", "S(1) == 2"),
        ("| result | x |\n|---|---|\n| 1 | 2 |", "S(2) == 1"),
        ("| x | actual |\n|---|---|\n| 1 | 2 |", ""),
        ("| x | output | expected |\n|---|---|---|\n| 1 | 2 | 3 |", ""),
        ("| Call | Current result |\n|---|---|\n| S(1) | 2 |", ""),
        (">>> S([1,\n...    2])\n3", "S([1, 2]) == 3"),
        (">>> print(S(1))\n2", "str(S(1)) == '2'"),
        (">>> S(0)\nTraceback (most recent call last):\n    ...\nm.Own: no", ""),
    ],
)
def test_what_can_be_read_without_guessing_is_and_what_cannot_is_no_example(text: str, read: str) -> None:
    task = f"Write `def S(x)`.\n\ndef S(x):\n\n{text}\n"
    assert "|".join(map(str, find_examples(task, "S"))) == read


_VALUES = st.one_of(
    st.integers(-99, 99).map(repr),
    st.text("ab '=>|,.", max_size=4).map(repr),
    st.lists(st.integers(0, 9), max_size=3).map(repr),
)
_SAID = st.sampled_from(
    [
        "{c} => {v}", "{c} returns {v}", "- `{c}` should return `{v}`.", "{c} -> {v}, {d} -> {w}", "{c}  # => {v}",
        "assert {c} == {v}", ">>> {c}\n{v}", "Input: {a}\nOutput: {v}", "Input: {a} Output: {v}", "{v} == {c}",
        "| x | expected |\n|--|--|\n| {a} | {v} |", "{c} returns {v} or {w}", "not {c} == {v}", "{c} is {v} if {a}",
        "{c}.size == {v}", "{c} + 1 == {v}",
    ]
)  # fmt: skip


@given(st.lists(st.tuples(_SAID, _VALUES, _VALUES, _VALUES, _VALUES), min_size=1, max_size=3))
def test_every_part_of_what_is_read_is_in_the_text(parts: list[tuple[str, str, str, str, str]]) -> None:
    said = [form.format(c=f"f({a})", d=f"f({b})", a=a, v=v, w=w) for form, a, b, v, w in parts]
    text = "\n\n".join(said)
    for example in find_examples(f"def f(x):\n\n{text}\n", "f"):
        argument = example.call.partition("f(")[2].partition(")")[0]
        assert argument in text
        assert example.expected in text


@given(st.text(alphabet="f(1)=>-|`\"' \n,[]{}:#abc", max_size=80))
def test_no_text_breaks_the_reader_and_what_it_finds_is_python(text: str) -> None:
    for number, example in enumerate(find_examples(text, "f"), 1):
        ast.parse(example.as_test(number))
