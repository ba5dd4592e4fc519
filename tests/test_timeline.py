"""A timeline says what happened to memory and queues in short rows: each once, and why a request waits when that is new."""

from __future__ import annotations

from typing import Any

from vwt_agents.core import (
    BudgetSet,
    Cancelled,
    Loaded,
    LoadFailed,
    ModelKey,
    ModelSpec,
    Occupied,
    Registered,
    Released,
    Scheduler,
    Submitted,
    Unloaded,
    Vanished,
)
from vwt_agents.timeline import Timeline

A, B = ModelKey("here", "a"), ModelKey("here", "b")
MAX_WAIT = {"interactive": 15.0, "batch": 120.0}


class World:
    """A scheduler, and the timeline that is told what a dispatcher would tell it."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(max_agents=4, max_wait=MAX_WAIT)
        self.timeline = Timeline(100.0)
        self.now = 100.0
        self.post(BudgetSet("gpu0", 6000))
        for key in (A, B):
            self.post(Registered(ModelSpec(key, "gpu0", 5000, 1)))
        self.timeline.take()

    def post(self, event: Any, *, after: float = 0.0) -> None:
        self.now += after
        actions = self.scheduler.handle(event, self.now)
        self.timeline.happened(event, actions, self.scheduler.state, self.now)

    def ask(self, request: int, key: ModelKey = A, **labels: str) -> None:
        self.timeline.asked(request, key, labels, int(labels.get("call", "0")), self.now)
        self.post(Submitted(request, key, "run"))

    def rows(self) -> list[list[Any]]:
        return self.timeline.take()


def test_a_request_is_told_from_its_asking_to_its_end_with_why_it_waits() -> None:
    world = World()
    world.ask(1, stage="draft", agent="coder", call="7")
    assert world.rows() == [
        ["q", 0, 1, 1, "draft", "coder", "", 7],
        ["l", 0, 1, 5000],
        ["T", 1, "a is loading"],
        ["w", 0, 1, 1],
    ]
    world.post(Loaded(A, 4900), after=2.5)
    assert world.rows() == [["L", 2500, 1, 4900], ["g", 2500, 1]]
    world.ask(2, stage="draft", agent="coder")
    assert world.rows()[1:] == [["T", 2, "waits for a slot of a (1 of 1 in use)"], ["w", 2500, 2, 2]]
    world.post(Released(1), after=1.0)
    assert world.rows() == [["r", 3500, 1], ["g", 3500, 2]]


def test_words_are_said_once_and_a_reason_only_when_it_is_new() -> None:
    world = World()
    for request in (1, 2, 3):
        world.ask(request)
    assert [row[2] for row in world.rows() if row[0] == "T"] == ["a is loading"]
    world.post(Occupied("gpu0", 100), after=1.0)
    assert world.rows() == [["o", 1000, "gpu0", 100]]
    world.post(Loaded(A), after=1.0)
    assert [row[0] for row in world.rows()] == ["L", "g", "T", "w", "w"]


def test_loads_that_fail_models_that_vanish_and_callers_that_leave_are_told() -> None:
    world = World()
    world.ask(1)
    world.rows()
    world.post(Cancelled(1))
    world.post(LoadFailed(A, "out of memory"), after=1.0)
    assert world.rows() == [["c", 0, 1], ["T", 2, "out of memory"], ["f", 1000, 1, 2]]
    world.ask(2, B)
    world.post(Loaded(B), after=1.0)
    world.post(Released(2))
    world.rows()
    world.post(Vanished(B, "evicted by another client"))
    assert [row[0] for row in world.rows()] == ["T", "v"]


def test_a_model_that_makes_room_is_told_with_the_reason_and_its_end() -> None:
    world = World()
    world.ask(1)
    world.post(Loaded(A), after=1.0)
    world.post(Released(1), after=1.0)
    world.rows()
    world.ask(2, B)
    rows = world.rows()
    assert [row[0] for row in rows if row[0] not in "qT"] == ["u", "w"]
    world.post(Unloaded(A), after=0.5)
    assert [row[:3] for row in world.rows() if row[0] in "Ul"] == [["U", 2500, 1], ["l", 2500, 2]]


def test_a_stage_is_told_once_for_each_thing_that_became_of_it() -> None:
    timeline = Timeline(0.0)
    timeline.stage("draft", "waiting", None, None)
    timeline.stage("draft", "running", 1.0, None)
    timeline.stage("draft", "running", 1.0, None)
    timeline.stage("draft", "done", 1.0, 2.0)
    timeline.stage("draft", "done", 1.0, 2.0)
    assert timeline.take() == [["s", 1000, "draft"], ["e", 2000, "draft", "done"]]
    assert timeline.take() == []


def test_what_could_not_be_kept_comes_first_the_next_time() -> None:
    timeline = Timeline(0.0)
    timeline.remark("first", 1.0)
    rows = timeline.take()
    timeline.remark("second", 2.0)
    timeline.put_back(rows)
    assert [row[2] for row in timeline.take()] == ["first", "second"]
