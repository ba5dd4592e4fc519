"""Intervals and p values are those of the textbooks."""

from __future__ import annotations

import pytest
from codebench.statistics import bootstrap_mean, mcnemar, wilson


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (114, 164, 0.6210, 0.7604)],
)
def test_wilsons_interval(passed: int, total: int, low: float, high: float) -> None:
    assert wilson(passed, total) == pytest.approx((low, high), abs=5e-4)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_mcnemar_is_the_exact_sign_test_of_the_tasks_only_one_solved() -> None:
    assert mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(8, 1) == mcnemar(1, 8)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


def test_the_bootstrap_holds_the_mean_and_is_the_same_each_time() -> None:
    values = [1.0] * 20 + [0.0] * 70 + [-1.0] * 10
    low, high = bootstrap_mean(values, rounds=2000)
    assert low < 0.1 < high
    assert (low, high) == bootstrap_mean(values, rounds=2000)
    # The normal approximation, which 100 tasks are enough for: 0.1 +- 1.96 * sqrt(0.29) / 10
    assert (low, high) == pytest.approx((-0.0055, 0.2055), abs=0.02)


def test_differences_that_never_vary_have_no_width() -> None:
    assert bootstrap_mean([0.0] * 5, rounds=100) == (0.0, 0.0)
    assert bootstrap_mean([1.0], rounds=100) == (1.0, 1.0)


def test_without_differences_there_is_nothing_to_draw_from() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        bootstrap_mean([])
