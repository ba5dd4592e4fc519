"""The candidate most others agree with is found by what they give, and errors agree with nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.consensus import agreement


def test_who_gives_what_most_give_agrees_most() -> None:
    shares = agreement({"a": ["1", "2"], "b": ["1", "2"], "c": ["1", "3"]})
    assert shares["a"] == shares["b"] == 0.75
    assert shares["c"] == 0.5


def test_errors_agree_with_nothing_and_an_input_that_breaks_most_is_left_out() -> None:
    observed = {"a": ["!ValueError", "1"], "b": ["!ValueError", "1"], "c": ["7", "!TypeError"]}
    assert agreement(observed) == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_alone_or_without_inputs_there_is_nobody_to_disagree_with() -> None:
    assert agreement({"a": ["1"]}) == {"a": 1.0}
    assert agreement({"a": [], "b": []}) == {"a": 1.0, "b": 1.0}
    assert agreement({}) == {}


@given(
    st.dictionaries(
        st.text(max_size=3), st.lists(st.sampled_from(["1", "2", "!E"]), min_size=3, max_size=3), max_size=6
    )
)
def test_shares_are_shares_and_equal_programs_have_equal_ones(observed: dict[str, list[str]]) -> None:
    shares = agreement(observed)
    assert set(shares) == set(observed)
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    for one, gave in observed.items():
        for other, also_gave in observed.items():
            assert gave != also_gave or shares[one] == shares[other]
