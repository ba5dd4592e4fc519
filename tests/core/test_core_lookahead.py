"""What the core makes of what runs announce: whom it holds, whom it brings in early, who goes first."""

import pytest
from core_world import A, B, C, Core, chain

from vwt_agents.core import (
    Announced,
    Cancelled,
    Grant,
    Load,
    Loaded,
    LoadFailed,
    ModelKey,
    ModelSpec,
    Registered,
    Reject,
    Released,
    RunEnded,
    Step,
    StepBegan,
    StepEnded,
    Submitted,
    Unload,
    Unloaded,
    Use,
    Vanished,
    Woken,
)
from vwt_agents.core.admission import FAIR_SHARE
from vwt_agents.core.prices import prices

# -- hold -----------------------------------------------------------------------------------------------------------


def test_a_model_is_held_for_a_request_that_comes_sooner_than_a_reload_would_take():
    core = Core(A, B)
    core.resident(A)
    core.post(Announced("run", chain(("think", None, 3.0), ("call", A, 4.0))), StepBegan("run", "think"))
    assert core.ask(1, B, run="other") == []
    assert core.post(StepEnded("run", "think"), Submitted(2, A, "run", step="call"), after=3.0) == [Grant(2, A)]
    assert core.post(Released(2), StepEnded("run", "call"), after=4.0) == [Unload(A, f"room for {B}")]


def test_a_model_is_not_held_for_a_request_that_comes_later_than_a_reload_would():
    core = Core(A, B)
    core.resident(A)
    core.post(Announced("run", chain(("think", None, 30.0), ("call", A, 4.0))), StepBegan("run", "think"))
    assert core.ask(1, B, run="other") == [Unload(A, f"room for {B}")]


def test_a_stage_that_hangs_holds_a_model_no_longer_than_the_hold():
    """Believed to ask after 3 s; the hold is half of both loads, 5 s, beyond that moment, and nothing renews it."""
    core = Core(A, B)
    core.resident(A)
    core.post(Announced("run", chain(("think", None, 3.0), ("call", A, 4.0))), StepBegan("run", "think"))
    core.ask(1, B, run="other")
    assert core.scheduler.deadline == core.now + 8.0
    assert core.post(Woken(), after=7.9) == []
    assert core.post(Woken(), after=0.1) == [Unload(A, f"room for {B}")]


def test_a_run_that_is_over_holds_nothing():
    core = Core(A, B)
    core.resident(A)
    core.post(Announced("run", chain(("think", None, 3.0), ("call", A, 4.0))), StepBegan("run", "think"))
    core.ask(1, B, run="other")
    assert core.post(RunEnded("run")) == [Unload(A, f"room for {B}")]


def test_a_request_that_ends_after_its_run_did_frees_its_slot_all_the_same():
    core = Core(A)
    core.resident(A)
    core.post(Announced("run", chain(("call", A, 4.0))), StepBegan("run", "call"))
    assert core.post(Submitted(1, A, "run", step="call")) == [Grant(1, A)]
    core.post(RunEnded("run"))
    core.post(Released(1), after=1.0)
    assert core.ask(2, A, run="other") == [Grant(2, A)]


def test_the_victim_is_the_model_needed_last():
    core = Core(A, B, C, budget=10_000)
    core.resident(A, 1000)
    core.resident(B, 1001)
    core.post(Announced("x", chain(("t", None, 40.0), ("c", A, 4.0))), StepBegan("x", "t"))
    core.post(Announced("y", chain(("t", None, 90.0), ("c", B, 4.0))), StepBegan("y", "t"))
    assert core.ask(1, C, run="other") == [Unload(B, f"room for {C}")]


# -- prefetch -------------------------------------------------------------------------------------------------------


def test_the_model_needed_next_is_loaded_into_free_room_before_it_is_asked_for():
    core = Core(A, B, budget=10_000)
    core.resident(A)
    core.post(Announced("run", chain(("draft", A, 8.0), ("review", B, 4.0))))
    assert core.post(Submitted(1, A, "run", step="draft")) == [Grant(1, A), Load(B)]
    core.post(Loaded(B), after=5.0)
    core.post(Released(1), StepEnded("run", "draft"), after=3.0)
    assert core.ask(2, B, step="review") == [Grant(2, B)]


def test_nothing_is_prefetched_while_somebody_waits_for_another_model_nor_over_one_that_serves():
    core = Core(A, B, C, budget=10_000)
    core.resident(A)
    core.post(Announced("run", chain(("draft", A, 8.0), ("review", B, 4.0))))
    assert core.post(Submitted(1, A, "run", step="draft"), Submitted(2, C, "other"))[0] == Load(C)
    assert core.post(Loaded(C), after=5.0) == [Grant(2, C)]


def test_a_model_that_somebody_waits_for_is_loaded_before_one_that_is_only_expected():
    core = Core(A, B, C, budget=10_000)
    expected = Announced("run", chain(("think", None, 30.0), ("call", A, 4.0)))
    assert core.post(expected, StepBegan("run", "think"), Submitted(1, C, "other")) == [Load(C)]
    assert core.post(Loaded(C), after=5.0) == [Load(A), Grant(1, C)]


def test_a_prefetched_model_that_nobody_came_for_is_let_go_and_not_brought_back():
    core = Core(A, B, budget=10_000, keep_alive=60.0)
    core.resident(A)
    core.post(Announced("run", chain(("draft", A, 8.0), ("review", B, 4.0))))
    core.post(Submitted(1, A, "run", step="draft"))
    core.post(Loaded(B), after=5.0)
    unloads = core.post(Woken(), after=63.1)
    assert [action.key for action in unloads] == [B]
    assert core.post(Unloaded(B)) == []


def test_a_model_that_failed_is_not_prefetched_again_only_who_needs_it_tries_again():
    core = Core(A, B, budget=10_000)
    core.resident(A)
    core.post(Announced("run", chain(("draft", A, 600.0), ("review", B, 4.0))))
    assert Load(B) in core.post(Submitted(1, A, "run", step="draft"))
    assert core.post(LoadFailed(B, "no such file"), after=1.0) == []
    assert core.post(Woken(), after=1.0) == []
    assert core.ask(2, B, run="other") == [Load(B)]
    core.post(Loaded(B), after=5.0)
    core.post(Released(2))
    assert core.post(Vanished(B, "crashed")) == []


@pytest.mark.parametrize("keep_alive", [0.0, 10.0])
def test_a_hanging_run_does_not_make_a_model_come_and_go_for_another_that_needs_it_later(keep_alive):
    core = Core(A, B, budget=10_000, keep_alive=keep_alive)
    core.post(Announced("hangs", chain(("t", None, 1.0), ("c", B, 4.0))), StepBegan("hangs", "t"))
    core.post(Announced("later", chain(("t", None, 900.0), ("c", B, 4.0))), StepBegan("later", "t"))
    loads, now = 0, 0.0
    pending = [Woken()]
    while now < 2000.0:
        event = pending.pop(0) if pending else Woken()
        if isinstance(event, Woken):
            now = core.scheduler.deadline or 2000.0
        for action in core.scheduler.handle(event, now):
            match action:
                case Load(key):
                    loads += 1
                    pending.append(Loaded(key))
                case Unload(key, _):
                    pending.append(Unloaded(key))
    assert loads <= 2


# -- what nobody should say -----------------------------------------------------------------------------------------


def test_a_run_that_announces_twice_is_believed_the_second_time_only():
    core = Core(A, B)
    core.post(Announced("run", chain(("t", None, 9.0), ("c", A, 15.0))), StepBegan("run", "t"))
    core.post(Announced("run", chain(("t", None, 9.0), ("c", B, 7.0))), StepBegan("run", "t"))
    programs = core.scheduler.state.programs
    assert (programs.work(A), list(programs.expected(A)), programs.heading(A, 0.0)) == (0.0, [], 0)
    assert (programs.work(B), len(programs.expected(B)), programs.heading(B, 0.0)) == (7.0, 1, 1)
    core.post(RunEnded("run"))
    assert (programs.work(B), list(programs.expected(B)), programs.heading(B, 0.0)) == (0.0, [], 0)


@pytest.mark.parametrize(
    "steps",
    [(Step("a", after=("b",)), Step("b")), (Step("a"), Step("a")), (Step("a", after=("nobody",)),)],
    ids=["in another order", "twice", "unknown"],
)
def test_steps_that_make_no_sense_are_an_error_and_leave_nothing_behind(steps):
    core = Core(A)
    with pytest.raises(ValueError, match=r"step '.' is announced twice, or before one that it waits for"):
        core.post(Announced("run", steps))
    assert core.ask(1, A) == [Load(A)]


def test_a_step_names_a_model_once():
    with pytest.raises(ValueError, match="step 's' names a model twice"):
        Step("s", (Use(A, 1.0), Use(A, 2.0)))


def test_a_request_after_its_step_has_ended_takes_nothing_from_what_others_announced():
    core = Core(A)
    core.post(Announced("run", chain(("c", A, 15.0))), Announced("other", chain(("c", A, 9.0))))
    core.post(StepEnded("run", "c"), StepEnded("run", "c"), StepBegan("run", "c"))
    assert core.scheduler.state.programs.work(A) == 9.0
    core.ask(1, A, step="c")
    assert core.scheduler.state.programs.work(A) == 9.0


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e300])
def test_beliefs_that_are_no_durations_are_not_believed(seconds):
    core = Core(A)
    core.post(Announced("run", (Step("s", (Use(A, seconds, seconds),), think=seconds),)))
    core.ask(1, A, step="s", seconds=seconds)
    assert core.scheduler.state.waiting[1].seconds == 5.0


def test_a_load_is_believed_to_take_a_sensible_time():
    for load_s in (float("inf"), float("nan"), -1.0):
        assert ModelSpec(A, "gpu0", 1, 1, load_s=load_s).load_s == 5.0


def test_ways_that_part_and_join_again_are_followed_once_for_each_step():
    """However many they are: 40 forks on the way would be 2**40 ways. Each step is believed of once all before it are."""
    core = Core(A)
    steps = [Step("s0", (), 1.0)]
    for fork in range(40):
        steps.append(Step(f"long{fork}", (), 1.0, (f"s{fork}",)))
        steps.append(Step(f"short{fork}", (), 1.0 - 0.5**fork, (f"s{fork}",)))
        steps.append(Step(f"s{fork + 1}", (), 1.0, (f"long{fork}", f"short{fork}")))
    core.post(Announced("run", (*steps, Step("call", (Use(A, 1.0),), after=("s40",)))))
    core.post(StepBegan("run", "s0"), after=5.0)
    assert [each.at for each in core.scheduler.state.programs.expected(A)] == [5.0 + 1.0 + 40 * 2.0]


def test_nothing_is_left_of_the_work_of_runs_that_are_over_however_many_they_were():
    core = Core(A)
    for run in range(1, 200):
        core.post(Announced(f"run{run}", chain(("s0", A, 0.1), ("s1", A, 1.0 / run))))
    for run in range(1, 200):
        core.post(RunEnded(f"run{run}"))
    assert core.scheduler.state.programs.work(A) == 0.0


def test_a_chain_of_any_length_can_be_announced():
    core = Core(A)
    core.post(Announced("run", (*chain(*((f"s{i}", None, 0.1) for i in range(5000))), Step("c", (Use(A, 1.0),)))))
    core.post(StepBegan("run", "s0"))
    assert len(core.scheduler.state.programs.expected(A)) == 1


def test_runs_that_never_say_they_are_over_are_forgotten_once_they_are_many():
    core = Core(A)
    core.resident(A)
    for request in range(5000):
        core.ask(request, A, run=f"run{request}")
        core.post(Released(request))
    assert len(core.scheduler.state.programs) <= 1025


def test_of_many_idle_models_the_cheapest_leave_without_every_set_of_them_being_weighed():
    keys = [ModelKey("here", f"m{number:02}") for number in range(24)]
    core = Core(*keys, budget=24 * 5_000)
    for number, key in enumerate(keys):
        core.resident(key, 1000 + number)
    big = ModelKey("here", "big")
    core.post(Registered(ModelSpec(big, "gpu0", 60_000, 1)))
    assert len(core.ask(1, big)) == 12


# -- who goes first -------------------------------------------------------------------------------------------------


def test_of_batch_runs_the_one_with_least_to_do_goes_first():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A, run="now")
    core.post(Announced("long", chain(*((f"s{i}", A, 40.0) for i in range(5)))))
    core.post(Announced("short", chain(("s0", A, 10.0))))
    core.post(Announced("longest", chain(*((f"s{i}", A, 40.0) for i in range(40)))))
    for request, run in enumerate(("long", "short"), 2):
        core.ask(request, A, run=run, step="s0")
    assert core.order(1) == [1, 3, 2]


def test_of_runs_with_about_as_much_to_do_the_oldest_goes_first():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A, run="now")
    for run in ("first", "second"):
        core.post(Announced(run, chain(("s0", A, 10.0))))
    core.ask(2, A, run="second", step="s0")
    core.ask(3, A, run="first", step="s0")
    assert core.order(1) == [1, 3, 2]


def test_people_are_served_in_the_order_in_which_they_came():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A, run="now")
    core.post(Announced("long", chain(*((f"s{i}", A, 40.0) for i in range(5))), "interactive"))
    core.post(Announced("short", chain(("s0", A, 10.0)), "interactive"))
    for request, run in enumerate(("long", "short"), 2):
        core.ask(request, A, run=run, step="s0", klass="interactive")
    assert core.order(1) == [1, 2, 3]


def test_a_request_on_which_most_of_the_remaining_time_hangs_goes_first():
    core = Core(A, B, budget=10_000, slots=1)
    core.resident(A)
    core.ask(1, A, run="now")
    core.post(Announced("short", chain(("s0", A, 10.0))))
    core.post(Announced("critical", chain(("s0", A, 10.0), ("s1", None, 500.0))))
    core.ask(2, A, run="short", step="s0")
    core.ask(3, A, run="critical", step="s0")
    assert core.order(1) == [1, 3, 2]


def test_a_run_that_took_more_than_its_share_goes_behind_the_others():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A, run="greedy", seconds=FAIR_SHARE)
    core.post(Released(1))
    core.ask(2, A, run="now")
    core.ask(3, A, run="greedy", seconds=1.0)
    core.ask(4, A, run="modest", seconds=200.0)
    assert core.order(2) == [2, 4, 3]


def test_calls_that_share_a_prefix_follow_one_another_on_its_warm_slot():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A, prefix="task")
    core.ask(2, A, prefix="other")
    core.ask(3, A, prefix="task")
    assert core.order(1) == [1, 3, 2]


def test_a_warm_prefix_does_not_overtake_a_request_that_is_due():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A, prefix="task")
    core.ask(2, A, prefix="other")
    core.ask(3, A, prefix="task")
    core.now += 120.0
    assert core.order(1) == [1, 2, 3]


def test_a_request_past_its_deadline_is_rejected_and_makes_room_for_nobody():
    core = Core(A, B)
    core.resident(A)
    core.ask(1, A)
    core.ask(2, B, deadline=15.0)
    assert core.scheduler.deadline == 15.0
    assert core.post(Woken(), after=10.0) == [Reject(2, "deadline passed after waiting 10 s")]
    assert core.post(Released(1)) == []


def test_a_slot_that_becomes_free_at_its_deadline_is_not_given_to_it():
    core = Core(A, slots=1)
    core.resident(A)
    core.ask(1, A)
    core.ask(2, A, deadline=core.now + 10.0)
    assert core.post(Released(1), after=10.0) == [Reject(2, "deadline passed after waiting 10 s")]


@pytest.mark.parametrize("deadline", [float("inf"), float("nan")])
def test_a_deadline_that_never_comes_is_none(deadline):
    core = Core(A)
    core.resident(A)
    core.post(Submitted(1, A, "run"), Submitted(2, A, "run"), Submitted(3, A, "run", deadline=deadline))
    assert core.scheduler.deadline is None
    core.ask(4, A, deadline=15.0)
    assert core.scheduler.deadline == 15.0
    assert core.post(Woken(), after=10.0) == [Reject(4, "deadline passed after waiting 10 s")]


def test_deadlines_of_those_who_left_are_forgotten_however_many_they_were():
    core = Core(A)
    core.resident(A)
    core.post(Submitted(1, A, "run"), Submitted(2, A, "run"), Submitted(3, A, "run", deadline=60.0))
    for request in range(4, 1004):
        core.ask(request, A, deadline=3600.0)
        core.post(Cancelled(request))
    assert core.scheduler.deadline == 60.0
    assert len(core.scheduler.state._by_deadline) < 100


def test_a_queue_forgets_those_who_left_however_many_they_were():
    core = Core(A)
    core.resident(A)
    core.ask(1, A)
    core.ask(2, A)
    for request in range(3, 1003):
        core.ask(request, A)
        core.post(Cancelled(request))
    core.ask(1003, A)
    core.post(Released(1))
    queue = core.scheduler.state.models[A].queue
    assert (len(queue), queue.kept() < 500) == (0, True)


def test_what_is_said_of_a_run_that_nobody_announced_changes_nothing():
    core = Core(A)
    assert core.post(StepBegan("nobody", "step"), StepEnded("nobody", "step"), RunEnded("nobody")) == []
    assert len(core.scheduler.state.programs) == 0


def test_a_run_that_is_over_leaves_nothing_to_come_whether_its_steps_had_ended_or_not():
    core = Core(A)
    core.post(Announced("run", chain(("one", A, 4.0), ("other", A, 2.0))), StepBegan("run", "one"))
    core.post(StepEnded("run", "one"), after=4.0)
    programs = core.scheduler.state.programs
    assert (programs.work(A), len(programs.expected(A))) == (2.0, 1)
    core.post(RunEnded("run"))
    assert (programs.work(A), list(programs.expected(A)), len(programs)) == (0.0, [], 0)


# -- what is learned ------------------------------------------------------------------------------------------------


def test_what_a_step_does_corrects_what_was_believed_of_it():
    core = Core(A)
    core.resident(A)
    core.post(Announced("run", (Step("loop", (Use(A, 10.0, calls=5.0),), think=1.0),)))
    programs = core.scheduler.state.programs
    core.ask(1, A, step="loop")
    core.post(Released(1), after=20.0)
    assert programs.seconds("run", "loop", A) == 15.0, "half of the way from 10 to 20"
    assert [each.at for each in programs.expected(A)] == [core.now + 1.0]
    core.post(Submitted(2, A, "run", step="loop"), after=5.0)
    assert [each.at for each in programs.expected(A)] == [core.now + 15.0 + 3.0], (
        "a thought of 5 s where 1 s was believed"
    )


def test_a_request_that_left_before_it_ran_says_nothing_of_how_long_such_a_request_takes():
    core = Core(A)
    core.post(Announced("run", (Step("loop", (Use(A, 10.0, calls=5.0),)),)))
    core.ask(1, A, step="loop")
    core.post(Cancelled(1), after=60.0)
    assert core.scheduler.state.programs.seconds("run", "loop", A) == 10.0


def test_calls_side_by_side_are_one_stretch_of_work_and_not_thought_between():
    core = Core(A)
    core.resident(A)
    core.post(Announced("run", (Step("map", (Use(A, 10.0, calls=5.0),), think=1.0),)))
    core.ask(1, A, step="map")
    core.ask(2, A, step="map")
    core.post(Released(1), after=10.0)
    assert core.ask(3, A, step="map") == [Grant(3, A)]
    core.post(Released(2), Released(3), after=10.0)
    assert [each.at for each in core.scheduler.state.programs.expected(A)] == [core.now + 1.0]


def test_a_load_is_believed_to_take_as_long_as_the_last_ones_took():
    core = Core(A, B)
    model = core.scheduler.state.models[A]
    assert model.load_s == 5.0
    core.ask(1, A)
    core.post(Loaded(A), after=9.0)
    assert model.load_s == 9.0


# -- prices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "budget", "expected"),
    [
        ({A: (5, 10.0), B: (5, 20.0)}, 10, {A: 0.0, B: 1.0}),
        ({A: (5, 10.0), B: (5, 20.0)}, 5, {A: 1.0, B: 1.0}),
        ({A: (5, 10.0), B: (5, 10.0), C: (5, 10.0)}, 10, {A: 0.5, B: 0.5, C: 0.5}),
        ({A: (9, 30.0), B: (5, 10.0), C: (5, 5.0)}, 10, {A: 1.0, B: 1.0, C: 0.0}),
        ({A: (12, 30.0), B: (5, 10.0)}, 10, {A: 1.0, B: 1.0}),
    ],
)
def test_a_price_says_whose_seconds_set_the_end(work, budget, expected):
    assert prices(work, budget) == pytest.approx(expected)


def test_the_model_whose_work_sets_the_end_is_loaded_first():
    core = Core(A, B, C, budget=10_000)
    announced = Announced("run", chain(("s0", A, 10.0), ("s1", A, 300.0)))
    asked = [Submitted(1, B, "x"), Submitted(2, C, "y"), Submitted(3, C, "y"), Submitted(4, A, "run", step="s0")]
    assert core.post(announced, *asked) == [Load(A)]


def test_a_run_that_has_been_expected_for_too_long_is_not_heading_for_anything():
    core = Core(A)
    core.post(Announced("run", chain(("think", None, 3.0), ("call", A, 4.0))), StepBegan("run", "think"))
    programs = core.scheduler.state.programs
    assert programs.heading(A, core.now) == 1
    assert programs.heading(A, core.now + 4.0) == 0


def test_of_two_that_share_a_prefix_one_may_leave():
    core = Core(A)
    core.ask(1, A, prefix="same")
    core.ask(2, A, prefix="same")
    core.post(Cancelled(1))
    assert core.post(Loaded(A), after=5.0) == [Grant(2, A)]
