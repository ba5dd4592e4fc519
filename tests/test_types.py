"""Quantities that people write are read in one way, or refused with what could be written instead."""

from typing import Any

import pytest

from vwt_agents.types import parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90.0),
        ("10m", 600.0),
        ("1.5 h", 5400.0),
        (" 2 D ", 172_800.0),
        ("250ms", 0.25),
        (3, 3.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_a_number_and_a_unit_or_a_number_of_seconds(written: Any, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "5",
        "10 min",
        "-1s",
        "1e3s",
        "s",
        "1m 30s",
        0,
        "0s",
        -1,
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        "9" * 400 + "s",
    ],
)
def test_what_is_no_duration_is_refused_with_the_units_there_are(written: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write a number above 0 and a unit \(ms, s, m, h, d\)"):
        parse_duration(written)


def test_no_time_at_all_is_a_duration_where_that_is_said() -> None:
    assert parse_duration("0s", zero=True) == 0.0
    with pytest.raises(ValueError, match="write a number and a unit"):
        parse_duration(-1, zero=True)
