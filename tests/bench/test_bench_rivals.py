"""Each rival does what it is named for, computed by hand; all run on the real core."""

import pytest
from sim_worlds import A, B, alternating, job, workload
from swapsim.rivals import Affinity, Exhaustive, Fifo, Gated, Ollama
from swapsim.simulate import simulate


def stream(*letters, budget=5_000):
    """Calls of 3 s that come one second apart, each its own run."""
    jobs = [job(number, letter, 3.0, run=str(number), release=float(number)) for number, letter in enumerate(letters)]
    return workload([A, B], budget, *jobs)


def order(outcome):
    return sorted(outcome.starts, key=lambda each: (outcome.starts[each], each))


def test_fifo_grants_in_the_order_of_arrival_whatever_is_resident():
    outcome = simulate(stream("A", "B", "A", "B"), Fifo())
    assert order(outcome) == [0, 1, 2, 3]
    assert outcome.loads == 4
    assert outcome.makespan == pytest.approx(4 * (5.0 + 3.0))


def test_exhaustive_serves_all_that_want_the_resident_model_first():
    outcome = simulate(stream("A", "B", "A", "B"), Exhaustive())
    assert order(outcome) == [0, 2, 1, 3]
    assert outcome.loads == 2
    assert outcome.makespan == pytest.approx(2 * (5.0 + 3.0))


def test_exhaustive_bounds_nobodys_wait():
    letters = ["A", "B", *"A" * 30]
    outcome = simulate(stream(*letters), Exhaustive())
    assert order(outcome)[-1] == 1


def test_affinity_passes_nobody_over_more_than_three_times():
    letters = ["A", "B", *"A" * 30]
    outcome = simulate(stream(*letters), Affinity())
    younger = [each for each in outcome.starts if each > 1 and outcome.starts[each] < outcome.starts[1]]
    assert len(younger) == 3


def test_gated_serves_who_came_before_the_load_was_done_then_the_other_model():
    outcome = simulate(stream(*"AABAAAAAAA"), Gated())
    # The load of A ends at 5: requests 0, 1, 3, 4, 5 are within the gate.
    assert order(outcome)[:6] == [0, 1, 3, 4, 5, 2]


def test_ollama_lets_what_is_resident_past_the_line():
    outcome = simulate(stream("A", *"BAAA", budget=5_000), Ollama(fit=1.0))
    # 2, 3 and 4 came while A was being loaded: they stand in line behind B, and A leaves between.
    assert order(outcome)[:2] == [0, 1]
    late = workload(
        [A, B], 5_000, job(0, "A", 9.0), job(1, "B", 3.0, run="b", release=6.0), job(2, "A", 3.0, run="c", release=7.0)
    )
    assert order(simulate(late, Ollama(fit=1.0))) == [0, 2, 1]


def test_ollama_loads_beside_others_only_what_takes_four_fifths_of_what_is_free():
    assert simulate(alternating(6, budget=10_000), Ollama()).loads == 6
    assert simulate(alternating(6, budget=10_000), Ollama(fit=1.0)).loads == 2
    assert simulate(alternating(6, budget=11_250), Ollama()).loads == 2


def test_a_rival_serves_one_simulation_and_comes_out_the_same_each_time():
    drawn = stream(*"ABBABAABAB")
    for make in (Fifo, Exhaustive, Affinity, Gated, Ollama):
        assert simulate(drawn, make()) == simulate(drawn, make())
