"""Other processes and programs on the same device: what they take lessens what is loaded, and nobody starves for it."""

from vwt_agents.core import (
    Announced,
    BudgetSet,
    Cancelled,
    Grant,
    Load,
    LoadDeferred,
    Loaded,
    ModelKey,
    ModelSpec,
    Occupied,
    Pressed,
    Registered,
    Reject,
    Released,
    Scheduler,
    Step,
    Submitted,
    Unload,
    Unloaded,
    Use,
    Woken,
    explain,
)

A, B, C = (ModelKey("small", name) for name in "abc")


class Core:
    """A device of 10 MiB and three models of 4, 4 and 8 that load in 5 s; a clock that the test moves."""

    def __init__(self, patience=600.0):
        self.scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0}, patience=patience)
        self.now = 0.0
        self.post(BudgetSet("gpu0", 10))
        for key, mib in ((A, 4), (B, 4), (C, 8)):
            self.post(Registered(ModelSpec(key, "gpu0", mib, 2, None, 5.0)))

    def post(self, event, *, after=0.0):
        self.now += after
        actions = list(self.scheduler.handle(event, self.now))
        self.scheduler.state.check()
        return actions

    def ask(self, request, key):
        return self.post(Submitted(request, key, f"run{request}"))

    def wake(self):
        deadline = self.scheduler.deadline
        assert deadline is not None
        assert deadline > self.now
        self.now = deadline
        return self.post(Woken())

    def why(self, request):
        return explain(self.scheduler.state, request)


# -- what others have taken -----------------------------------------------------------------------------------------


def test_what_others_take_is_not_loaded_into_and_rejects_nobody():
    core = Core()
    core.post(Occupied("gpu0", 3))
    assert core.ask(1, C) == []
    assert core.why(1) == "waits for 8 MiB on gpu0 (7 free); others take 3 MiB of it"
    assert core.post(Occupied("gpu0", 2), after=100) == [Load(C)]


def test_a_model_that_fits_is_not_held_up_by_a_due_one_that_others_keep_out():
    core = Core()
    core.post(Occupied("gpu0", 3))
    core.ask(1, C)
    core.now = 500.0
    assert core.ask(2, A) == [Load(A)]


def test_requests_are_rejected_once_others_have_kept_their_model_out_for_longer_than_patience():
    core = Core(patience=60.0)
    core.post(Occupied("gpu0", 3))
    core.ask(1, C)
    assert core.wake() == [
        Reject(1, f"{C} needs 8 MiB, and for 60 s others have kept it out: of the 10 MiB of gpu0 others take 3 MiB")
    ]
    assert core.now == 60.0
    core.ask(2, C)
    assert core.wake() != []
    assert core.now == 120.0


def test_patience_begins_anew_when_there_was_room_in_between():
    core = Core(patience=60.0)
    core.ask(1, A)
    core.ask(2, C)
    core.post(Occupied("gpu0", 3), after=50)
    core.post(Occupied("gpu0", 0), after=20)
    core.post(Occupied("gpu0", 3), after=20)
    assert core.post(Woken(), after=50) == []
    assert [type(action) for action in core.post(Woken(), after=10)] == [Reject]


def test_models_nobody_asks_for_leave_when_others_took_their_room_and_models_in_use_stay():
    core = Core()
    for request, key in ((1, A), (2, B)):
        assert core.ask(request, key) == [Load(key)]
        assert core.post(Loaded(key)) == [Grant(request, key)]
    core.post(Released(1))
    assert core.post(Occupied("gpu0", 7)) == [Unload(A, "others take 7 MiB of gpu0")]
    assert core.post(Unloaded(A)) == []
    assert core.post(Released(2)) == [Unload(B, "others take 7 MiB of gpu0")]


# -- a load that has to wait ----------------------------------------------------------------------------------------


def test_a_deferred_load_is_tried_again_and_its_requests_keep_waiting():
    core = Core()
    assert core.ask(1, A) == [Load(A)]
    assert core.post(LoadDeferred(A, "run x holds 9 MiB")) == []
    assert core.why(1) == "waits for 4 MiB on gpu0 (10 free); run x holds 9 MiB"
    assert core.wake() == [Load(A)]
    assert core.now == 0.5
    assert core.post(Loaded(A)) == [Grant(1, A)]


def test_a_load_deferred_for_longer_than_patience_rejects_with_the_reason():
    core = Core(patience=2.0)
    core.ask(1, A)
    core.post(LoadDeferred(A, "run x holds 9 MiB"))
    actions = []
    while not any(isinstance(action, Reject) for action in actions):
        actions = core.wake()
        if Load(A) in actions:
            core.post(LoadDeferred(A, "run x holds 9 MiB"))
    assert actions == [Reject(1, f"{A} needs 4 MiB, and for 2 s others have kept it out: run x holds 9 MiB")]


def test_patience_does_not_begin_anew_because_a_retry_came_late():
    core = Core(patience=10.0)
    core.ask(1, A)
    core.post(LoadDeferred(A, "run x holds 9 MiB"))
    for _ in range(3):
        assert core.post(Woken(), after=3.0) == [Load(A)]  # a machine that is busy
        core.post(LoadDeferred(A, "run x holds 9 MiB"))
    assert [type(action) for action in core.post(Woken(), after=3.0)] == [Reject]


def test_a_deferral_is_forgotten_with_the_request_it_held_up():
    core = Core(patience=60.0)
    core.ask(1, A)
    core.post(LoadDeferred(A, "run x"))
    core.post(Cancelled(1))
    assert core.scheduler.deadline is None
    assert core.post(Submitted(2, A, "run"), after=1000) == [Load(A)]


def test_a_deferred_prefetch_is_not_repeated_at_once():
    core = Core()
    assert core.post(Announced("run", (Step("s", (Use(A, 1.0),), think=40.0),))) == [Load(A)]
    assert core.post(Announced("other", (Step("s", (Use(B, 1.0),), think=50.0),))) == []
    assert core.post(LoadDeferred(A, "run x")) == [Load(B)]


# -- another process waits ------------------------------------------------------------------------------------------


def resident(core, *keys):
    for number, key in enumerate(keys, 100):
        core.ask(number, key)
        core.post(Loaded(key), after=5)
        core.post(Released(number))


def test_a_process_that_waits_gets_the_memory_of_a_model_nobody_asks_for():
    core = Core()
    resident(core, A, B)
    assert core.post(Pressed("gpu0", 5, due=1000.0)) == [Unload(A, "another process waits for 5 MiB of gpu0")]


def test_nothing_leaves_for_a_process_that_has_room_or_could_not_be_given_it():
    core = Core()
    resident(core, A)
    assert core.post(Pressed("gpu0", 6, due=0.0)) == []
    core.ask(1, A)
    assert core.post(Pressed("gpu0", 11, due=0.0)) == []


def test_what_only_several_processes_can_give_together_each_gives_its_part_of():
    core = Core()
    resident(core, A)
    core.post(Occupied("gpu0", 3))
    assert core.post(Pressed("gpu0", 11, due=0.0)) == []
    assert core.post(Pressed("gpu0", 8, due=1000.0)) == [Unload(A, "another process waits for 8 MiB of gpu0")]
    assert core.post(Unloaded(A)) == []


def test_from_its_due_moment_on_a_process_gets_our_part_of_what_only_several_can_give():
    core = Core()
    resident(core, A)
    for request in range(3):
        core.ask(request, A)
    core.post(Occupied("gpu0", 3))
    core.post(Pressed("gpu0", 8, due=50.0))
    while not core.scheduler.state.residencies[A].draining:
        assert core.wake() == []
    core.post(Released(0))
    assert core.post(Released(1)) == [Unload(A, "another process waits for 8 MiB of gpu0")]


def test_a_model_that_is_about_to_be_asked_for_is_held_until_the_hold_ends():
    core = Core()
    core.post(Announced("run", (Step("s", (Use(A, 1.0, calls=2),), think=2.0),)))
    core.post(Loaded(A), after=5)
    core.post(Submitted(1, A, "run", step="s"))
    core.post(Released(1), after=1)
    assert core.post(Pressed("gpu0", 8, due=1e6)) == []
    assert core.wake() == [Unload(A, "another process waits for 8 MiB of gpu0")]


def test_from_its_due_moment_on_a_process_gets_what_is_in_use_once_the_visit_was_long_enough():
    core = Core()
    resident(core, C)
    for request in range(4):
        core.ask(request, C)
    assert core.post(Pressed("gpu0", 8, due=50.0)) == []
    actions = []
    while not core.scheduler.state.residencies[C].draining:
        actions = core.wake()
    assert actions == []
    assert core.now == 95.0  # loaded at 5, then (5 + 5) / 0.1 less the swap itself
    core.post(Released(0))
    assert core.post(Released(1)) == [Unload(C, "another process waits for 8 MiB of gpu0")]
    assert core.post(Unloaded(C)) == [Load(C)]  # it is for the ledger to refuse this one


def test_a_process_that_waits_no_more_leaves_everything_as_it_was():
    core = Core()
    resident(core, C)
    for request in range(4):
        core.ask(request, C)
    core.post(Pressed("gpu0", 8, due=0.0), after=200)
    assert core.scheduler.state.residencies[C].draining
    assert core.post(Pressed("gpu0", 0)) == []
    assert core.post(Released(0)) == [Grant(2, C)]


def test_nothing_is_prefetched_into_room_that_another_process_waits_for():
    core = Core()
    core.post(Pressed("gpu0", 10, due=1000.0))
    assert core.post(Announced("run", (Step("s", (Use(A, 1.0),), think=50.0),))) == []
    assert core.post(Pressed("gpu0", 0)) == [Load(A)]


# -- another process waits for a model itself -----------------------------------------------------------------------


def test_a_process_that_waits_for_a_model_with_other_settings_gets_it_at_once_though_there_is_room():
    core = Core()
    resident(core, A)
    asked = Pressed("gpu0", 4, due=1000.0, key=A, wanted="a with num_ctx 8192")
    assert core.post(asked) == [Unload(A, "another process waits for a with num_ctx 8192")]
    assert core.post(Unloaded(A)) == []


def test_a_model_in_use_makes_way_for_other_settings_from_their_due_moment_on_once_its_visit_was_long_enough():
    core = Core()
    resident(core, A, B)
    for request in range(4):
        core.ask(request, A)
    assert core.post(Pressed("gpu0", 4, due=50.0, key=A, wanted="a with num_ctx 8192")) == []
    actions = []
    while not core.scheduler.state.residencies[A].draining:
        actions = core.wake()
    assert (actions, core.now) == ([], 95.0)  # loaded at 5, then (5 + 5) / 0.1 less the swap itself
    core.post(Released(0))
    assert core.post(Released(1)) == [Unload(A, "another process waits for a with num_ctx 8192")]
    assert core.post(Unloaded(A)) == [Load(A)]  # it is for the ledger to refuse this one
    assert B in core.scheduler.state.residencies


def given_back(core, mib):
    """A is in use and drained, because another process waits for it with other settings that take so many MiB."""
    resident(core, A)
    for request in range(4):
        core.ask(request, A)
    core.post(Pressed("gpu0", mib, due=0.0, key=A, wanted="a with num_ctx 8192"), after=200)
    assert core.scheduler.state.residencies[A].draining


def test_free_room_is_used_while_a_model_in_use_makes_way_for_other_settings():
    core = Core()
    given_back(core, 6)
    assert core.ask(10, B) == [Load(B)]
    assert core.scheduler.state.residencies[A].draining
    assert core.post(Loaded(B)) == [Grant(10, B)]
    core.post(Released(0))
    assert core.post(Released(1)) == [Unload(A, "another process waits for a with num_ctx 8192")]


def test_room_that_another_process_needs_for_its_settings_is_left_to_it():
    core = Core()
    given_back(core, 7)
    assert core.ask(10, B) == []


def test_room_that_another_process_waits_for_on_the_device_is_left_to_it_as_well():
    core = Core()
    given_back(core, 4)
    core.post(Pressed("gpu0", 3, due=1e6))
    assert core.ask(10, B) == []
    assert core.post(Pressed("gpu0", 2, due=1e6)) == [Load(B)]


def test_a_model_that_is_due_and_does_not_fit_beside_one_that_makes_way_is_not_overtaken():
    core = Core()
    given_back(core, 4)
    core.ask(10, C)
    core.now += 1000.0
    assert core.ask(11, B) == []


def test_one_model_at_a_time_is_loaded_beside_one_that_makes_way():
    core = Core()
    core.post(BudgetSet("gpu0", 20))
    given_back(core, 4)
    assert core.ask(10, B) == [Load(B)]
    assert core.ask(11, C) == []
    assert core.post(Loaded(B)) == [Load(C), Grant(10, B)]


def test_who_waits_for_other_settings_no_more_leaves_the_model_where_it_was():
    core = Core()
    resident(core, A)
    for request in range(4):
        core.ask(request, A)
    core.post(Pressed("gpu0", 4, due=0.0, key=A, wanted="a with num_ctx 8192"), after=200)
    assert core.scheduler.state.residencies[A].draining
    assert core.post(Pressed("gpu0", 0, key=A)) == []
    assert core.post(Released(0)) == [Grant(2, A)]


def test_a_model_that_another_process_waits_for_is_not_brought_in_before_it_is_asked_for():
    core = Core()
    core.post(Pressed("gpu0", 4, due=0.0, key=A, wanted="a with num_ctx 8192"))
    assert core.post(Announced("run", (Step("s", (Use(A, 1.0),), think=50.0),))) == []
    assert core.post(Pressed("gpu0", 0, key=A)) == [Load(A)]


def test_a_model_that_is_about_to_be_asked_for_is_held_from_those_who_want_it_otherwise_until_the_hold_ends():
    core = Core()
    core.post(Announced("run", (Step("s", (Use(A, 1.0, calls=2),), think=2.0),)))
    core.post(Loaded(A), after=5)
    core.post(Submitted(1, A, "run", step="s"))
    core.post(Released(1), after=1)
    assert core.post(Pressed("gpu0", 4, due=1e6, key=A, wanted="a with num_ctx 8192")) == []
    assert core.wake() == [Unload(A, "another process waits for a with num_ctx 8192")]
