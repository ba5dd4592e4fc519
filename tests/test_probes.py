"""Inputs to try are variations of those the task shows: of their types, never one of them, the same every time."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.probes import probe_calls

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-50, 50) | st.floats(-9, 9) | st.text("ab c", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(_VALUES, _VALUES), min_size=1, max_size=3))
def test_a_variation_is_a_new_call_with_arguments_of_the_same_types(known: list[tuple[object, object]]) -> None:
    calls = [f"f({a!r}, {b!r})" for a, b in known]
    probes = probe_calls(calls, "f", count=6)
    kinds = [{type(each[place]) for each in known} for place in (0, 1)]
    assert len(set(probes)) == len(probes) <= 6
    assert not set(probes) & set(calls)
    for probe in probes:
        call = ast.parse(probe, mode="eval").body
        assert isinstance(call, ast.Call)
        for place, argument in enumerate(call.args):
            assert type(ast.literal_eval(argument)) in kinds[place] | {int, float}


def test_the_same_examples_give_the_same_probes() -> None:
    assert probe_calls(["f([1, 2], 'ab')"], "f") == probe_calls(["f([1, 2], 'ab')"], "f")
    assert probe_calls(["f([1, 2], 'ab')"], "f") != probe_calls(["f([1, 2], 'ab')"], "f", seed=1)


def test_calls_inside_an_expression_are_seen_and_what_is_no_literal_is_left_out() -> None:
    assert probe_calls(["round(f(2), 3)"], "f", count=1)[0].startswith("f(")
    assert probe_calls(["f(x)", "g(1)", "f(1", "f(a=1)", "f()"], "f") == ()


@pytest.mark.parametrize(
    ("signature", "kinds"),
    [
        ("def f(n: int) -> int:", [int]),
        ("def f(text: str, times: list[int]):", [str, list]),
        ("def f(pair: tuple[int, str], seen: dict[str, int], rest: set[str]):", [tuple, dict, set]),
        ("def f(flag: bool, x: float):", [bool, float]),
    ],
)
def test_without_examples_inputs_are_what_the_annotations_allow(signature: str, kinds: list[type]) -> None:
    probes = probe_calls([], "f", signature=signature, count=8)
    assert probes
    for probe in probes:
        call = ast.parse(probe, mode="eval").body
        assert isinstance(call, ast.Call)
        found = [set if isinstance(one, ast.Call) else type(ast.literal_eval(one)) for one in call.args]
        assert found == kinds


@pytest.mark.parametrize("signature", [None, "def f(x):", "def f(x: Thing):", "def f():", "no signature"])
def test_where_nothing_is_known_of_the_inputs_there_are_no_probes(signature: str | None) -> None:
    assert probe_calls([], "f", signature=signature) == ()
