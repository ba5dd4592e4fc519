"""What a pipeline's past runs teach, and what the scheduler is told of the next one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from vwt_agents import Agent, Pipeline, Sandbox
from vwt_agents.core import ModelKey, Use
from vwt_agents.entries import Entry, call_entry
from vwt_agents.graph import build_graph
from vwt_agents.habits import Habits, learn
from vwt_agents.lookahead import CALL_S, ITEMS, steps
from vwt_agents.messages import Message, Request, Response, Usage
from vwt_agents.routing import Plan, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2026, 1, 1, tzinfo=UTC)


def call(stage: str, agent: str, at: float, seconds: float, *, wait: float = 0.0, load: float = 0.0) -> Entry:
    request = Request("here", "m", (Message("user", "?"),), num_ctx=512, labels={"agent": agent})
    answer = Response("!", "m", "here", usage=Usage(wait_s=wait, load_s=load))
    return call_entry("r", request, answer, name=stage, started_at=START + timedelta(seconds=at), seconds=seconds)


def stage(name: str, seconds: float) -> Entry:
    return Entry("r", "stage", name, started_at=START, seconds=seconds)


def learned(*runs: Sequence[Entry]) -> Habits:
    return learn(runs)


def test_a_habit_is_the_calls_made_the_slot_time_each_took_and_the_time_without_any() -> None:
    habits = learned([call("draft", "coder", 0, 10, wait=4), call("draft", "coder", 11, 8), stage("draft", 30)])
    habit = habits.stages["draft"]
    assert (habit.calls, habit.seconds) == ({"coder": 2.0}, {"coder": 7.0})
    assert habit.think == pytest.approx(12.0)


def test_calls_side_by_side_are_not_taken_for_thinking() -> None:
    habits = learned([call("draft", "coder", 0, 10), call("draft", "coder", 2, 4), stage("draft", 11)])
    assert habits.stages["draft"].think == pytest.approx(1.0)


def test_the_newest_run_counts_most_and_an_agent_no_longer_asked_fades() -> None:
    habits = learned(
        [call("draft", "coder", 0, 4), call("draft", "helper", 4, 2), stage("draft", 6)],
        [call("draft", "coder", 0, 8), call("draft", "coder", 8, 8), stage("draft", 16)],
    )
    assert habits.stages["draft"].calls == {"coder": 1.5, "helper": 0.5}
    assert habits.stages["draft"].seconds == {"coder": 6.0, "helper": 2.0}


def test_loads_are_learned_from_the_longest_wait_for_each_in_a_run() -> None:
    habits = learned([call("draft", "coder", 0, 9, wait=6, load=5), call("draft", "coder", 1, 8, wait=5, load=2)])
    assert habits.loads == {("here", "m"): 5.0}


def test_failed_calls_and_unfinished_stages_teach_nothing() -> None:
    request = Request("here", "m", (), num_ctx=512, labels={"agent": "coder"})
    failed = call_entry("r", request, "broke", name="draft", started_at=START, seconds=3.0)
    assert learned([failed, Entry("r", "stage", "draft", status="failed", seconds=9.0)]) == Habits()


pipeline = Pipeline("p", doc="d")


@pipeline.stage
async def draft(coder: Agent) -> str:
    """A draft."""
    return await coder.ask("?")


@pipeline.stage
async def checked(draft: str, sandbox: Sandbox) -> list[str]:
    """No model."""
    return [draft]


@pipeline.stage(each="checked")
async def noted(checked: str, coder: Agent, critic: Agent) -> str:
    """Once per item."""
    return await critic.ask(checked)


def plan() -> Plan:
    def route(stage: str, agent: str, model: str) -> Route:
        return Route(stage, agent, "small", "here", model, "gpu0", 2048, 2, 100, "", "")

    routes = [route("draft", "coder", "a"), route("noted", "coder", "a"), route("noted", "critic", "b")]
    return Plan(False, "small", "", {(each.stage, each.agent): each for each in routes}, ())


def test_stages_never_seen_are_believed_to_ask_once_and_per_item_a_few_times() -> None:
    first, second, third = steps(build_graph(pipeline), plan(), Habits())
    a, b = ModelKey("here", "a"), ModelKey("here", "b")
    assert (first.name, first.uses, first.after) == ("draft", (Use(a, CALL_S, 1.0),), ())
    assert (second.name, second.uses, second.after) == ("checked", (), ("draft",))
    assert (third.uses, third.after) == ((Use(a, CALL_S, ITEMS), Use(b, CALL_S, ITEMS)), ("checked",))


def test_what_was_learned_replaces_what_was_believed() -> None:
    habits = learned(
        [call("draft", "coder", 0, 6), call("draft", "coder", 8, 4), stage("draft", 16), stage("checked", 3)]
    )
    first, second, _ = steps(build_graph(pipeline), plan(), habits)
    assert first.uses == (Use(ModelKey("here", "a"), 5.0, 2.0),)
    assert first.think == pytest.approx(2.0), "six seconds of thought around two calls make three gaps"
    assert second.think == 3.0


def test_a_pipeline_that_asks_no_model_announces_nothing() -> None:
    silent = Pipeline("silent", doc="d")

    @silent.stage
    async def only() -> int:
        """One."""
        return 1

    assert steps(build_graph(silent), Plan(False, "small", "", {}, ()), Habits()) == ()
