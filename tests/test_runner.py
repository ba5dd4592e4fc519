"""A runner walks a graph: side by side, within its limits, every end written down, every error readable."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from staged import SMALL, Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.board import Board
from vwt_agents.config import AgentSettings, Settings
from vwt_agents.core import Announced
from vwt_agents.entries import read_call, request_fingerprint
from vwt_agents.errors import CallFailed, DefinitionError, JournalError, StageFailed
from vwt_agents.graph import build_graph
from vwt_agents.habits import Habits
from vwt_agents.journal import Journal
from vwt_agents.lookahead import steps
from vwt_agents.messages import Options, Response
from vwt_agents.pipeline import Pipeline
from vwt_agents.routing import Plan
from vwt_agents.run import Run, RunFolder
from vwt_agents.runner import Runner


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Staged]:
    async with Journal.open(tmp_path / "journal.db") as journal:
        yield Staged(journal, tmp_path / "out")


def line_of(text: str) -> int:
    """The number of the one line of this file that holds the text."""
    lines = Path(__file__).read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if text in line and "line_of(" not in line]
    return found


def wide(agents: int) -> Pipeline:
    """So many stages that call, none waiting for another."""
    pipeline = Pipeline("wide")
    for number in range(agents):

        async def stage(coder: Agent) -> str:
            return await coder.ask("hello")

        stage.__name__ = f"stage{number}"
        pipeline.stage(stage)
    return pipeline


async def test_values_go_where_they_are_needed_and_an_ask_stage_returns_the_answer(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def words(text: str) -> list[str]:
        return text.split()

    @pipeline.ask(agent="coder")
    def spoken(words: list[str]) -> str:
        return " and ".join(words)

    values = await runs.run(pipeline, inputs={"text": "a b"})
    assert values == {"words": ["a", "b"], "spoken": "A AND B"}


async def test_an_included_pipeline_is_run_and_its_several_ends_feed_an_each(runs: Staged) -> None:
    inner, outer = Pipeline("inner"), Pipeline("outer")

    @inner.stage
    async def one(word: str) -> str:
        return word + "1"

    @inner.stage
    async def two(word: str) -> str:
        return word + "2"

    outer.include(inner, name="both")

    @outer.stage(each={"key": "both"})
    async def keys(key: str) -> str:
        return key

    @outer.stage
    async def joined(both: dict[str, str]) -> str:
        return both["one"] + both["two"]

    values = await runs.run(outer, inputs={"word": "w"})
    assert (values["keys"], values["joined"]) == (["one", "two"], "w1w2")


async def test_each_gives_its_results_in_order_whatever_ends_first(runs: Staged) -> None:
    pipeline = Pipeline("p")
    last = anyio.Event()

    @pipeline.stage(each={"number": "numbers"})
    async def tripled(number: int) -> int:
        if number == 3:
            last.set()
        await last.wait()
        return number * 3

    assert await runs.run(pipeline, inputs={"numbers": [1, 2, 3]}) == {"tripled": [3, 6, 9]}
    assert await runs.run(pipeline, inputs={"numbers": []}) == {"tripled": []}


async def test_each_over_what_has_no_items_is_a_fault_of_the_definition(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def source() -> Any:
        return 5

    @pipeline.stage(each={"item": "source"})
    async def user(item: int) -> int:
        return item

    with pytest.raises(DefinitionError, match="'source' gave int, which has no items"):
        await runs.run(pipeline)


@pytest.mark.parametrize("max_agents", [1, 2])
async def test_at_most_max_agents_stages_with_agents_run_at_once(runs: Staged, max_agents: int) -> None:
    gate = anyio.Event()
    caller = Calls(gate=gate)
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            await runs.run(wide(5), caller, max_agents=max_agents)

        tasks.start_soon(work)
        while caller.running < max_agents:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert caller.running == max_agents
        gate.set()
    assert (caller.peak, len(caller.requests)) == (max_agents, 5)


async def test_the_items_of_an_each_are_bounded_by_max_agents_too(runs: Staged) -> None:
    pipeline, caller = Pipeline("p"), Calls()

    @pipeline.stage(each={"word": "words"})
    async def said(coder: Agent, word: str) -> str:
        return await coder.ask(word)

    values = await runs.run(pipeline, caller, inputs={"words": ["a", "b", "c", "d"]}, max_agents=2)
    assert (values["said"], caller.peak) == (["A", "B", "C", "D"], 2)


async def test_stages_without_agents_do_not_count_as_agents(runs: Staged) -> None:
    pipeline = Pipeline("p")
    here, there = anyio.Event(), anyio.Event()

    @pipeline.stage
    async def left() -> None:
        here.set()
        await there.wait()

    @pipeline.stage
    async def right() -> None:
        there.set()
        await here.wait()

    with anyio.fail_after(5):
        assert await runs.run(pipeline, max_agents=1) == {"left": None, "right": None}


async def test_calls_side_by_side_have_seeds_of_their_own_and_the_same_in_the_next_run(runs: Staged) -> None:
    first, second = Calls(), Calls()
    await runs.run(wide(4), first)
    await runs.run(wide(4), second, max_agents=1)
    seeds = {request.labels["stage"]: request.options.seed for request in first.requests}
    assert len(set(seeds.values())) == 4
    assert seeds == {request.labels["stage"]: request.options.seed for request in second.requests}


async def test_a_stage_that_raises_stops_the_others_and_is_named_with_its_line(runs: Staged) -> None:
    pipeline = Pipeline("p")
    waiting = anyio.Event()

    @pipeline.stage
    async def patient() -> None:
        waiting.set()
        await anyio.sleep_forever()

    @pipeline.stage
    async def broken() -> None:
        await waiting.wait()
        raise ValueError("no such luck")

    @pipeline.stage
    async def after(broken: None) -> None:
        raise AssertionError("never reached")

    line = line_of('ValueError("no such luck")')
    with pytest.raises(StageFailed, match=rf"'broken' raised ValueError: no such luck \(.*test_runner.py:{line}\)"):
        await runs.run(pipeline)
    assert {name: line.status for name, line in runs.board.stages.items()} == {
        "patient": "stopped",
        "broken": "failed",
        "after": "waiting",
    }


async def test_a_failed_item_is_named(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(each={"number": "numbers"})
    async def inverse(number: int) -> float:
        return 1 / number

    with pytest.raises(StageFailed, match=r"'inverse', item 1, raised ZeroDivisionError"):
        await runs.run(pipeline, inputs={"numbers": [1, 0]})


async def test_errors_of_a_stages_own_task_group_come_out_readable(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def grouped() -> None:
        async def bad() -> None:
            raise KeyError("key")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bad)

    with pytest.raises(StageFailed, match=r"raised KeyError: 'key' \(.*test_runner.py:\d+\)"):
        await runs.run(pipeline)


async def test_an_error_of_ours_passes_unchanged_also_out_of_a_task_group(runs: Staged) -> None:
    pipeline, error = Pipeline("p"), CallFailed("the engine died")

    @pipeline.stage
    async def grouped(coder: Agent) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(coder.ask, "hello")

    with pytest.raises(CallFailed) as caught:
        await runs.run(pipeline, Calls(error=error))
    assert caught.value is error


async def test_a_stage_that_exits_ends_the_run_and_not_the_process(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def leaver() -> None:
        raise SystemExit(3)

    with pytest.raises(StageFailed, match=r"'leaver' called exit\(3\)"):
        await runs.run(pipeline)


async def test_a_stage_has_its_time_limit(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(timeout=0.01)
    async def slow() -> None:
        await anyio.sleep_forever()

    with pytest.raises(StageFailed, match=r"'slow' took longer than its limit of 0.01 s"):
        await runs.run(pipeline)


async def test_a_timeout_of_the_stages_own_is_not_taken_for_its_limit(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(timeout="60s")
    async def impatient() -> None:
        raise TimeoutError("mine")

    with pytest.raises(StageFailed, match="raised TimeoutError: mine"):
        await runs.run(pipeline)


async def test_every_stage_and_call_is_journaled_also_those_that_failed(runs: Staged) -> None:
    with pytest.raises(CallFailed):
        await runs.run(wide(1), Calls(error=CallFailed("the engine died")))
    assert [(entry.kind, entry.name, entry.status) for entry in await runs.journal.entries(runs.run_id)] == [
        ("call", "stage0", "failed"),
        ("stage", "stage0", "failed"),
    ]
    await runs.run(wide(1))
    entries = await runs.journal.entries(runs.run_id)
    assert [(entry.kind, entry.status, entry.payload) for entry in entries][1:] == [("stage", "done", '"HELLO"')]


async def test_what_a_stage_returned_is_durable_before_a_stage_that_needs_it_begins(runs: Staged) -> None:
    pipeline = Pipeline("p")

    def kept() -> list[str]:
        with closing(sqlite3.connect(runs.journal.path)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM entries ORDER BY seq")]

    @pipeline.stage
    async def first() -> None:
        assert kept() == []

    @pipeline.stage
    async def left(first: None) -> list[str]:
        return kept()

    @pipeline.stage
    async def right(first: None) -> None:
        await anyio.lowlevel.checkpoint()

    @pipeline.stage
    async def last(left: list[str], right: None) -> list[str]:
        return kept()

    values = await runs.run(pipeline)
    assert values["left"][:1] == ["first"]
    assert sorted(values["last"]) == ["first", "left", "right"]


async def test_items_that_fail_side_by_side_are_told_as_one_failure_of_their_stage(runs: Staged) -> None:
    pipeline, gate = Pipeline("p"), anyio.Event()

    @pipeline.stage(each={"number": "numbers"})
    async def inverse(number: int) -> float:
        if number:
            try:
                await gate.wait()
            finally:
                raise ValueError("cut off")
        return 1 / number

    with pytest.raises(StageFailed, match=r"item 1, raised ZeroDivisionError"):
        await runs.run(pipeline, inputs={"numbers": [1, 0, 2]})
    entries = await runs.journal.entries(runs.run_id)
    assert [(entry.name, entry.status) for entry in entries] == [("inverse", "failed")]


async def test_a_stage_that_was_cancelled_while_it_waited_for_a_seat_counts_as_stopped(runs: Staged) -> None:
    pipeline = wide(2)

    @pipeline.stage
    async def broken() -> None:
        raise ValueError("bad luck")

    with pytest.raises(StageFailed):
        await runs.run(pipeline, Calls(gate=anyio.Event()), max_agents=1)
    assert [line.status for line in runs.board.stages.values()] == ["stopped", "stopped", "failed"]


async def test_a_stages_fingerprint_follows_its_inputs_and_what_it_needs(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def first(text: str) -> int:
        return len(text)

    @pipeline.stage
    async def second(first: int) -> int:
        return first

    prints: list[dict[str, str]] = []
    for text in ("ab", "cd", "ab", "abc"):
        await runs.run(pipeline, inputs={"text": text})
        entries = await runs.journal.entries(runs.run_id)
        prints.append({entry.name: entry.fingerprint for entry in entries})
    one, other, again, longer = prints
    assert one == again
    assert one["first"] != other["first"]
    assert one["second"] == other["second"] != longer["second"]


async def test_known_answers_are_used_in_order_each_once_and_journaled_no_second_time(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def twins(coder: Agent) -> list[str]:
        return [await coder.ask("same"), await coder.ask("same"), await coder.ask("same")]

    caller = Calls()
    fixed = Options(seed=1)
    await runs.run(pipeline, caller, options=fixed)
    assert len({request_fingerprint(request) for request in caller.requests}) == 1
    mark = request_fingerprint(caller.requests[0])
    known = {mark: [Response(text, "small:1b", "here", replayed=True) for text in ("first", "second")]}
    fresh = Calls()
    values = await runs.run(pipeline, fresh, known=known, options=fixed)
    assert (values["twins"], len(fresh.requests)) == (["first", "second", "SAME"], 1)
    assert len(await runs.journal.entries(runs.run_id, kind="call")) == 1
    assert runs.board is not None
    tally = runs.board.stages["twins"].tally
    assert (tally.calls, tally.replayed) == (3, 2)


@pytest.mark.parametrize("cut", range(6))
async def test_a_journal_cut_after_any_call_is_gone_on_with_without_asking_twice(runs: Staged, cut: int) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(each={"word": "words"})
    async def said(coder: Agent, word: str) -> list[str]:
        return await coder.map([word, word + "!"])

    words = {"words": ["a", "b"]}
    whole = await runs.run(pipeline, inputs=words)
    entries = (await runs.journal.entries(runs.run_id, kind="call"))[:cut]
    known: dict[str, list[Response]] = {}
    for request, answer in map(read_call, entries):
        assert isinstance(answer, Response)
        known.setdefault(request_fingerprint(request), []).append(answer)
    caller = Calls()
    assert await runs.run(pipeline, caller, inputs=words, known=known) == whole
    assert len(caller.requests) == max(0, 4 - cut)


async def test_a_known_answer_is_streamed_too(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def streamed(coder: Agent) -> str:
        async with coder.stream("hello") as pieces:
            return "".join([piece async for piece in pieces])

    caller = Calls()
    await runs.run(pipeline, caller)
    known = {request_fingerprint(caller.requests[0]): [Response("from before", "small:1b", "here", replayed=True)]}
    assert (await runs.run(pipeline, known=known))["streamed"] == "from before"


async def test_attempts_escalate_the_next_calls_of_their_stage_only(runs: Staged) -> None:
    pipeline, caller = Pipeline("p"), Calls()

    @dataclass
    class Result:
        tests_passed: int = 0
        passed: bool = False

    @pipeline.stage
    async def repaired(coder: Agent, run: Run) -> int:
        count = 0
        async for attempt in run.attempts(4, escalate_after=2):
            await coder.ask(f"attempt {attempt.number}")
            count += 1
            if await attempt.record(Result()):
                break
        return count

    @pipeline.stage
    async def after(coder: Agent, repaired: int) -> str:
        return await coder.ask("after")

    await runs.run(pipeline, caller)
    assert [request.endpoint for request in caller.requests] == ["here", "here", "here", "big", "here"]
    assert [request.labels["attempt"] for request in caller.requests] == ["1", "2", "3", "4", "0"]
    attempts = await runs.journal.entries(runs.run_id, kind="attempt")
    assert [json.loads(str(entry.payload))["escalated"] for entry in attempts] == [False, False, False, True]


async def test_a_journal_that_cannot_be_written_ends_the_run_as_itself(runs: Staged, tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "other.db") as closed:
        run = Staged(closed, tmp_path)
    with pytest.raises(JournalError, match="closed"):
        await run.run(wide(1))


async def test_a_journal_that_breaks_during_a_run_ends_it_with_one_error_and_no_group(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def broken() -> None:
        await runs.journal._writer.close()

    with pytest.raises(JournalError, match="closed"):
        await runs.run(pipeline)


async def test_text_no_utf8_can_hold_is_kept_in_the_journal(runs: Staged) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def half() -> str:
        return "half \ud83d"

    values = await runs.run(pipeline)
    (entry,) = await runs.journal.entries(runs.run_id)
    assert json.loads(str(entry.payload)) == values["half"] == "half \ud83d"


async def test_a_run_is_announced_with_its_class(tmp_path: Path) -> None:
    told: list[Any] = []
    pipeline = wide(1)
    graph = build_graph(pipeline, agents=["coder"])
    plan = Plan(False, "small", "", {("stage0", "coder"): replace(SMALL, stage="stage0")}, ())
    runner = Runner(
        graph,
        plan,
        Settings(None, {}, {}, {"coder": AgentSettings("coder")}),
        run_id="run",
        caller=Calls(),
        journal=None,
        folder=RunFolder(tmp_path),
        services={},
        board=Board(),
        steps=steps(graph, plan, Habits()),
        tell=told.append,
        priority="interactive",
    )
    await runner.run({})
    assert [event.klass for event in told if isinstance(event, Announced)] == ["interactive"]


async def test_a_run_without_a_journal_gives_the_same_values(runs: Staged, tmp_path: Path) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def asked(coder: Agent, run: Run) -> list[str]:
        answers = []
        async for attempt in run.attempts(2):
            answers.append(await coder.ask(f"attempt {attempt.number}"))
        return answers

    routes = {("asked", "coder"): replace(SMALL, stage="asked")}
    runner = Runner(
        build_graph(pipeline, agents=["coder"]),
        Plan(False, "small", "", routes, ()),
        Settings(None, {}, {}, {"coder": AgentSettings("coder")}),
        run_id="run",
        caller=Calls(),
        journal=None,
        folder=RunFolder(tmp_path),
        services={},
        board=Board(),
    )
    assert await runner.run({}) == await runs.run(pipeline) == {"asked": ["ATTEMPT 1", "ATTEMPT 2"]}
