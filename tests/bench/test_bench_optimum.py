"""The solver's optimum is what one finds by hand, and no policy is better. Needs OR-Tools (the extra `bench`)."""

import pytest
from sim_worlds import A, B, C, L, alternating, job, workload
from swapsim.optimum import fingerprint, known, most_stays, schedule_of, solve, solved
from swapsim.rivals import RIVALS, Fifo
from swapsim.schedule import faults
from swapsim.simulate import simulate
from swapsim.workloads import build


def optimum_of(drawn, seconds=20.0):
    pytest.importorskip("ortools", reason="the optimum needs OR-Tools: pip install -e '.[bench]'")
    return solve(drawn, schedule_of(drawn, simulate(drawn, Fifo())), seconds=seconds)


def test_stays_are_limited_by_the_time_that_loads_take():
    # 38 s hold three stays of A and two loads of B between them, beside 6 s of A's work; not four.
    chain = alternating(8)
    assert most_stays(chain, 38.0)["A"] == 3
    assert most_stays(chain, 1000.0)["A"] == 4


def test_one_model_at_a_time_in_turn():
    best = optimum_of(alternating(4))
    assert best.closed
    assert best.best == pytest.approx(4 * (5.0 + 3.0))
    assert len(best.schedule.loads) == 4


def test_with_room_for_both_the_second_is_loaded_behind_the_first_call():
    best = optimum_of(alternating(4, budget=10_000))
    # A from 0 to 5, B from 5 to 10; A serves 5 to 8, B 10 to 13, then nobody waits.
    assert best.best == pytest.approx(19.0)
    assert len(best.schedule.loads) == 2


def test_two_chains_out_of_phase_are_brought_into_step():
    jobs = [
        job(4 * chain + turn, "AB"[(chain + turn) % 2], 3.0, [4 * chain + turn - 1] if turn else [], run=str(chain))
        for chain in range(2)
        for turn in range(4)
    ]
    best = optimum_of(workload([A, B], 5_000, *jobs))
    # A | B B | A A | B B | A: one chain runs a turn ahead of the other.
    assert best.best == pytest.approx(5 * (5.0 + 3.0))
    assert len(best.schedule.loads) == 5


def test_a_large_model_that_fits_alone_waits_for_the_small_ones_or_they_for_it():
    calls = [job(0, "L", 10.0, run="l"), job(1, "A", 4.0, run="a"), job(2, "B", 4.0, run="b")]
    best = optimum_of(workload([L, A, B], 10_000, *calls))
    # L 9 + 10; A and B: 5, 5 + 4.
    assert best.best == pytest.approx(19.0 + 14.0)


def test_three_models_for_two_places():
    calls = [job(number, "ABC"[number], 4.0, run=str(number)) for number in range(3)]
    assert optimum_of(workload([A, B, C], 10_000, *calls)).best == pytest.approx(15.0 + 4.0)


@pytest.mark.parametrize("name", ["w1", "w4b"])
def test_no_policy_beats_the_solver(name):
    drawn = build(name, 4)
    best = optimum_of(drawn)
    assert faults(drawn, best.schedule) == []
    for make in (*RIVALS.values(), lambda: None):
        assert simulate(drawn, make()).makespan >= best.bound - 1e-3
    assert best.bound <= best.best


def test_what_is_solved_is_kept_and_not_solved_again(tmp_path):
    pytest.importorskip("ortools", reason="the optimum needs OR-Tools: pip install -e '.[bench]'")
    path, drawn = tmp_path / "optima.json", alternating(4)
    solved({"by hand": [drawn]}, {"fifo": Fifo}, seconds=20.0, path=path)
    kept = known(path)[fingerprint(drawn)]
    assert (kept.best, kept.bound, kept.closed) == (32.0, 32.0, True)
    assert faults(drawn, kept.schedule) == []
    written = path.read_text()
    solved({"by hand": [drawn]}, {"fifo": Fifo}, seconds=20.0, path=path)
    assert path.read_text() == written
