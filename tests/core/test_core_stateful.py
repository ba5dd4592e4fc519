"""Hypothesis plays the world against the core: late, reordered, deferred and failing loads, unloads that fail, callers and
models that vanish, budgets that shrink, other processes that take memory or wait for it, footprints and estimates that
lie, runs that announce what they then do, or do not, or do in another order. The world keeps books of its own and checks
every action against them.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf, nextafter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vwt_agents.core import (
    Announced,
    BudgetSet,
    Cancelled,
    Closing,
    Grant,
    Load,
    LoadDeferred,
    Loaded,
    LoadFailed,
    ModelKey,
    ModelSpec,
    Occupied,
    Pressed,
    ProgramAware,
    Registered,
    Reject,
    Released,
    RunEnded,
    Scheduler,
    Step,
    StepBegan,
    StepEnded,
    Submitted,
    Unload,
    Unloaded,
    UnloadFailed,
    Use,
    Vanished,
    Woken,
    explain,
)
from vwt_agents.core.admission import DEADLINE, LATE
from vwt_agents.core.scheduler import LOAD_RETRY, UNLOAD_RETRY

MAX_WAIT = {"interactive": 15.0, "batch": 120.0}
PATIENCE = 30.0
KEYS = [
    ModelKey(endpoint, model) for endpoint, model in [("small", "a"), ("small", "b"), ("small", "c"), ("large", "x")]
]
KEYS.append(ModelKey("cpu", "y"))
DEVICE = {key: "cpu" if key.endpoint == "cpu" else "gpu0" for key in KEYS}
MOMENTS = st.sampled_from([0.0, 0.0, 1.0, 4.0, 16.0, 60.0, 130.0])
KEY = st.sampled_from(KEYS)


@dataclass
class Stay:
    """A model in the world's memory."""

    phase: str
    mib: int
    slots: int
    since: float
    used: float
    served: bool = False
    holders: set[int] = field(default_factory=set)
    kept_until: float = -inf


@dataclass
class Asked:
    """A request as the world knows it."""

    key: ModelKey
    klass: str
    since: float
    run: str
    step: str
    deadline: float = inf
    status: str = "waiting"

    @property
    def due(self):
        return self.since + MAX_WAIT[self.klass]

    def late(self, now):
        return self.since + LATE * MAX_WAIT[self.klass] <= now


class World(RuleBasedStateMachine):
    """The machine; `post` is its only way to the core."""

    @initialize(
        agents=st.integers(1, 4),
        slots=st.lists(st.integers(1, 3), min_size=len(KEYS), max_size=len(KEYS)),
        sizes=st.lists(st.sampled_from([2, 3, 5, 8]), min_size=len(KEYS), max_size=len(KEYS)),
        keep_alive=st.sampled_from([None, 10.0, 100.0]),
        share=st.sampled_from([0.2, 0.5, 1.0]),
        hold=st.sampled_from([0.0, 0.5, 3.0]),
        load_s=st.sampled_from([0.0, 5.0]),
    )
    def begin(self, agents, slots, sizes, keep_alive, share, hold, load_s):
        self.make = lambda: Scheduler(
            max_agents=agents,
            max_wait=MAX_WAIT,
            patience=PATIENCE,
            policy=ProgramAware(overhead={"interactive": share, "batch": share}, hold=hold),
        )
        self.load_s, self.share, self.hold = load_s, share, hold
        self.core, self.agents, self.now, self.closing = self.make(), agents, 0.0, False
        self.log, self.specs, self.budgets = [], {}, defaultdict(int)
        self.taken: dict[str, int] = defaultdict(int)
        self.pressure: dict[str, tuple[int, float]] = defaultdict(lambda: (0, inf))
        self.asked_back: dict[ModelKey, float] = {}
        self.not_before: dict[ModelKey, float] = defaultdict(lambda: -inf)
        self.memory: dict[ModelKey, Stay] = {}
        self.asked: dict[int, Asked] = {}
        self.left_at = defaultdict(lambda: -inf)
        self.failed: set[ModelKey] = set()
        self.drained: set[ModelKey] = set()
        self.open: dict[tuple[str, str], Step] = {}
        self.made = defaultdict(int)
        self.announcements = 0
        self.told(BudgetSet("gpu0", 10))
        self.told(BudgetSet("cpu", 8))
        for key, size, count in zip(KEYS, sizes, slots, strict=True):
            self.told(Registered(ModelSpec(key, DEVICE[key], size, count, keep_alive, load_s)))

    # -- what the world does ----------------------------------------------------------------------------------------

    @rule(
        key=KEY,
        klass=st.sampled_from(["interactive", "batch"]),
        tier=st.sampled_from(["small", "small", "large"]),
        run=st.sampled_from(["run0", "run1", "run2"]),
        seconds=st.sampled_from([0.0, 3.0, 500.0]),
        prefix=st.sampled_from(["", "", "p", "q"]),
        patience=st.sampled_from([inf, inf, 0.0, 20.0]),
        step=st.sampled_from(["", "s0", "s1", "s2"]),
    )
    def submit(self, key, klass, tier, run="run0", seconds=3.0, prefix="", patience=inf, step=""):
        request = len(self.asked)
        klass = "batch" if tier == "large" else klass
        self.asked[request] = Asked(key, klass, self.now, run, step, self.now + patience)
        deadline = None if patience == inf else self.now + patience
        self.made[run, step, key] += 1
        self.post(
            Submitted(request, key, run, tier, klass, step=step, seconds=seconds, prefix=prefix, deadline=deadline)
        )

    @rule(data=st.data(), klass=st.sampled_from(["interactive", "batch"]))
    def run_announces(self, data, klass):
        """A chain, or a fan, of steps with beliefs that nothing that follows has to keep to."""
        run = f"run{self.announcements % 3}"
        self.announcements += 1
        if data.draw(st.booleans()):  # else it has asked, or announces, before
            self.run_ends(run)
        self.over(run)
        count = data.draw(st.integers(1, 3))
        steps = []
        for number in range(count):
            keys = data.draw(st.lists(KEY, max_size=2, unique=True))
            seconds, calls = data.draw(st.sampled_from([(0.0, 1.0), (3.0, 1.0), (60.0, 0.2), (1.0, 7.5)]))
            uses = tuple(Use(key, seconds, calls) for key in keys)
            after = tuple(f"s{each}" for each in range(number) if data.draw(st.booleans()))
            steps.append(Step(f"s{number}", uses, data.draw(st.sampled_from([0.0, 2.0, 100.0])), after))
            self.open[run, f"s{number}"] = steps[-1]
        self.post(Announced(run, tuple(steps), klass))

    @rule(run=st.sampled_from(["run0", "run1", "run2", "never"]), step=st.sampled_from(["s0", "s1", "s2"]))
    def step_begins(self, run, step):
        self.post(StepBegan(run, step))

    @rule(run=st.sampled_from(["run0", "run1", "run2", "never"]), step=st.sampled_from(["s0", "s1", "s2"]))
    def step_ends(self, run, step):
        self.open.pop((run, step), None)
        self.post(StepEnded(run, step))

    @rule(run=st.sampled_from(["run0", "run1", "run2", "never"]))
    def run_ends(self, run):
        self.over(run)
        self.post(RunEnded(run))

    @rule(key=KEY, count=st.integers(2, 5))
    def submit_many(self, key, count):
        for _ in range(count):
            self.submit(key, "batch", "small")

    @precondition(lambda self: self.in_phase("resident"))
    @rule(data=st.data())
    def a_queue_here_and_a_rival_there(self, data):
        """What random requests seldom come to: a model with more to do than slots, and one that is soon due in its place."""
        key = data.draw(st.sampled_from(self.in_phase("resident")))
        self.submit_many(key, self.memory[key].slots + 1)
        for rival in KEYS:
            if DEVICE[rival] == DEVICE[key] and rival not in self.memory:
                self.submit(rival, "interactive", "small")

    @precondition(lambda self: any(asked.status != "ended" for asked in self.asked.values()))
    @rule(data=st.data())
    def caller_vanishes(self, data):
        request = data.draw(st.sampled_from([r for r, asked in self.asked.items() if asked.status != "ended"]))
        self.end(request, Cancelled(request))

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def call_ends(self, data):
        request = data.draw(st.sampled_from(self.running()))
        self.end(request, Released(request))

    @precondition(lambda self: self.in_phase("loading"))
    @rule(data=st.data(), lie=st.sampled_from([None, 0, 0, -1, 1, 4]))
    def load_ends(self, data, lie):
        key = data.draw(st.sampled_from(self.in_phase("loading")))
        self.loaded(key, None if lie is None else max(0, self.memory[key].mib + lie))

    @precondition(lambda self: self.in_phase("loading"))
    @rule(data=st.data())
    def load_fails(self, data):
        key = data.draw(st.sampled_from(self.in_phase("loading")))
        self.gone(key)
        self.failed.add(key)
        self.post(LoadFailed(key, "the engine's words"))
        assert not any(asked.status == "waiting" and asked.key == key for asked in self.asked.values())

    @precondition(lambda self: self.in_phase("loading"))
    @rule(data=st.data())
    def load_is_deferred(self, data):
        key = data.draw(st.sampled_from(self.in_phase("loading")))
        del self.memory[key]
        self.not_before[key] = self.now + LOAD_RETRY
        self.post(LoadDeferred(key, "others hold it"))

    @rule(device=st.sampled_from(["gpu0", "cpu"]), mib=st.sampled_from([0, 0, 0, 2, 5, 7, 9]))
    def others_take(self, device, mib):
        self.told(Occupied(device, mib))

    @rule(device=st.sampled_from(["gpu0", "cpu"]), mib=st.sampled_from([0, 0, 3, 6, 20]), within=MOMENTS)
    def others_wait(self, device, mib, within):
        self.told(Pressed(device, mib, self.now + within))

    @rule(key=st.sampled_from(KEYS), mib=st.sampled_from([0, 3]), within=MOMENTS)
    def others_wait_for_a_model_otherwise(self, key, mib, within):
        self.told(Pressed(DEVICE[key], mib, self.now + within, key, "it otherwise"))

    @precondition(lambda self: self.in_phase("unloading"))
    @rule(data=st.data())
    def unload_ends(self, data):
        key = data.draw(st.sampled_from(self.in_phase("unloading")))
        self.gone(key)
        self.post(Unloaded(key))

    @precondition(lambda self: self.in_phase("unloading"))
    @rule(data=st.data())
    def unload_fails(self, data):
        key = data.draw(st.sampled_from(self.in_phase("unloading")))
        self.memory[key].phase, self.memory[key].kept_until = "resident", self.now + UNLOAD_RETRY
        self.post(UnloadFailed(key, "busy"))

    @precondition(lambda self: self.in_phase("loading") or self.in_phase("unloading"))
    @rule(seconds=st.sampled_from([0.0, 5.0]))
    def all_that_is_under_way_ends(self, seconds):
        self.now += seconds
        for key in self.in_phase("unloading"):
            self.gone(key)
            self.post(Unloaded(key))
        for key in self.in_phase("loading"):
            self.loaded(key, None)

    @precondition(lambda self: self.in_phase("resident"))
    @rule(data=st.data())
    def model_vanishes(self, data):
        key = data.draw(st.sampled_from(self.in_phase("resident")))
        self.gone(key)
        self.failed.add(key)
        self.post(Vanished(key, "crashed"))

    @rule(device=st.sampled_from(["gpu0", "cpu"]), mib=st.sampled_from([0, 3, 6, 9, 10, 10, 12, 16]))
    def budget_changes(self, device, mib):
        self.told(BudgetSet(device, mib))

    @rule(key=KEY, size=st.sampled_from([2, 3, 5, 8]), slots=st.integers(1, 3))
    def spec_changes(self, key, size, slots):
        self.told(Registered(ModelSpec(key, DEVICE[key], size, slots, self.specs[key].keep_alive, self.load_s)))

    @rule(key=KEY)
    def someone_else_loads(self, key):
        if key not in self.memory:
            spec = self.specs[key]
            self.memory[key] = Stay("resident", spec.footprint, spec.slots, self.now, self.now)
            self.failed.discard(key)
            self.post(Loaded(key))

    @rule(key=KEY)
    def a_report_comes_too_late(self, key):
        """Each is looked at when it is posted: what time has brought may begin with the report before it."""

        def phase():
            return self.memory[key].phase if key in self.memory else None

        if phase() in {None, "loading"}:
            self.post(Unloaded(key))
        if phase() in {None, "loading"}:
            self.post(UnloadFailed(key, "late"))
        if phase() != "loading":
            self.post(LoadFailed(key, "late"))
        if phase() != "resident":
            self.post(Vanished(key, "late"))
        if phase() == "unloading":
            self.post(Loaded(key))

    @rule(seconds=MOMENTS)
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.core.deadline is not None)
    @rule()
    def deadline_passes(self):
        self.now = max(self.now, self.core.deadline)
        self.post(Woken())

    @rule(share=st.sampled_from([0.0, 0.5, 0.99]))
    def woken_early(self, share):
        """Before the deadline, time alone changes nothing."""
        self.post(Woken())
        deadline = self.core.deadline
        if deadline is not None:
            assert deadline > self.now
            self.now = min(self.now + (deadline - self.now) * share, nextafter(deadline, -inf))
        assert self.post(Woken()) == ()

    @precondition(lambda self: len(self.log) > 50 and not self.closing)
    @rule()
    def close(self):
        self.closing = True
        self.post(Closing())
        assert not any(asked.status == "waiting" for asked in self.asked.values())

    # -- the world's books ------------------------------------------------------------------------------------------

    def running(self):
        return [request for request, asked in self.asked.items() if asked.status == "granted"]

    def in_phase(self, phase):
        return [key for key, stay in self.memory.items() if stay.phase == phase]

    def waiters(self, key):
        return sorted((a.due, r) for r, a in self.asked.items() if a.status == "waiting" and a.key == key)

    def used(self, device, *, phases=("loading", "resident", "unloading")):
        return sum(s.mib for key, s in self.memory.items() if DEVICE[key] == device and s.phase in phases)

    def available(self, device):
        return self.budgets[device] - self.taken[device]

    def kept_out(self, key, now):
        """Others have the room it needs, or had a moment ago."""
        return self.specs[key].footprint > self.available(DEVICE[key]) or self.not_before[key] > now

    def cold(self, device):
        """The models that are asked for and out of memory, less those that others keep out."""
        cold = [key for key in KEYS if DEVICE[key] == device and key not in self.memory and self.waiters(key)]
        return [key for key in cold if not self.kept_out(key, self.last)]

    def cold_and_due(self, device):
        """By model: its turn, the later of the moment its load is to begin and the moment it last left."""
        due = {key: self.turn(key) for key in self.cold(device)}
        return {key: max(moment, self.left_at[key]) for key, moment in due.items() if moment <= self.last}

    def turn(self, key):
        """When a model's load has to begin: its first request due, but a swap's price over its share of time at least."""
        due, request = self.waiters(key)[0]
        believed = self.core.state.models
        longest = max((believed[k].load_s for k in self.memory if DEVICE[k] == DEVICE[key]), default=0.0)
        feasible = self.asked[request].since + (believed[key].load_s + longest) / self.share
        return max(due, feasible) - believed[key].load_s

    def visit_end(self, key, due):
        """When a resident model may be made to leave for a due one: at once unless somebody waits for it."""
        if not self.waiters(key):
            return -inf
        load_s = [self.core.state.models[each].load_s for each in (key, due)]
        return self.memory[key].since + sum(load_s) * (1.0 / self.share - 1.0) if self.memory[key].served else inf

    def may_be_made_to_leave(self, key):
        """It is on its way out, or its visit is over for somebody who is due."""
        over = any(self.visit_end(key, due) <= self.last for due in self.cold_and_due(DEVICE[key]))
        pressed = self.is_pressed(DEVICE[key]) or self.asked_back.get(key, inf) <= self.last
        return over or key in self.drained or (pressed and self.visit_end(key, key) <= self.last)

    def is_pressed(self, device):
        """Another process is due."""
        return self.pressure[device][1] <= self.last

    def surely_free(self, key, target):
        """Idle, wanted by nobody, and no request is expected near enough to hold it for."""
        stay, state = self.memory[key], self.core.state
        price = self.hold * (state.models[key].load_s + state.models[target].load_s)
        near = any(each.away(self.last) < price for each in state.programs.expected(key))
        idle = stay.phase == "resident" and not stay.holders and not self.waiters(key)
        return idle and stay.kept_until <= self.last and not near

    def over(self, run):
        """Nothing that a run has announced is to come any more."""
        self.open = {which: step for which, step in self.open.items() if which[0] != run}
        self.made = defaultdict(int, {which: count for which, count in self.made.items() if which[0] != run})

    def told(self, event):
        match event:
            case BudgetSet(device, mib):
                self.budgets[device] = mib
            case Registered(spec):
                self.specs[spec.key] = spec
            case Occupied(device, mib):
                self.taken[device] = mib
            case Pressed(device, mib, due, None):
                self.pressure[device] = (mib, due if mib else inf)
            case Pressed(_, mib, due, key):
                self.asked_back.pop(key, None)
                if mib:
                    self.asked_back[key] = due
        self.post(event)

    def end(self, request, event):
        asked = self.asked[request]
        stay = self.memory.get(asked.key)
        if stay is not None and request in stay.holders:
            stay.holders.remove(request)
            stay.used = self.now
        asked.status = "ended"
        self.post(event)

    def loaded(self, key, measured):
        stay, spec = self.memory[key], self.specs[key]
        if measured is not None:
            stay.mib = measured
            self.specs[key] = ModelSpec(key, spec.device, measured, spec.slots, spec.keep_alive, self.load_s)
        stay.phase, stay.since, stay.used = "resident", self.now, self.now
        self.failed.discard(key)
        self.post(Loaded(key, measured))

    def gone(self, key):
        del self.memory[key]
        self.left_at[key] = self.now

    # -- every action is checked against them, in order -------------------------------------------------------------

    def post(self, event):
        self.last = self.now
        actions = self.core.handle(event, self.now)
        self.log.append((event, self.now, actions))
        together = []
        for action in actions:
            match action:
                case Load(key):
                    self.check_load(key)
                case Unload(key, why):
                    stay = self.memory[key]
                    assert stay.phase == "resident"
                    assert not stay.holders, "a victim with a lease"
                    assert stay.kept_until <= self.now, "tried again at once"
                    if why.startswith("room for"):
                        assert not self.waiters(key) or self.may_be_made_to_leave(key), "its visit was cut short"
                        together.append((key, why))
                    else:
                        self.check_leaves_alone(key, why)
                    stay.phase, stay.since = "unloading", self.now
                case Grant(request, key):
                    self.check_grant(request, key)
                case Reject(request, reason):
                    self.check_reject(request, reason, event)
        self.check_none_in_vain(together)
        self.check_drains()
        self.core.state.check()
        return actions

    def check_load(self, key):
        device, spec = DEVICE[key], self.specs[key]
        assert key not in self.memory
        assert not self.closing
        if not self.waiters(key):
            self.check_prefetch(key)
        assert self.used(device) + spec.footprint <= self.available(device), "over budget"
        assert self.not_before[key] <= self.now, "tried again at once"
        assert not [k for k in self.in_phase("loading") if DEVICE[k] == device], "two loads at a time"
        turns = self.cold_and_due(device)
        assert not turns or turns.get(key, inf) == min(turns.values()), "a due model was passed by"
        self.memory[key] = Stay("loading", spec.footprint, spec.slots, self.now, self.now)

    def check_prefetch(self, key):
        """A load nobody waits for is for a request to come, while nobody waits for another."""
        assert any(each.at > self.now for each in self.core.state.programs.expected(key))
        assert key not in self.failed, "only who needs it may try again"
        assert not self.cold(DEVICE[key]), "loaded what nobody waits for before what somebody waits for"
        assert self.pressure[DEVICE[key]][0] == 0, "took what another process waits for"
        assert key not in self.asked_back, "took the model that another process waits for"

    def check_leaves_alone(self, key, why):
        device, stay = DEVICE[key], self.memory[key]
        if why.startswith("over budget"):
            assert self.used(device, phases=("loading", "resident")) > self.budgets[device]
        elif why.startswith("others take"):
            assert self.used(device, phases=("loading", "resident")) > self.available(device)
            assert not self.waiters(key)
        elif why == "another process waits for it otherwise":
            assert key in self.asked_back
            assert not self.waiters(key) or self.asked_back[key] <= self.now, "in use, and nobody is due"
        elif why.startswith("another process waits"):
            missing = self.used(device, phases=("loading", "resident")) + self.pressure[device][0]
            assert missing > self.available(device), "it has room"
            assert not self.waiters(key) or self.pressure[device][1] <= self.now, "in use, and nobody is due"
        elif why.startswith("idle"):
            assert stay.used + self.specs[key].keep_alive <= self.now
            assert not self.waiters(key)
        else:
            assert why == "closing"
            assert self.closing

    def check_none_in_vain(self, together):
        """All victims of one room, and no fewer of them, let the model in for which they leave."""
        for victim, why in together:
            target = next(key for key in KEYS if why == f"room for {key}")
            device = DEVICE[victim]
            staying = self.used(device, phases=("loading", "resident"))
            if self.memory.get(target, None) is None:
                staying += self.specs[target].footprint
                if not self.waiters(target):
                    self.check_prefetch(target)
            assert staying <= self.available(device), "evicted in vain"
            assert staying + self.memory[victim].mib > self.available(device), "evicted needlessly"

    def check_drains(self):
        """Nobody is drained without a cause: the budget, or somebody who is due, and then not before its visit is over."""
        drained = {key for key in self.in_phase("resident") if self.core.state.residencies[key].draining}
        for key in drained if not self.closing else ():
            device = DEVICE[key]
            if self.used(device, phases=("loading", "resident")) <= self.budgets[device]:
                assert self.cold_and_due(device) or self.is_pressed(device)
                assert self.may_be_made_to_leave(key), "its visit was cut short"
        self.drained = drained

    def check_grant(self, request, key):
        asked, stay = self.asked[request], self.memory[key]
        assert (asked.status, asked.key, stay.phase) == ("waiting", key, "resident")
        others = [a for r, a in self.asked.items() if a.status == "waiting" and a.key == key and r != request]
        late = [a.since + LATE * MAX_WAIT[a.klass] for a in others if a.late(self.now)]
        if asked.late(self.now):
            assert all(asked.since + LATE * MAX_WAIT[asked.klass] <= each for each in late), "later than another"
        else:
            assert not late, "a late one was passed over"
            assert asked.klass == "interactive" or not any(a.klass == "interactive" for a in others), "class"
        assert asked.deadline > self.now, "nobody wants its answer any more"
        assert len(stay.holders) < stay.slots
        assert len(self.running()) < self.agents
        asked.status = "granted"
        stay.holders.add(request)
        stay.used, stay.served = self.now, True

    def check_reject(self, request, reason, event):
        asked = self.asked[request]
        assert asked.status == "waiting"
        spec = self.specs[asked.key]
        if reason.startswith(DEADLINE):
            assert asked.deadline <= self.now
        elif reason == "closing":
            assert self.closing
        elif "others have kept it out" in reason:
            assert asked.since <= self.now
            assert self.kept_out(asked.key, self.now - LOAD_RETRY), "there was room"
            assert max(a.since for a in self.asked.values() if a.key == asked.key) <= self.now
            assert min(a.since for a in self.asked.values() if a.key == asked.key) + PATIENCE <= self.now, "impatient"
        elif " needs " in reason:
            assert spec.footprint > self.budgets[spec.device]
        else:
            assert isinstance(event, LoadFailed)
            assert reason.endswith(event.reason)
        asked.status = "ended"

    # -- what is true between any two events ------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self):
        state = self.core.state
        assert {k: (r.phase, r.footprint, r.leases) for k, r in state.residencies.items()} == {
            k: (stay.phase, stay.mib, stay.holders) for k, stay in self.memory.items()
        }
        assert set(state.waiting) == {r for r, asked in self.asked.items() if asked.status == "waiting"}
        assert set(state.leases) == set(self.running())

    @invariant()
    def no_slot_idles_beside_a_waiting_request(self):
        """Unless all agents are busy, or the model is drained for a due model or for the budget."""
        for key in self.in_phase("resident"):
            draining = self.core.state.residencies[key].draining
            if len(self.running()) < self.agents and len(self.memory[key].holders) < self.memory[key].slots:
                assert draining or not self.waiters(key)

    @invariant()
    def no_room_idles_beside_a_model_that_is_asked_for(self):
        """What fits is loaded, and what nobody needs makes room at once, unless a load, an unload or a due model is first."""
        for device in ("gpu0", "cpu"):
            there = [key for key in self.memory if DEVICE[key] == device]
            still = all(self.memory[key].phase == "resident" for key in there)
            pressed = self.is_pressed(device)
            if still and self.used(device) <= self.available(device) and not self.cold_and_due(device) and not pressed:
                for key in self.cold(device):
                    staying = sum(self.memory[each].mib for each in there if not self.surely_free(each, key))
                    assert staying + self.specs[key].footprint > self.available(device)

    @invariant()
    def a_due_model_has_room_made_for_it(self):
        """This bounds every wait: once it is due, all whose visits are over leave for it, if that is enough."""
        for device in ("gpu0", "cpu"):
            turns = self.cold_and_due(device)
            there = {key: stay for key, stay in self.memory.items() if DEVICE[key] == device}
            loading = any(stay.phase == "loading" for stay in there.values())
            within = self.used(device, phases=("resident",)) <= self.available(device)
            if turns and not loading and within and not self.is_pressed(device):
                assert any(self.has_room_made(key, there) for key in turns if turns[key] == min(turns.values()))

    def has_room_made(self, due, there):
        leaving = {key for key, stay in there.items() if stay.phase == "unloading"}
        movable = {key for key, stay in there.items() if stay.phase == "resident" and stay.kept_until <= self.last}
        over = {key for key in movable if self.visit_end(key, due) <= self.last}
        drained = {key for key in movable if self.core.state.residencies[key].draining}
        left = self.available(DEVICE[due]) - self.specs[due].footprint - sum(stay.mib for stay in there.values())
        able, doing = (left + sum(there[key].mib for key in leaving | some) >= 0 for some in (over, drained))
        return doing or not able

    @invariant()
    def over_budget_nobody_idles_in_memory(self):
        """Unless its unload has just failed."""
        for key in self.in_phase("resident"):
            if self.used(DEVICE[key], phases=("loading", "resident")) > self.budgets[DEVICE[key]]:
                assert self.memory[key].holders or self.memory[key].kept_until > self.last

    @invariant()
    def nobody_idles_in_memory_past_its_keep_alive(self):
        """Unless it is wanted, or expected to be, or its unload has just failed."""
        for key in self.in_phase("resident"):
            stay, keep_alive = self.memory[key], self.specs[key].keep_alive
            wanted = stay.holders or self.waiters(key) or self.core.state.programs.expected(key)
            if not wanted and keep_alive is not None:
                self.comes_in_time(max(stay.used + keep_alive, stay.kept_until))

    @invariant()
    def the_core_asks_to_be_woken_in_time(self):
        """For whoever is due, in time to load its model; for visits that end, deadlines and unloads to be tried again."""
        for device in ("gpu0", "cpu"):
            due = self.cold_and_due(device)
            waited_for = [key for key in KEYS if DEVICE[key] == device and key not in self.memory and self.waiters(key)]
            assert self.core.deadline is not None or set(waited_for) <= set(self.cold(device)), "kept out for ever"
            for key in self.cold(device):
                assert key in due or self.wakes_by(self.turn(key))
            for key in (key for key in self.in_phase("resident") if DEVICE[key] == device):
                moments = [self.memory[key].kept_until, *(self.visit_end(key, each) for each in due)]
                assert all(moment <= self.last or self.wakes_by(moment) for moment in moments)
        for asked in self.asked.values():
            if asked.status == "waiting":
                self.comes_in_time(asked.deadline)

    def wakes_by(self, moment):
        return moment == inf or (self.core.deadline is not None and self.core.deadline <= moment)

    def comes_in_time(self, moment):
        """It is still to come, and the core will be there."""
        assert moment > self.last
        assert self.wakes_by(moment)

    @invariant()
    def what_is_expected_is_what_runs_announced_and_have_not_asked_for(self):
        programs = self.core.state.programs
        for key in KEYS:
            uses = {(*which, key): use for which, step in self.open.items() for use in step.uses if use.key == key}
            expected = list(programs.expected(key))
            assert expected == sorted(expected)
            assert len(expected) <= len(uses)
            assert {each.step for each in expected} <= {step for _, step, _ in uses}
            work = sum(max(0.0, use.calls - self.made[which]) * use.seconds for which, use in uses.items())
            assert programs.work(key) == pytest.approx(work)
            assert programs.heading(key, -inf) == len({run for run, *_ in uses})

    @invariant()
    def every_wait_can_be_explained(self):
        for request, asked in self.asked.items():
            if asked.status == "waiting":
                assert explain(self.core.state, request)

    # -- the end ----------------------------------------------------------------------------------------------------

    def teardown(self):
        if not hasattr(self, "core"):
            return
        self.the_queue_drains_when_the_world_cooperates()
        self.the_log_replays_to_the_same_actions()

    def the_queue_drains_when_the_world_cooperates(self):
        for device in ("gpu0", "cpu"):
            self.told(Occupied(device, 0))
            self.told(Pressed(device, 0))
        for key in KEYS:
            self.told(Pressed(DEVICE[key], 0, key=key))
        rounds = 0
        while any(asked.status != "ended" for asked in self.asked.values()):
            rounds += 1
            assert rounds <= 10 + 5 * len(self.asked), "starved"
            self.now += 1.0
            for key in self.in_phase("loading"):
                self.loaded(key, None)
            for key in self.in_phase("unloading"):
                self.gone(key)
                self.post(Unloaded(key))
            for request in self.running():
                self.end(request, Released(request))
            if not self.in_phase("loading") and not self.in_phase("unloading") and not self.running():
                self.now = max(self.now, self.core.deadline or self.now)
                self.post(Woken())

    def the_log_replays_to_the_same_actions(self):
        again = self.make()
        assert [again.handle(event, now) for event, now, _ in self.log] == [actions for _, _, actions in self.log]


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
