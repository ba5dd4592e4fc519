"""What others take is never believed to be less than it is: rises at once, falls when they last and nothing of ours moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.occupancy import Sample, Taken, occupied
from vwt_agents.occupancy.taken import PATIENCE, STEP

CARD, RESERVE = 16303, 1536
CEILING = CARD - RESERVE


def taken(**more: bool) -> Taken:
    return Taken(ceiling=CEILING, kept=RESERVE, **more)


def told(what: Taken, *used: int, ours: int = 0, steady: bool = True, **more: int) -> list[int | None]:
    return [what.look(Sample(CARD, one, ours, **more), steady=steady) for one in used]


@pytest.mark.parametrize(
    ("sample", "others", "expected"),
    [
        (Sample(CARD), 0, 0),
        (Sample(CARD), 1200, 1200),
        (Sample(CARD, ledger=5000), 5000, 5000),  # what they reserved is what is used there: not counted twice
        (Sample(CARD, ledger=5000), 1200, 5000),  # reserved, not all of it used
        (Sample(CARD, ledger=5000, loading=5000), 1200, 6200),  # on its way in, and the desktop is there as well
        (Sample(CARD, ledger=5000, foreign=4000), 1200, 9000),
        (Sample(CARD, ledger=20000), 0, CEILING),
        (Sample(CARD), CARD, CEILING),
        (Sample(None, ledger=3000, foreign=1000), 0, 4000),  # a card that cannot be measured
    ],
)
def test_the_tighter_bound_counts(sample: Sample, others: int, expected: int) -> None:
    assert occupied(sample, others, ceiling=CEILING, kept=RESERVE) == expected


def test_with_a_size_that_was_set_only_what_is_short_of_it_is_occupied() -> None:
    assert occupied(Sample(CARD), 1200, ceiling=14000, kept=0) == 0
    assert occupied(Sample(CARD), 3200, ceiling=14000, kept=0) == 897


@given(
    *(st.integers(0, 20000) for _ in range(5)),
    st.integers(0, 16000),
    st.integers(0, 2000),
)
def test_occupied_is_a_part_of_the_ceiling_and_leaves_no_more_than_is_there(
    others: int, ledger: int, loading: int, foreign: int, ours: int, ceiling: int, kept: int
) -> None:
    sample = Sample(CARD, others, ours, ledger, loading, foreign)
    found = occupied(sample, others, ceiling=ceiling, kept=kept)
    assert 0 <= found <= ceiling
    left = ceiling - found
    assert left == 0 or left + others + loading + kept <= CARD
    assert left == 0 or left + ledger + foreign <= ceiling


def test_flicker_of_a_few_mib_wakes_nobody() -> None:
    what = taken()
    assert told(what, 1200) == [1200]
    assert told(what, *[1190, 1210, 1200, 1230, 1180] * 10)[:5] == [None] * 5


def test_a_rise_is_told_at_once_and_a_fall_when_it_was_seen_twice() -> None:
    """Of two looks that are lower the higher counts."""
    what = taken()
    assert told(what, 1200, 9000, 1200, 1100) == [1200, 9000, None, 1200]
    assert told(what, 9000, 1200, 8900, 1200, 1200) == [9000, None, 8900, None, 1200]


def test_a_small_fall_that_lasts_is_told_in_the_end() -> None:
    """A model that needs the very last MiB must not wait for memory that is free."""
    what = taken()
    assert told(what, 40) == [None]
    assert told(what, 90) == [90]
    looks = told(what, *[30] * (PATIENCE + 2))
    assert [one for one in looks if one is not None] == [30]
    assert STEP > 90 - 30


def test_while_a_load_of_ours_is_under_way_others_do_not_seem_to_take_less() -> None:
    """The whole footprint counts as ours from the start, the device shows it bit by bit."""
    what = taken()
    assert told(what, 3000) == [3000]
    assert told(what, 3000, 4500, 7000, ours=5000, steady=False) == [None] * 3
    assert told(what, 8000, ours=5000) == [None]


def test_others_that_come_while_a_load_of_ours_is_under_way_are_seen_once_they_show() -> None:
    what = taken()
    told(what, 1000)
    assert told(what, 6000, 8000, ours=5000, steady=False) == [None, 3000]


def test_what_is_ours_is_never_occupied() -> None:
    what = taken()
    assert told(what, 1000) == [1000]
    assert told(what, 6000, 6000, 6000, ours=5000) == [None] * 3
    assert told(what, 1000, 1000) == [None] * 2


def test_what_others_reserve_and_give_back_is_told_at_once() -> None:
    """The ledger's figures are exact: there is nothing to wait for."""
    what = taken()
    assert told(what, 0, ledger=5000) == [5000]
    assert told(what, 0) == [0]


def test_weights_that_are_mapped_into_memory_hide_nothing_of_what_others_take() -> None:
    """The system counts them as free, so what is used less what is ours would be too little."""
    what = taken(mapped=True)
    assert told(what, 8000) == [8000]
    assert told(what, 8200, 8500, ours=5000, steady=False) == [None] * 2
    assert told(what, 8500, 8500, ours=5000) == [None] * 2
    assert what.others == 8000
    # others leave, and come back, while our model stays
    assert told(what, 5500, 5500, 5500, ours=5000)[-1] is None
    assert what.told == 5000
    assert told(what, 7500, ours=5000) == [7000]
    assert told(what, 7000) == [None]
    assert what.others == 7000
