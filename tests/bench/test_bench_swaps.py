"""The table: what its figures mean, which targets it judges, and that the workloads are what they claim to be."""

import json
import sys

import pytest
import swaps
from sim_worlds import A, B, alternating, job, workload
from swapsim.figures import Trial, figures, idle_beside, percentile, trials
from swapsim.optimum import Optimum, fingerprint
from swapsim.programs import PROFILES, graph_of
from swapsim.rivals import Exhaustive, Fifo
from swapsim.schedule import Schedule
from swapsim.simulate import Outcome, simulate
from swapsim.workloads import WORKLOADS, build


def test_a_seed_fixes_a_workload_and_another_seed_gives_another():
    for name in WORKLOADS:
        assert build(name, 1) == build(name, 1)
        assert build(name, 1).jobs != build(name, 2).jobs


def test_sigma_changes_what_is_believed_and_nothing_that_is_so():
    exact, noisy = build("w1", 0, 0.0), build("w1", 0, 1.0)
    assert fingerprint(exact) == fingerprint(noisy)
    assert all(each.estimate == each.seconds for each in exact.jobs)
    assert any(each.estimate != each.seconds for each in noisy.jobs)


def test_both_forms_of_w2_have_the_same_jobs_in_another_budget():
    one, other = build("w2a", 5), build("w2b", 5)
    assert [each.seconds for each in one.jobs] == [each.seconds for each in other.jobs]
    assert one.budget > other.budget


@pytest.mark.parametrize("pipeline", PROFILES)
def test_a_profile_has_every_stage_of_its_pipeline(pipeline):
    assert set(PROFILES[pipeline]) == {stage.name for stage in graph_of(pipeline).stages}


def test_codegen_reviews_after_the_code_was_judged():
    drawn = build("codegen", 0)
    run = [each for each in drawn.jobs if each.run == "codegen0"]
    review = next(each for each in run if each.model == "B")
    assert all(each.id < review.id for each in run if each.model == "L")
    assert drawn.jobs[review.after[0]].model is None  # the last run of the tests, in the sandbox


def test_told_nothing_a_policy_still_comes_to_an_end():
    drawn = build("w1", 0)
    assert len(simulate(drawn, told=False).runs) == 4


def test_a_hung_stage_delays_what_waits_for_it_and_nothing_else():
    chain = workload([A], 5_000, job(0, None, 1.0), job(1, "A", 2.0, [0]), job(2, "A", 2.0, run="other"))
    outcome = simulate(chain, Exhaustive(), overrun={0: 60.0})
    assert outcome.starts[2] == pytest.approx(5.0)
    assert outcome.starts[1] == pytest.approx(60.0)


def test_figures_of_one_trial():
    drawn = alternating(4)
    tried = trials([drawn], Fifo)
    best = {fingerprint(drawn): 32.0}
    row = figures(tried, {}, best)
    assert (row.makespan, row.loads, row.worst, row.mean_run) == pytest.approx((32.0, 4, 5.0, 32.0))
    assert row.over_best is None
    assert row.interactive_worst is None
    row = figures(tried, {fingerprint(drawn): Optimum(32.0, 32.0, Schedule({}, ()))}, best)
    assert (row.over_best, row.compared, row.closed) == (1.0, 1, 1)


def test_an_open_optimum_gives_way_to_a_better_schedule_and_a_proven_one_is_not_beaten():
    drawn = alternating(4)
    tried, mark = trials([drawn], Fifo), fingerprint(drawn)
    assert figures(tried, {mark: Optimum(40.0, 20.0, Schedule({}, ()))}, {mark: 32.0}).over_best == pytest.approx(1.0)
    with pytest.raises(AssertionError):
        figures(tried, {mark: Optimum(40.0, 40.0, Schedule({}, ()))}, {mark: 32.0})


def test_the_device_idles_beside_a_waiting_call_only_where_a_policy_holds_it():
    hold = workload([A, B], 5_000, job(0, "A", 3.0), job(1, None, 2.0, [0]), job(2, "A", 3.0, [1]), job(3, "B", 3.0))
    (greedy,) = trials([hold], Exhaustive)
    assert idle_beside(greedy) == 0.0
    starts = {0: 5.0, 2: 10.0, 3: 20.0}
    held = Outcome(23.0, 2, {0: 5.0, 2: 0.0, 3: 20.0}, starts, {"run": 23.0}, (("A", 0.0, 5.0), ("B", 15.0, 20.0)))
    assert idle_beside(Trial(hold, held)) == pytest.approx(2.0)  # from 8 to 10 and from 13 to 15, while 3 waits
    waits = trials([workload([A], 5_000, job(0, "A", 3.0), job(1, None, 9.0, [0]), job(2, "A", 3.0, [1]))], Exhaustive)
    assert idle_beside(waits[0]) == 0.0  # idle for 9 s, but nobody waits


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.99) == 1.0


def test_json_has_a_row_for_each_policy_and_the_targets_of_what_was_run(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["swaps.py", "--only", "w4a", "--seeds", "1", "--json"])
    status = swaps.main()
    data = json.loads(capsys.readouterr().out)
    assert [row["policy"] for row in data["rows"]] == list(swaps.POLICIES)
    assert {target["target"].split(":")[0] for target in data["targets"][:-1]} == {"w4a"}
    assert status == (0 if all(target["holds"] for target in data["targets"]) else 1)


def test_an_unknown_workload_is_told_with_those_there_are(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["swaps.py", "--only", "w9"])
    assert swaps.main() == 2
    assert "no workload w9; there are w1," in capsys.readouterr().err
