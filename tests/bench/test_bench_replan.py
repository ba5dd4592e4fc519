"""Planning anew at each release is as good as what is known: blind it pays for what it did not see, told all it is optimal."""

import pytest
from sim_worlds import A, B, alternating, job, workload
from swapsim.optimum import makespan_of
from swapsim.replan import plannable, replanned

pytest.importorskip("ortools", reason="planning anew needs OR-Tools: pip install -e '.[bench]'")


def stream():
    """A is asked for at 0 and 8.5 s, B at 7; one of them fits."""
    calls = [job(0, "A", 3.0), job(1, "B", 3.0, release=7.0), job(2, "A", 3.0, release=8.5)]
    return workload([A, B], 5_000, *calls)


def test_who_sees_nothing_ahead_swaps_too_early():
    # At 8 s B is all there is to do: loaded until 13, done at 16, and A again: 21, 24.
    assert makespan_of(stream(), replanned(stream(), ahead=0.0)) == pytest.approx(24.0)


def test_who_sees_all_of_it_makes_the_optimum():
    # B is there when it is asked for, 7 to 10; then A for both of its calls side by side: 15, 18.
    assert makespan_of(stream(), replanned(stream(), ahead=60.0)) == pytest.approx(18.0)


def test_chains_are_not_planned():
    assert not plannable(alternating(4))
    with pytest.raises(ValueError, match="wait for others"):
        replanned(alternating(4), ahead=0.0)
