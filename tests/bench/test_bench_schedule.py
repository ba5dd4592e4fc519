"""The checker believes every simulated schedule, and finds each kind of fault in a broken one."""

from dataclasses import replace

import pytest
from sim_worlds import A, B, alternating, job, workload
from swapsim.optimum import fingerprint, known, schedule_of
from swapsim.rivals import RIVALS
from swapsim.schedule import Schedule, faults
from swapsim.simulate import simulate
from swapsim.workloads import WORKLOADS, build

TWO = workload([A, B], 5_000, job(0, "A", 3.0), job(1, "B", 3.0, [0]), job(2, "B", 3.0, [0]), job(3, "B", 3.0, [0]))
GOOD = Schedule({0: 5.0, 1: 13.0, 2: 13.0, 3: 16.0}, (("A", 0.0, 5.0), ("B", 8.0, 13.0)))


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_policy_makes_schedules_that_could_have_happened(name):
    drawn = build(name, 3)
    for make in (*RIVALS.values(), lambda: None):
        assert faults(drawn, schedule_of(drawn, simulate(drawn, make()))) == []


def test_a_good_schedule_has_no_faults():
    assert faults(TWO, GOOD) == []


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (Schedule({0: 5.0}, GOOD.loads), "never starts"),
        (replace(GOOD, starts={**GOOD.starts, 0: 4.0}), "before A has been loaded"),
        (replace(GOOD, starts={**GOOD.starts, 3: 14.0}), "serves 3 calls at once in 2 slots"),
        (replace(GOOD, starts={**GOOD.starts, 0: 11.0}), "before job 0 has ended"),
        (replace(GOOD, loads=(("A", 0.0, 5.0), ("B", 7.0, 12.0))), "MiB are in use at once"),
        (replace(GOOD, loads=(("A", 0.0, 5.0), ("B", 4.0, 9.0))), "while A is being loaded"),
        (replace(GOOD, loads=(("A", 0.0, 5.0), ("B", 9.0, 13.0))), "is loaded in 4.0 s"),
        (replace(GOOD, loads=(*GOOD.loads, ("B", 14.0, 19.0))), "while it serves until"),
    ],
)
def test_a_broken_schedule_is_found_out(broken, word):
    assert any(word in fault for fault in faults(TWO, broken)), faults(TWO, broken)


def test_a_call_before_its_release_is_found_out():
    late = workload([A], 5_000, job(0, "A", 3.0, release=6.0))
    assert "before its release" in faults(late, Schedule({0: 5.0}, (("A", 0.0, 5.0),)))[0]


def test_the_optima_that_are_kept_are_schedules_of_their_workloads():
    """What the table divides by is no mere number: each is a schedule that is possible and as long as it says."""
    kept = known()
    solved = [
        (drawn, kept[fingerprint(drawn)])
        for name in WORKLOADS
        for drawn in (build(name, seed) for seed in range(10))
        if fingerprint(drawn) in kept
    ]
    assert len(solved) == len(kept), "optima.json holds optima of workloads that no longer exist: solve them anew"
    for drawn, optimum in solved:
        assert faults(drawn, optimum.schedule) == []
        ends = [optimum.schedule.starts[each.id] + each.seconds for each in drawn.jobs]
        assert max(ends) == pytest.approx(optimum.best)
        assert optimum.bound <= optimum.best


def test_what_decides_an_optimum_changes_the_fingerprint_and_what_is_believed_does_not():
    one = alternating(4)
    believed = replace(one, jobs=tuple(replace(each, estimate=9.0) for each in one.jobs))
    longer = replace(one, jobs=tuple(replace(each, seconds=9.0) for each in one.jobs))
    assert fingerprint(one) == fingerprint(believed) != fingerprint(longer)
    assert fingerprint(one) != fingerprint(replace(one, budget=10_000))
