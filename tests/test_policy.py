"""What becomes of a stage that fails: tries, pauses, limits, and what stands in for it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import virtual_time
from pydantic import BaseModel
from staged import Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.errors import (
    CallFailed,
    DefinitionError,
    JournalError,
    LimitReached,
    Rejected,
    StageFailed,
    UsageError,
    VwtError,
)
from vwt_agents.graph import build_graph
from vwt_agents.journal import Journal
from vwt_agents.pipeline import Fallback, Pipeline
from vwt_agents.tries import pause


def in_virtual_time(tmp_path: Path, work: Callable[[Staged], Awaitable[None]]) -> None:
    """An hour of pauses takes no time."""

    async def opened() -> None:
        async with Journal.open(tmp_path / "journal.db") as journal:
            await work(Staged(journal, tmp_path / "runs"))

    virtual_time.run(opened())


def failing(times: int, error: Exception | None = None, **policy: Any) -> tuple[Pipeline, list[float]]:
    """A stage that fails so many times, and the moments at which it was begun."""
    pipeline, moments = Pipeline("p"), []

    @pipeline.stage(**policy)
    async def shaky() -> str:
        moments.append(anyio.current_time())
        if len(moments) <= times:
            raise error or ValueError(f"failure {len(moments)}")
        return "good"

    return pipeline, moments


def test_a_stage_is_tried_again_after_pauses_that_double_and_everything_is_said(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, moments = failing(2, retries=2, backoff="8s")
        assert await runs.run(pipeline) == {"shaky": "good"}
        first, second = moments[1] - moments[0], moments[2] - moments[1]
        assert 6 <= first <= 10
        assert 12 <= second <= 20
        assert runs.board.stages["shaky"].retries == 2
        assert runs.said[0].startswith(
            f"shaky is tried again in {first:.1f} s: stage 'shaky' raised ValueError: failure 1"
        )
        events = [json.loads(str(entry.payload)) for entry in await runs.journal.entries(runs.run_id, "event")]
        assert [(event["stage"], "failure" in event["error"]) for event in events] == [("shaky", True)] * 2

    in_virtual_time(tmp_path, work)


def test_the_last_failure_of_a_stage_is_the_runs(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, moments = failing(9, retries=2)
        with pytest.raises(StageFailed, match="failure 3"):
            await runs.run(pipeline)
        assert len(moments) == 3
        assert runs.status == {"shaky": "failed"}

    in_virtual_time(tmp_path, work)


@pytest.mark.parametrize(
    "error", [UsageError("u"), DefinitionError([]), LimitReached("l"), JournalError("j"), Rejected("r")]
)
def test_what_the_next_try_would_end_with_again_is_not_tried(tmp_path: Path, error: VwtError) -> None:
    async def work(runs: Staged) -> None:
        pipeline, moments = failing(9, error, retries=5)
        with pytest.raises(type(error)):
            await runs.run(pipeline)
        assert len(moments) == 1

    in_virtual_time(tmp_path, work)


def test_pauses_are_the_same_for_the_same_seed_and_have_an_end() -> None:
    assert [pause(1.0, retry, "1/a/") for retry in (1, 2, 3)] == [pause(1.0, retry, "1/a/") for retry in (1, 2, 3)]
    assert pause(1.0, 1, "1/a/") != pause(1.0, 1, "2/a/") != pause(1.0, 1, "2/a/1")
    assert pause(1.0, 5000, "1/a/") <= 375.0


def test_another_try_asks_with_another_seed_and_the_next_run_the_same_way(tmp_path: Path) -> None:
    def asked() -> tuple[Pipeline, Calls]:
        pipeline = Pipeline("p")

        @pipeline.stage(retries=1)
        async def answered(coder: Agent) -> str:
            answer = await coder.ask("number")
            if answer == "first":
                raise ValueError("not good")
            return answer

        answers = iter(["first", "second"])
        return pipeline, Calls(lambda _request: next(answers))

    async def work(runs: Staged) -> None:
        seeds = []
        for _ in range(2):
            pipeline, caller = asked()
            assert await runs.run(pipeline, caller) == {"answered": "second"}
            seeds.append([request.options.seed for request in caller.requests])
        assert seeds[0] == seeds[1]
        assert len(set(seeds[0])) == 2

    in_virtual_time(tmp_path, work)


def test_a_pause_holds_no_seat(tmp_path: Path) -> None:
    order: list[str] = []

    async def work(runs: Staged) -> None:
        pipeline = Pipeline("p")

        @pipeline.stage(retries=1, backoff="60s")
        async def first(coder: Agent) -> str:
            order.append("first")
            if order.count("first") == 1:
                raise ValueError("once more")
            return ""

        @pipeline.stage
        async def second(coder: Agent) -> str:
            order.append("second")
            return await coder.ask("hello")

        await runs.run(pipeline, max_agents=1)
        assert order == ["first", "second", "first"]

    in_virtual_time(tmp_path, work)


def test_a_timeout_is_for_each_try_and_a_deadline_for_all_of_them(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, began = Pipeline("p"), []

        @pipeline.stage(retries=9, backoff="10s", timeout="20s", deadline="100s")
        async def slow() -> None:
            began.append(anyio.current_time())
            await anyio.sleep_forever()

        start = anyio.current_time()
        with pytest.raises(StageFailed, match=r"not done within its deadline of 100 s \(\d tries\)"):
            await runs.run(pipeline)
        assert anyio.current_time() - start == pytest.approx(100)
        assert len(began) > 1
        assert began[1] - began[0] == pytest.approx(20 + pause(10.0, 1, "7/slow/"))

    in_virtual_time(tmp_path, work)


def test_a_skipped_stage_takes_with_it_what_needs_it_but_not_what_can_do_without(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, _ = failing(9, on_error="skip")

        @pipeline.stage
        async def needs(shaky: str) -> str:
            raise AssertionError("never reached")

        @pipeline.stage
        async def after(needs: str) -> str:
            raise AssertionError("never reached")

        @pipeline.stage
        async def can_do_without(shaky: str | None, after: str | None) -> str:
            return f"{shaky} {after}"

        assert await runs.run(pipeline) == {"can_do_without": "None None"}
        assert runs.status == {"shaky": "skipped", "needs": "skipped", "after": "skipped", "can_do_without": "done"}
        stages = await runs.journal.entries(runs.run_id, "stage")
        assert [(entry.name, entry.status) for entry in stages][:2] == [("shaky", "skipped"), ("needs", "skipped")]
        assert "failure 1" in runs.board.stages["shaky"].note
        assert runs.board.stages["after"].note == "it needs needs, which was skipped"

    in_virtual_time(tmp_path, work)


def test_a_fallback_stands_in_for_the_result(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, moments = failing(9, retries=1, on_error=Fallback("instead"))

        @pipeline.stage
        async def after(shaky: str) -> str:
            return shaky.upper()

        assert await runs.run(pipeline) == {"shaky": "instead", "after": "INSTEAD"}
        assert (len(moments), runs.status) == (2, {"shaky": "fallback", "after": "done"})

    in_virtual_time(tmp_path, work)


def test_each_item_has_the_policy_and_a_skipped_one_is_left_out(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, tries = Pipeline("p", defaults={"numbers": [1, 0, 2]}), []

        @pipeline.stage(each={"number": "numbers"}, retries=1, on_error="skip")
        async def inverse(number: int) -> float:
            tries.append(number)
            return 1 / number

        @pipeline.stage(each={"number": "numbers"}, on_error=Fallback(0.0))
        async def safe(number: int) -> float:
            return 1 / number

        values = await runs.run(pipeline)
        assert values == {"inverse": [1.0, 0.5], "safe": [1.0, 0.0, 0.5]}
        assert sorted(tries) == [0, 0, 1, 2]
        assert runs.status == {"inverse": "partial", "safe": "partial"}
        assert sorted(await runs.events()) == ["item.fallback", "item.skipped", "stage.retried"]

    in_virtual_time(tmp_path, work)


@pytest.mark.parametrize("error", [UsageError("u"), LimitReached("l"), JournalError("j")])
def test_what_is_no_failure_of_the_stage_is_not_forgiven(tmp_path: Path, error: VwtError) -> None:
    async def work(runs: Staged) -> None:
        pipeline, _ = failing(9, error, on_error="skip")
        with pytest.raises(type(error)):
            await runs.run(pipeline)

    in_virtual_time(tmp_path, work)


def test_a_skipped_stage_is_done_again_when_the_run_is_resumed(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, moments = failing(1, CallFailed("the engine died"), on_error="skip")

        @pipeline.stage
        async def broken(shaky: str | None) -> str:
            if shaky is None:
                raise ValueError("broken")
            return shaky

        with pytest.raises(StageFailed):
            await runs.run(pipeline)
        assert await runs.resume(pipeline) == {"shaky": "good", "broken": "good"}
        assert len(moments) == 2

    in_virtual_time(tmp_path, work)


def test_a_run_that_is_cancelled_in_a_pause_leaves_nothing(tmp_path: Path) -> None:
    async def work(runs: Staged) -> None:
        pipeline, begun, tries = Pipeline("p"), anyio.Event(), []

        @pipeline.stage(retries=5, backoff="60s")
        async def shaky() -> str:
            tries.append(1)
            begun.set()
            raise ValueError("bad luck")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runs.run, pipeline)
            await begun.wait()
            await anyio.sleep(10)
            tasks.cancel_scope.cancel()
        assert (len(tries), runs.status) == (1, {"shaky": "stopped"})

    in_virtual_time(tmp_path, work)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"retries": -1}, "retries=-1 is no number of tries"),
        ({"retries": True}, "retries=True"),
        ({"backoff": "soon"}, "backoff: 'soon' is not a duration"),
        ({"deadline": 0}, "deadline: 0 is not a duration"),
        ({"on_error": "ignore"}, "on_error='ignore' is not understood .*'fail', 'skip', Fallback"),
        ({"on_error": Fallback(3)}, "on_error gives int, and the stage str"),
        ({"on_error": Fallback(None)}, "on_error gives None, and the stage str"),
        ({"cache": "a week"}, "cache: 'a week' is not a duration"),
        ({"approve": ""}, "approve='' is no question"),
    ],
)
def test_faults_of_a_policy_are_faults_of_the_definition(policy: dict[str, Any], message: str) -> None:
    pipeline, _ = failing(0, **policy)
    with pytest.raises(DefinitionError, match=message):
        build_graph(pipeline)


class Thing:
    """No schema describes it."""


class Model(BaseModel):
    name: str


@dataclass
class Holder:
    thing: Thing


@pytest.mark.parametrize(
    ("returns", "good", "bad"),
    [(Thing, Thing(), "text"), (Model, Model(name="a"), Thing()), (Holder, Holder(Thing()), Model(name="a"))],
)
def test_a_fallback_is_of_the_stage_s_type_also_where_no_schema_describes_it(
    returns: type, good: Any, bad: Any
) -> None:
    for value, fits in ((good, True), (bad, False)):
        pipeline = Pipeline("p")

        async def stage() -> Any: ...

        stage.__annotations__["return"] = returns
        pipeline.stage(on_error=Fallback(value))(stage)
        if fits:
            assert build_graph(pipeline).stages[0].policy.on_error == Fallback(value)
        else:
            with pytest.raises(DefinitionError, match="on_error gives"):
                build_graph(pipeline)


def test_a_result_that_cannot_be_read_back_cannot_be_cached() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(cache=True)
    async def anything() -> Any: ...

    with pytest.raises(DefinitionError, match="cache: Any may be anything"):
        build_graph(pipeline)


def test_an_option_that_is_none_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="retires"):
        Pipeline("p").stage(retires=2)  # type: ignore[call-overload]
