"""What the core sees by playing what is believed to come: where it departs from its rules, and where it cannot see."""

import pytest
from core_world import A, B, C, Core, chain

from vwt_agents.core import (
    Announced,
    BudgetSet,
    Grant,
    Load,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Released,
    StepBegan,
    StepEnded,
    Submitted,
    Unload,
    Unloaded,
    Use,
    Woken,
)
from vwt_agents.core.future import ELSEWHERE, MOST, future
from vwt_agents.core.playing import Move, play
from vwt_agents.core.steps import CALL_S, Step

FAR = ModelKey("there", "far")
BIG = ModelKey("here", "big")


def seen(core):
    """The future of the only device, which is not too much to be looked at."""
    coming = future(core.scheduler.state, "gpu0")
    assert coming is not None
    return coming


def ends(core, first):
    """Seconds until all is done, until a run is on average, and of loads, when all lasts as long as believed."""
    coming = seen(core)
    return play(coming, coming.tails(), coming.seconds, first)


# -- the last of a visit --------------------------------------------------------------------------------------------


def test_the_last_requests_of_a_visit_are_served_longest_first_so_that_the_next_model_comes_sooner():
    core = Core(A, B)
    core.resident(A)
    core.ask(1, A, seconds=9.0)
    core.ask(2, A, seconds=9.0)
    core.ask(3, B)
    core.ask(4, A, run="older", seconds=1.0)
    core.ask(5, A, run="younger", seconds=4.0)
    assert core.order(1)[:3] == [1, 5, 4]


def test_with_nobody_waiting_for_another_model_the_oldest_run_goes_first():
    core = Core(A, B)
    core.resident(A)
    core.ask(1, A, seconds=9.0)
    core.ask(2, A, seconds=9.0)
    core.ask(4, A, run="older", seconds=1.0)
    core.ask(5, A, run="younger", seconds=4.0)
    assert core.order(1)[:3] == [1, 4, 5]


# -- other moves than the rules' ------------------------------------------------------------------------------------


def waits_for_the_long_way():
    """A is idle; in 7 s, longer than the hold, a run will ask for it that has a minute to go after that."""
    core = Core(A, B)
    core.resident(A)
    steps = chain(("think", None, 7.0), ("call", A, 1.0), ("tests", None, 60.0))
    core.post(Announced("run", steps), StepBegan("run", "think"))
    return core


def test_a_model_is_kept_for_a_long_way_to_go_though_the_rules_would_swap():
    core = waits_for_the_long_way()
    assert core.ask(1, B, run="other", seconds=1.0) == []
    assert core.post(StepEnded("run", "think"), Submitted(2, A, "run", step="call"), after=7.0) == [Grant(2, A)]


def test_from_the_moment_believed_on_it_is_kept_for_no_longer_than_a_hold():
    core = waits_for_the_long_way()
    core.ask(1, B, run="other", seconds=1.0)
    assert core.scheduler.deadline == core.now + 7.0
    assert core.post(Woken(), after=7.0) == []
    assert core.scheduler.deadline == core.now + 5.0
    assert core.post(Woken(), after=5.0) == [Unload(A, f"room for {B}")]


@pytest.mark.parametrize("requests", [1, MOST, MOST + 1])
def test_with_more_to_come_than_can_be_looked_at_the_rules_decide(requests):
    core = waits_for_the_long_way()
    asked = (Submitted(request, B, f"other{request}", seconds=0.01) for request in range(1, requests + 1))
    assert core.post(*asked) == ([] if requests == 1 else [Unload(A, f"room for {B}")])


def test_a_model_that_is_needed_next_comes_in_time_over_an_idle_one_that_nobody_will_ask_for():
    core = Core(A, B, C, budget=10_000)
    core.resident(A)
    core.post(Announced("run", chain(("draft", A, 8.0), ("review", B, 4.0))))
    core.post(Submitted(1, A, "run", step="draft"), Submitted(2, C, "other"))
    core.post(Loaded(C), after=2.0)
    assert core.post(Released(2)) == [Unload(C, f"room for {B}")]
    assert core.post(Unloaded(C)) == [Load(B)]


def test_of_two_models_asked_for_the_one_with_the_long_way_behind_it_is_loaded_first():
    """By the rules it is B: two requests and little work."""
    core = Core(A, B)
    core.post(Announced("run", chain(("call", A, 9.0), ("tests", None, 90.0))))
    few = (Submitted(request, B, f"short{request}", seconds=4.0) for request in (1, 2))
    assert core.post(Submitted(3, A, "run", step="call"), *few) == [Load(A)]


def test_a_swap_that_has_begun_is_not_thought_over():
    core = Core(A, B, C)
    core.resident(C)
    assert core.ask(1, B, seconds=1.0) == [Unload(C, f"room for {B}")]
    core.post(Announced("run", chain(("call", A, 9.0), ("tests", None, 90.0))), Submitted(2, A, "run", step="call"))
    assert core.post(Unloaded(C)) == [Load(B)]


def test_no_swap_is_thought_of_while_an_unload_that_failed_rests():
    core = waits_for_the_long_way()
    state = core.scheduler.state
    state.residencies[A].stays_until = core.now + 1.0
    assert core.ask(1, B, run="other", seconds=1.0) == []


# -- the future -----------------------------------------------------------------------------------------------------


def test_a_stage_that_has_made_all_its_calls_has_nothing_to_come():
    core = Core(A)
    core.resident(A)
    core.post(Announced("run", chain(("call", A, 4.0))), StepBegan("run", "call"), Submitted(1, A, "run", step="call"))
    core.post(Released(1), after=4.0)
    assert not seen(core).seconds


def test_what_is_overdue_by_some_time_is_believed_to_take_as_long_again():
    core = Core(A)
    core.resident(A)
    core.ask(1, A, seconds=4.0)
    core.post(Announced("run", chain(("think", None, 3.0), ("call", A, 2.0))), StepBegan("run", "think"))
    core.post(Submitted(2, A, "run", step="call", seconds=2.0), after=1.0)
    core.post(Woken(), after=5.0)
    coming = seen(core)
    assert [round(at - core.now, 6) for at, job in coming.running if coming.run[job] > 0] == [3.0, 3.0]


def test_a_step_asks_for_what_it_has_not_asked_yet_with_its_think_time_between():
    core = Core(A)
    core.resident(A)
    core.post(Announced("run", (Step("each", (Use(A, 2.0, calls=3.0),), think=1.0),)), StepBegan("run", "each"))
    assert ends(core, None)[0] == 1.0 + 2.0 + 1.0 + 2.0 + 1.0 + 2.0
    core.ask(1, A, step="each", seconds=2.0)
    assert ends(core, None)[0] == 2.0 + 1.0 + 2.0 + 1.0 + 2.0
    core.post(Released(1), after=2.0)
    core.post(Woken(), after=0.5)
    assert ends(core, None)[0] == pytest.approx(0.5 + 2.0 + 1.0 + 2.0, abs=1.0)


def test_a_run_that_announced_too_much_cannot_be_looked_at():
    core = Core(A)
    core.post(Announced("run", (Step("each", (Use(A, 1.0, calls=1e6),)),)))
    assert future(core.scheduler.state, "gpu0") is None


def test_models_of_other_devices_are_believed_to_answer_at_once():
    core = Core(A)
    core.resident(A)
    core.post(BudgetSet("gpu1", 5_000), Registered(ModelSpec(FAR, "gpu1", 5_000, 1, load_s=50.0)))
    core.post(Announced("run", chain(("here", A, 2.0), ("far", FAR, 3.0), ("again", A, 1.0))))
    core.ask(1, FAR, run="other", seconds=4.0)
    core.post(Announced("x", (Step("far", (Use(FAR, 8.0),)),)), StepBegan("x", "far"))
    coming = seen(core)
    assert coming.model.count(ELSEWHERE) == 3
    assert ends(core, None)[0] == 8.0


def test_a_model_comes_into_free_room_before_it_is_asked_for():
    core = Core(A, B, budget=10_000)
    core.resident(A)
    core.post(Announced("run", chain(("think", None, 7.0), ("call", B, 1.0))), StepBegan("run", "think"))
    assert ends(core, Move(1)) == (8.0, 8.0, 5.0)


def test_what_follows_a_step_that_has_ended_comes_at_once():
    core = Core(A)
    core.resident(A)
    core.post(Announced("run", chain(("think", None, 7.0), ("call", A, 2.0))), StepBegan("run", "think"))
    core.post(StepEnded("run", "think"), after=3.0)
    assert ends(core, None)[0] == 2.0


def test_a_step_that_waits_for_two_is_believed_to_come_after_both():
    core = Core(A)
    core.resident(A)
    both = (Step("one", think=2.0), Step("other", think=5.0), Step("call", (Use(A, 1.0),), after=("one", "other")))
    core.post(Announced("run", both), StepBegan("run", "one"), StepBegan("run", "other"))
    assert ends(core, None)[0] == 6.0


def test_a_play_holds_an_idle_model_for_what_comes_sooner_than_half_a_swap_takes():
    core = Core(A, B)
    core.resident(A)
    soon = (Step("lint", think=0.5), *chain(("think", None, 1.0), ("call", A, 1.0)))
    core.post(Announced("run", soon), StepBegan("run", "lint"), StepBegan("run", "think"))
    core.ask(1, B, run="other", seconds=1.0)
    assert ends(core, None)[0] == 1.0 + 1.0 + 5.0 + 1.0


def test_a_play_lets_as_many_models_go_as_the_next_one_takes():
    core = Core(A, B, budget=10_000)
    core.resident(A)
    core.ask(1, B, seconds=1.0)
    core.post(Loaded(B), after=5.0)
    core.post(Registered(ModelSpec(BIG, "gpu0", 10_000, 1, load_s=20.0)))
    core.ask(2, BIG, run="other", seconds=3.0)
    assert ends(core, None)[0] == CALL_S + 20.0 + 3.0
