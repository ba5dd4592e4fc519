"""The core's promises, one by one: event in, actions out."""

import pytest

from vwt_agents.core import (
    BudgetSet,
    Cancelled,
    Closing,
    Event,
    Grant,
    Load,
    Loaded,
    LoadFailed,
    ModelKey,
    ModelSpec,
    Placement,
    Policy,
    ProgramAware,
    Registered,
    Reject,
    Released,
    Scheduler,
    Submitted,
    Unload,
    Unloaded,
    UnloadFailed,
    Vanished,
    Woken,
)
from vwt_agents.core.placement import fewest
from vwt_agents.core.queue import Queue
from vwt_agents.core.state import Residency, State

CODER, CHAT, LLAMA = (ModelKey("small", "coder"), ModelKey("small", "chat"), ModelKey("large", "llama"))
ROOM = "room for "


class Core:
    """A scheduler and a clock that the test moves."""

    def __init__(
        self,
        *specs: ModelSpec,
        budget: int = 10_000,
        max_agents: int = 4,
        policy: Policy | None = None,
        batch=120.0,
    ):
        waits = {"interactive": 15.0, "batch": batch}
        self.scheduler = Scheduler(max_agents=max_agents, max_wait=waits, policy=policy)
        self.now = 0.0
        self.post(BudgetSet("gpu0", budget))
        for spec in specs:
            self.post(Registered(spec))

    def post(self, event: Event, *, after: float = 0.0):
        self.now += after
        actions = list(self.scheduler.handle(event, self.now))
        self.scheduler.state.check()
        return actions

    def ask(self, request: int, key: ModelKey, **more):
        return self.post(Submitted(request, key, "run", **more))

    def resident(self, *keys: ModelKey, load_s: float = 0.0):
        """Load models by a request each (ids from 1000 on) and end the requests."""
        for number, key in enumerate(keys, 1000):
            assert self.ask(number, key) == [Load(key)]
            assert self.post(Loaded(key), after=load_s) == [Grant(number, key)]
            assert self.post(Released(number)) == []


def spec(key: ModelKey, footprint: int = 6_000, slots: int = 2, keep_alive: float | None = None) -> ModelSpec:
    return ModelSpec(key, "gpu0", footprint, slots, keep_alive, load_s=0.0)


# -- the budget -----------------------------------------------------------------------------------------------------


def test_a_cold_model_is_loaded_and_its_requests_are_granted_once_it_can_serve():
    core = Core(spec(CODER))
    assert core.ask(1, CODER) == [Load(CODER)]
    assert core.ask(2, CODER) == []
    assert core.post(Loaded(CODER)) == [Grant(1, CODER), Grant(2, CODER)]


def test_models_that_fit_together_are_loaded_one_at_a_time():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000))
    assert core.ask(1, CODER) == [Load(CODER)]
    assert core.ask(2, CHAT) == []
    assert core.post(Loaded(CODER)) == [Load(CHAT), Grant(1, CODER)]


def test_a_model_that_is_being_unloaded_takes_memory_until_it_is_reported_gone():
    core = Core(spec(CODER), spec(CHAT))
    core.resident(CODER)
    assert core.ask(1, CHAT) == [Unload(CODER, f"{ROOM}{CHAT}")]
    assert core.post(Woken()) == []
    assert core.post(Unloaded(CODER)) == [Load(CHAT)]


def test_devices_have_budgets_of_their_own_and_load_side_by_side():
    core = Core(spec(CODER), ModelSpec(LLAMA, "gpu1", 6_000, 1))
    core.post(BudgetSet("gpu1", 6_000))
    assert core.ask(1, CODER) == [Load(CODER)]
    assert core.ask(2, LLAMA) == [Load(LLAMA)]


def test_a_request_that_can_never_fit_is_rejected_at_once_with_the_arithmetic():
    core = Core(spec(LLAMA, 19_839), budget=14_700)
    assert core.ask(1, LLAMA) == [Reject(1, "llama on large needs 19839 MiB, budget of gpu0 is 14700 MiB")]


def test_a_request_for_a_model_nobody_registered_is_rejected_and_told_what_there_is():
    core = Core(spec(CODER))
    assert core.ask(1, CHAT) == [Reject(1, "chat on small is not registered; registered: coder on small")]
    assert Core().ask(1, CHAT) == [Reject(1, "chat on small is not registered; registered: none")]


def test_a_device_without_a_budget_takes_no_model():
    core = Core(ModelSpec(LLAMA, "gpu7", 1, 1))
    assert core.ask(1, LLAMA) == [Reject(1, "llama on large needs 1 MiB, budget of gpu7 is 0 MiB")]


def test_a_shrunken_budget_evicts_idle_models_and_never_leased_ones():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000))
    core.resident(CODER, CHAT)
    core.ask(1, CODER)
    why = "over budget: 10000 MiB in use, budget of gpu0 is 6000 MiB"
    assert core.post(BudgetSet("gpu0", 6_000)) == [Unload(CHAT, why)]
    assert core.post(BudgetSet("gpu0", 1_000)) == []
    assert core.post(Unloaded(CHAT)) == []
    assert core.post(Released(1)) == [Unload(CODER, "over budget: 5000 MiB in use, budget of gpu0 is 1000 MiB")]


def test_a_budget_that_shrinks_below_a_model_rejects_those_who_wait_for_it():
    core = Core(spec(CODER, slots=1))
    core.resident(CODER)
    assert core.ask(1, CODER) == [Grant(1, CODER)]
    assert core.ask(2, CODER) == []
    reason = "coder on small needs 6000 MiB, budget of gpu0 is 5000 MiB"
    assert core.post(BudgetSet("gpu0", 5_000)) == [Reject(2, reason)]


def test_over_budget_a_busy_model_is_drained_and_the_drain_ends_when_the_budget_comes_back():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000))
    core.resident(CODER, CHAT)
    core.ask(1, CODER)
    core.ask(2, CHAT)
    assert core.post(BudgetSet("gpu0", 9_000)) == []
    assert core.ask(3, CHAT) == []
    assert core.post(BudgetSet("gpu0", 10_000)) == [Grant(3, CHAT)]


def test_over_budget_whoever_can_leave_does_even_where_that_is_not_enough_yet():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000))
    core.resident(CODER)
    core.ask(1, CHAT)
    assert core.post(BudgetSet("gpu0", 1_000)) == [
        Reject(1, "chat on small needs 5000 MiB, budget of gpu0 is 1000 MiB"),
        Unload(CODER, "over budget: 10000 MiB in use, budget of gpu0 is 1000 MiB"),
    ]


def test_a_measured_footprint_replaces_the_estimate_and_counts_from_then_on():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000))
    core.ask(1, CODER)
    core.post(Loaded(CODER, measured=5_500))
    assert core.ask(2, CHAT) == []
    assert core.scheduler.state.used("gpu0") == 5_500
    assert core.scheduler.state.models[CODER].spec.footprint == 5_500


def test_a_load_that_takes_more_than_promised_drives_idle_models_out_until_it_fits():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000))
    core.resident(CODER)
    core.ask(1, CHAT)
    why = "over budget: 12000 MiB in use, budget of gpu0 is 10000 MiB"
    assert core.post(Loaded(CHAT, measured=7_000)) == [Unload(CODER, why), Grant(1, CHAT)]


def test_a_model_measured_larger_than_the_whole_budget_is_rejected_and_leaves():
    core = Core(spec(CODER))
    core.ask(1, CODER)
    assert core.post(Loaded(CODER, measured=10_001)) == [
        Reject(1, "coder on small needs 10001 MiB, budget of gpu0 is 10000 MiB"),
        Unload(CODER, "over budget: 10001 MiB in use, budget of gpu0 is 10000 MiB"),
    ]


def test_a_model_found_in_memory_is_adopted_and_a_resident_one_can_be_measured_again():
    core = Core(spec(CODER))
    assert core.post(Loaded(CODER, measured=6_500)) == []
    assert core.scheduler.state.used("gpu0") == 6_500
    core.post(Loaded(CODER, measured=6_600))
    assert core.scheduler.state.used("gpu0") == 6_600
    assert core.ask(1, CODER) == [Grant(1, CODER)]


def test_a_new_spec_holds_from_the_next_load_on():
    core = Core(spec(CODER))
    core.resident(CODER)
    core.post(Registered(spec(CODER, 7_000, slots=1)))
    assert core.scheduler.state.used("gpu0") == 6_000
    core.post(Vanished(CODER, "crashed"))
    core.ask(1, CODER)
    assert core.scheduler.state.used("gpu0") == 7_000


# -- who is served --------------------------------------------------------------------------------------------------


def test_never_more_leases_than_slots_nor_than_agents():
    core = Core(spec(CODER, 5_000, slots=1), spec(CHAT, 5_000, slots=4), max_agents=2)
    core.resident(CODER, CHAT)
    assert core.ask(1, CODER) == [Grant(1, CODER)]
    assert core.ask(2, CODER) == []
    assert core.ask(3, CHAT) == [Grant(3, CHAT)]
    assert core.ask(4, CHAT) == []
    assert core.post(Released(3)) == [Grant(4, CHAT)]
    assert core.post(Released(1)) == [Grant(2, CODER)]


def test_a_free_agent_goes_to_the_request_due_first_so_a_person_overtakes_batch_work():
    core = Core(spec(CODER), max_agents=1)
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, CODER)
    core.ask(3, CODER, klass="interactive")
    assert core.post(Released(1)) == [Grant(3, CODER)]
    assert core.post(Released(3)) == [Grant(2, CODER)]


def test_batch_work_that_has_waited_long_enough_is_not_overtaken():
    core = Core(spec(CODER), max_agents=1)
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, CODER)
    core.now += 359.0
    core.ask(3, CODER, klass="interactive")
    core.now += 1.0
    assert core.post(Released(1)) == [Grant(2, CODER)]


def test_large_work_is_served_first_come_first_served_whatever_its_class():
    core = Core(spec(LLAMA, slots=1))
    core.resident(LLAMA)
    core.ask(1, LLAMA, tier="large")
    core.ask(2, LLAMA, tier="large", klass="batch")
    core.ask(3, LLAMA, tier="large", klass="interactive")
    assert core.post(Released(1)) == [Grant(2, LLAMA)]
    assert core.post(Released(2)) == [Grant(3, LLAMA)]


def test_a_cancelled_request_leaves_the_queue_and_gives_back_a_slot_granted_meanwhile():
    core = Core(spec(CODER, slots=1))
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, CODER)
    core.ask(3, CODER)
    assert core.post(Cancelled(2)) == []
    assert core.post(Cancelled(1)) == [Grant(3, CODER)]
    assert core.post(Released(1)) == []
    assert core.post(Cancelled(1)) == []


def test_a_request_id_in_use_cannot_be_submitted_again():
    core = Core(spec(CODER))
    core.ask(1, CODER)
    with pytest.raises(ValueError, match="request 1 was submitted already"):
        core.ask(1, CODER)
    core.post(Loaded(CODER))
    with pytest.raises(ValueError, match="request 1 was submitted already"):
        core.ask(1, CODER)


# -- loads and unloads that go wrong --------------------------------------------------------------------------------


def test_a_failed_load_rejects_all_who_wait_in_the_engines_words_and_frees_the_room():
    core = Core(spec(CODER), spec(CHAT))
    core.ask(1, CODER)
    core.ask(2, CODER)
    core.ask(3, CHAT)
    reason = "coder on small could not be loaded: unknown model architecture"
    assert core.post(LoadFailed(CODER, "unknown model architecture")) == [
        Reject(1, reason),
        Reject(2, reason),
        Load(CHAT),
    ]


def test_a_failed_unload_is_tried_again_after_a_while_and_the_model_serves_meanwhile():
    core = Core(spec(CODER), spec(CHAT))
    core.resident(CODER)
    core.ask(1, CHAT)
    assert core.post(UnloadFailed(CODER, "busy")) == []
    assert core.ask(2, CODER) == [Grant(2, CODER)]
    assert core.post(Released(2)) == []
    assert core.scheduler.deadline == 5.0
    assert core.post(Woken(), after=5.0) == [Unload(CODER, f"{ROOM}{CHAT}")]


def test_a_vanished_model_is_loaded_again_and_its_old_leases_take_no_new_slots():
    core = Core(spec(CODER, slots=1), max_agents=2)
    core.ask(1, CODER)
    core.post(Loaded(CODER))
    core.ask(2, CODER)
    assert core.post(Vanished(CODER, "crashed")) == [Load(CODER)]
    assert core.post(Loaded(CODER)) == [Grant(2, CODER)]
    assert core.post(Released(1)) == []
    assert core.scheduler.state.residencies[CODER].leases == {2}


def test_a_lease_on_a_vanished_model_holds_its_agent_until_it_is_released():
    core = Core(spec(CODER), max_agents=1)
    core.ask(1, CODER)
    core.post(Loaded(CODER))
    core.ask(2, CODER)
    core.post(Vanished(CODER, "crashed"))
    assert core.post(Loaded(CODER)) == []
    assert core.post(Released(1)) == [Grant(2, CODER)]


def test_a_lease_released_before_its_model_vanished_is_over():
    core = Core(spec(CODER))
    core.resident(CODER)
    assert core.post(Vanished(CODER, "crashed")) == []
    assert core.scheduler.state.used("gpu0") == 0


def test_a_report_that_answers_nothing_changes_nothing():
    core = Core(spec(CODER), spec(CHAT))
    core.ask(1, CODER)
    for event in (
        Unloaded(CODER),
        UnloadFailed(CODER, "x"),
        Vanished(CODER, "x"),
        Unloaded(CHAT),
        LoadFailed(CHAT, "x"),
    ):
        assert core.post(event) == []
    assert core.post(Loaded(LLAMA)) == []
    assert core.scheduler.state.residencies[CODER].phase == "loading"
    core.post(Loaded(CODER))
    core.post(Released(1))
    core.ask(2, CHAT)
    for event in (Loaded(CODER, measured=1), Vanished(CODER, "x"), LoadFailed(CODER, "x")):
        assert core.post(event) == []
    assert core.scheduler.state.residencies[CODER].phase == "unloading"


def test_time_never_runs_backwards():
    core = Core(spec(CODER))
    core.post(Woken(), after=50.0)
    core.now = 10.0
    core.ask(1, CODER)
    assert core.scheduler.state.waiting[1].since == 50.0


# -- who leaves, and when -------------------------------------------------------------------------------------------


def test_the_longest_unused_idle_model_leaves_first_and_no_more_than_needed():
    third = ModelKey("small", "third")
    core = Core(spec(CODER, 3_000), spec(CHAT, 5_000), spec(third, 2_000), spec(LLAMA, 5_000))
    core.resident(CODER, CHAT, third)
    for request, key in enumerate((third, CHAT, CODER), 1):
        core.ask(request, key)
        core.post(Released(request), after=1.0)
    # The longest unused frees 2000 of the 5000 missing and is not needed beside the next one.
    assert core.ask(9, LLAMA) == [Unload(CHAT, f"{ROOM}{LLAMA}")]


def test_a_cold_model_waits_while_the_resident_one_is_wanted_and_comes_when_it_is_idle():
    core = Core(spec(CODER, slots=1), spec(CHAT))
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, CODER)
    assert core.ask(3, CHAT) == []
    assert core.post(Released(1)) == [Grant(2, CODER)]
    assert core.post(Released(2)) == [Unload(CODER, f"{ROOM}{CHAT}")]


def test_the_model_with_most_requests_for_its_seconds_comes_next():
    core = Core(spec(CODER), spec(CHAT), spec(LLAMA))
    core.ask(1, CODER)
    core.ask(2, LLAMA)
    core.ask(3, CHAT)
    core.ask(4, CHAT)
    core.post(Loaded(CODER))
    assert core.post(Released(1)) == [Unload(CODER, f"{ROOM}{CHAT}")]
    assert core.post(Unloaded(CODER)) == [Load(CHAT)]


def test_a_smaller_model_uses_the_room_that_an_older_request_cannot_use_yet():
    core = Core(spec(CODER, 6_000), spec(LLAMA, 9_000), spec(CHAT, 4_000))
    core.resident(CODER)
    core.ask(1, CODER)
    assert core.ask(2, LLAMA) == []
    assert core.ask(3, CHAT) == [Load(CHAT)]


def test_an_idle_model_leaves_when_its_keep_alive_is_over_and_not_before():
    core = Core(spec(CODER, keep_alive=60.0))
    core.resident(CODER)
    assert core.scheduler.deadline == 60.0
    assert core.post(Woken(), after=59.0) == []
    assert core.post(Woken(), after=1.0) == [Unload(CODER, "idle for 60.0 s")]
    assert core.post(UnloadFailed(CODER, "busy")) == []
    assert core.scheduler.deadline == 65.0


def test_without_keep_alive_and_without_anyone_waiting_there_is_no_deadline():
    core = Core(spec(CODER))
    core.resident(CODER)
    assert core.scheduler.deadline is None


# -- the guard: nobody waits for ever -------------------------------------------------------------------------------


def test_a_due_model_drains_the_one_in_its_way_however_steady_the_stream_on_it():
    core = Core(spec(CODER, slots=1), spec(CHAT))
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, CHAT, klass="interactive")
    core.ask(3, CODER)
    assert core.scheduler.deadline == 15.0
    assert core.post(Woken(), after=14.0) == []
    assert core.post(Released(1)) == [Grant(3, CODER)]
    core.ask(4, CODER)
    assert core.post(Woken(), after=1.0) == []
    assert core.post(Released(3)) == [Unload(CODER, f"{ROOM}{CHAT}")]
    assert core.post(Unloaded(CODER)) == [Load(CHAT)]
    assert core.post(Loaded(CHAT)) == [Grant(2, CHAT)]


def test_a_drain_ends_when_the_due_request_leaves():
    core = Core(spec(CODER), spec(CHAT))
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, CHAT, klass="interactive")
    core.post(Woken(), after=15.0)
    assert core.ask(3, CODER) == []
    assert core.post(Cancelled(2)) == [Grant(3, CODER)]


def test_victims_of_a_drain_leave_together_once_all_are_idle():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000), spec(LLAMA, 10_000))
    core.resident(CODER, CHAT)
    core.ask(1, CODER)
    core.ask(2, CHAT)
    core.ask(3, LLAMA, klass="interactive")
    core.post(Woken(), after=15.0)
    assert core.post(Released(1)) == []
    assert core.post(Released(2)) == [Unload(CHAT, f"{ROOM}{LLAMA}"), Unload(CODER, f"{ROOM}{LLAMA}")]
    assert {r.phase for r in core.scheduler.state.residencies.values()} == {"unloading"}


def test_a_drain_moves_on_when_another_model_falls_idle_first():
    core = Core(spec(CODER, 5_000), spec(CHAT, 5_000), spec(LLAMA, 5_000))
    core.resident(CODER, CHAT)
    core.ask(1, CODER)
    core.ask(2, CHAT)
    core.ask(3, LLAMA, klass="interactive")
    core.post(Woken(), after=15.0)
    assert core.ask(4, CHAT) == []
    assert core.post(Released(1)) == [Unload(CODER, f"{ROOM}{LLAMA}"), Grant(4, CHAT)]


def test_nothing_else_is_loaded_before_a_due_model_even_if_it_would_fit():
    core = Core(spec(CODER, 6_000), spec(LLAMA, 9_000), spec(CHAT, 4_000))
    core.resident(CODER)
    core.ask(1, CODER)
    core.ask(2, LLAMA, klass="interactive")
    core.post(Woken(), after=15.0)
    assert core.ask(3, CHAT) == []
    assert core.post(Released(1)) == [Unload(CODER, f"{ROOM}{LLAMA}")]


def test_a_visit_outlasts_what_its_swap_costs_before_it_is_cut_short_for_a_due_model():
    """Interactive requests may make forced swaps take half of the time: a load of 20 s is followed by 20 s of service."""
    core = Core(spec(CODER, slots=1), spec(CHAT))
    core.ask(1, CODER)
    core.ask(2, CHAT, klass="interactive")
    core.post(Loaded(CODER), after=20.0)
    core.ask(3, CODER)
    assert core.post(Woken(), after=10.0) == []
    assert core.post(Released(1)) == [Grant(3, CODER)]
    core.ask(4, CODER)
    assert core.scheduler.deadline == 40.0
    core.post(Woken(), after=10.0)
    assert core.post(Released(3)) == [Unload(CODER, f"{ROOM}{CHAT}")]


def test_a_wait_shorter_than_swaps_can_keep_lasts_as_long_as_they_need():
    """15 s cannot be kept with loads of 20 s and half of the time for them: the first swap comes after 40 s."""
    core = Core(spec(CODER, slots=1), spec(CHAT))
    core.ask(1, CODER)
    core.post(Loaded(CODER), after=20.0)
    core.ask(2, CHAT, klass="interactive")
    core.ask(3, CODER)
    core.post(Woken(), after=39.0)
    assert core.post(Released(1)) == [Grant(3, CODER)]
    assert core.scheduler.deadline == 60.0


def test_a_model_that_has_not_served_yet_is_not_driven_out_again():
    core = Core(spec(CODER), spec(CHAT), ModelSpec(LLAMA, "gpu1", 1, 1), max_agents=1)
    core.post(BudgetSet("gpu1", 1))
    core.ask(1, LLAMA)
    core.post(Loaded(LLAMA))
    core.ask(2, CODER)
    core.ask(3, CHAT)
    core.post(Loaded(CODER))
    assert core.post(Woken(), after=500.0) == []
    assert core.post(Released(1)) == [Grant(2, CODER)]
    assert core.post(Released(2)) == [Unload(CODER, f"{ROOM}{CHAT}")]


def test_due_models_take_turns_instead_of_driving_each_other_out():
    """Three models, one place, everybody due from the start: each is loaded in its turn and all requests are served."""
    keys = [ModelKey("small", name) for name in "abc"]
    core = Core(*(spec(key, slots=1) for key in keys), batch=0.0)
    loads, granted = [], 0
    actions = [action for request in range(12) for action in core.ask(request, keys[request // 4])]
    while actions:
        action = actions.pop(0)
        match action:
            case Load(key):
                loads.append(key.model)
                actions += core.post(Loaded(key))
            case Grant(request, _):
                granted += 1
                actions += core.post(Released(request))
            case Unload(key, _):
                actions += core.post(Unloaded(key))
    assert granted == 12
    assert "".join(loads) == "abc" * 4


# -- closing --------------------------------------------------------------------------------------------------------


def test_closing_rejects_what_waits_and_unloads_what_is_idle_now_or_later():
    third = ModelKey("small", "third")
    core = Core(spec(CODER, 3_000, slots=1), spec(CHAT, 3_000), spec(third, 3_000))
    core.resident(CODER, CHAT)
    core.ask(1, CODER)
    core.ask(2, CODER)
    core.ask(3, third)
    assert core.post(Closing()) == [Reject(2, "closing"), Reject(3, "closing"), Unload(CHAT, "closing")]
    assert core.ask(4, CODER) == [Reject(4, "closing")]
    assert core.post(Released(1)) == [Unload(CODER, "closing")]
    assert core.post(UnloadFailed(CODER, "busy")) == []
    assert core.post(Loaded(third)) == [Unload(third, "closing")]
    assert core.post(Woken(), after=5.0) == [Unload(CODER, "closing")]


# -- arguments ------------------------------------------------------------------------------------------------------


def test_settings_that_make_no_sense_are_refused_and_say_what_would():
    with pytest.raises(ValueError, match="max_agents=0; at least 1"):
        Scheduler(max_agents=0, max_wait={"interactive": 1.0, "batch": 2.0})
    with pytest.raises(ValueError, match="no bound for batch"):
        Scheduler(max_agents=1, max_wait={"interactive": 1.0})
    with pytest.raises(ValueError, match="at least one slot"):
        spec(CODER, slots=0)


def test_a_policy_cannot_break_the_budget_nor_evict_a_lease_nor_load_twice():
    class Reckless(ProgramAware):
        wish = Placement()

        def placement(self, state, device):
            return self.wish

    core = Core(spec(CODER), spec(CHAT, 5_000), policy=Reckless())
    core.post(Loaded(CODER))
    core.ask(1, CODER)
    for wish in (Placement(target=CHAT, load=True), Placement(target=CODER, load=True), Placement(unload=(CODER,))):
        Reckless.wish = wish
        with pytest.raises(AssertionError):
            core.post(Woken())
    Reckless.wish = Placement(load=True)
    assert core.post(Woken()) == []


# -- small parts ----------------------------------------------------------------------------------------------------


def test_the_fewest_victims_are_chosen_in_order_of_preference():
    def stay(name: str, footprint: int) -> Residency:
        return Residency(ModelKey("small", name), "gpu0", footprint, 1, "resident", 0.0, 0.0)

    a, b, c = stay("a", 2), stay("b", 3), stay("c", 5)
    assert fewest(0, [a]) == ()
    assert fewest(2, [a, b, c]) == (a,)
    assert fewest(4, [a, b, c]) == (a, b)
    assert fewest(6, [a, b, c]) in {(a, c), (b, c)}
    assert fewest(11, [a, b, c]) is None


def test_a_queue_knows_its_oldest_and_is_empty_without_anyone():
    assert (Queue().first(), Queue().soonest_due(), Queue().soonest_late(), Queue().longest()) == (None,) * 4
    core = Core(spec(CODER))
    core.ask(1, CODER)
    core.now += 1.0
    core.ask(2, CODER, klass="interactive")
    queue = core.scheduler.state.models[CODER].queue
    assert (len(queue), [w.request for w in queue]) == (2, [1, 2])
    assert queue.first().request == 2
    assert queue.soonest_due().request == 2


def test_a_queue_knows_who_shares_a_prefix_until_the_last_of_them_has_left():
    core = Core(spec(CODER))
    for request in (1, 2):
        core.ask(request, CODER, prefix="task")
    queue = core.scheduler.state.models[CODER].queue
    core.post(Cancelled(1))
    assert queue.sharing("task").request == 2
    core.post(Cancelled(2))
    assert queue.sharing("task") is None


def test_the_state_notices_books_that_contradict_themselves():
    state = State(max_agents=0)
    state._leases[1] = CODER
    with pytest.raises(AssertionError):
        state.check()
