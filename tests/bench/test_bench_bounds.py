"""No schedule is below a bound, and on small workloads the bounds are what one computes by hand."""

import pytest
from sim_worlds import A, B, C, L, alternating, job, workload
from swapsim.bounds import (
    cover_bound,
    fitting,
    least_cover,
    lower_bound,
    machine_bound,
    min_loads,
    path_bound,
)
from swapsim.rivals import RIVALS
from swapsim.simulate import simulate
from swapsim.workloads import WORKLOADS, build

POLICIES = {**RIVALS, "ours": lambda: None}


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_policy_beats_a_bound(name):
    for seed in (0, 7):
        drawn = build(name, seed)
        for make in POLICIES.values():
            outcome = simulate(drawn, make())
            assert outcome.makespan >= lower_bound(drawn) - 1e-3
            assert outcome.loads >= min_loads(drawn)


def test_a_chain_waits_for_its_models_first_load_and_for_its_release():
    chain = workload([A, L], 14_000, job(0, "A", 3.0, release=2.0), job(1, None, 0.5, [0]), job(2, "L", 4.0, [1]))
    # A is there at 5 and serves until 8, the CPU works until 8.5; L could have been there at 9.
    assert path_bound(chain) == pytest.approx(9.0 + 4.0)


def test_a_machine_shares_its_work_among_its_slots_between_head_and_tail():
    calls = [job(number, "A", 4.0) for number in range(6)]
    after = job(6, None, 7.0, range(6))
    assert machine_bound(workload([A], 5_000, *calls, after)) == pytest.approx(5.0 + 6 * 4.0 / 2 + 7.0)


def test_models_that_do_not_fit_side_by_side_take_turns():
    calls = [job(number, "AB"[number % 2], 4.0, run=str(number)) for number in range(8)]
    assert cover_bound(workload([A, B], 5_000, *calls)) == pytest.approx(2 * (5.0 + 4 * 4.0 / 2))
    assert cover_bound(workload([A, B], 10_000, *calls)) == pytest.approx(5.0 + 4 * 4.0 / 2)


def test_two_of_three_equal_models_at_a_time_take_half_as_long_again_as_one():
    calls = [job(number, "ABC"[number % 3], 10.0, run=str(number)) for number in range(12)]
    assert cover_bound(workload([A, B, C], 10_000, *calls)) == pytest.approx(3 * (5.0 + 4 * 10.0 / 2) / 2)


def test_a_chain_over_two_small_models_keeps_the_large_one_out_for_all_its_calls():
    chain = [job(turn, "AB"[turn % 2], 3.0, [turn - 1] if turn else []) for turn in range(6)]
    large = job(6, "L", 20.0, run="large")
    # L 9 + 20 alone; then one of A and B is in memory for a load of 5 and six calls of 3.
    assert cover_bound(workload([L, A, B], 10_000, *chain, large)) == pytest.approx(29.0 + 5.0 + 18.0)


def test_every_model_asked_for_is_loaded_once():
    assert min_loads(alternating(6, models=(A, B, C))) == 2


def test_the_largest_sets_that_fit():
    assert set(fitting([9, 5, 5], 10)) == {frozenset({0}), frozenset({1, 2})}
    assert fitting([5, 5], 4) == []


def test_the_cover_of_a_group_by_any_of_its_members_counts_once():
    sets = [frozenset({0}), frozenset({1})]
    needs = [(frozenset({0}), 2.0), (frozenset({1}), 3.0), (frozenset({0, 1}), 9.0)]
    assert least_cover(sets, needs) == pytest.approx(9.0)
    assert least_cover(sets, needs[:2]) == pytest.approx(5.0)
