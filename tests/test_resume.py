"""A run that is gone on with, or begun from another: what has ended and still counts is not done again."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from staged import Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.errors import StageFailed
from vwt_agents.journal import Journal
from vwt_agents.pipeline import Pipeline
from vwt_agents.run import Run


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Staged]:
    async with Journal.open(tmp_path / "journal.db") as journal:
        yield Staged(journal, tmp_path / "runs")


@dataclass(frozen=True)
class Text:
    words: tuple[str, ...]


class Switch:
    """Breaks the last stage until it is turned off; counts what was really done."""

    def __init__(self) -> None:
        self.broken = True
        self.done: list[str] = []


def diamond(switch: Switch, *, left_adds: str = "l") -> Pipeline:
    pipeline = Pipeline("diamond", defaults={"text": "a b"})

    @pipeline.stage
    async def split(text: str) -> Text:
        switch.done.append("split")
        return Text(tuple(text.split()))

    @pipeline.stage
    async def left(coder: Agent, split: Text, run: Run) -> str:
        switch.done.append("left")
        answer = await coder.ask(split.words[0] + left_adds)
        await run.deliver({"left.txt": answer})
        return answer

    @pipeline.stage
    async def right(split: Text) -> int:
        switch.done.append("right")
        return len(split.words)

    @pipeline.stage
    async def joined(coder: Agent, left: str, right: int) -> str:
        switch.done.append("joined")
        answer = await coder.ask(f"{left}{right}")
        if switch.broken:
            raise ValueError("broken")
        return answer

    return pipeline


async def broken(runs: Staged) -> Switch:
    switch = Switch()
    with pytest.raises(StageFailed):
        await runs.run(diamond(switch))
    switch.broken = False
    switch.done.clear()
    return switch


async def test_stages_that_ended_are_kept_with_their_values_and_files_and_calls_are_not_repeated(runs: Staged) -> None:
    switch, caller = await broken(runs), Calls()
    values = await runs.resume(diamond(switch), caller)
    assert values == {"split": Text(("a", "b")), "left": "AL", "right": 2, "joined": "AL2"}
    assert (switch.done, caller.requests) == (["joined"], [])
    assert runs.status == {"split": "kept", "left": "kept", "right": "kept", "joined": "done"}
    tally = runs.board.stages["left"].tally
    assert (tally.calls, tally.replayed) == (1, 1)


async def test_a_kept_stages_files_are_put_back_where_they_are_gone_or_changed(runs: Staged) -> None:
    switch = await broken(runs)
    (runs.folder / "left.txt").write_text("half")
    await runs.resume(diamond(switch))
    assert (runs.folder / "left.txt").read_text() == "AL"
    assert (await runs.events()).count("file.delivered") == 1


async def test_code_that_is_as_it_was_again_has_the_files_of_then(runs: Staged) -> None:
    switch = await broken(runs)
    switch.broken = True
    with pytest.raises(StageFailed):
        await runs.resume(diamond(switch, left_adds="x"))
    switch.broken = False
    values = await runs.resume(diamond(switch))
    assert (values["left"], (runs.folder / "left.txt").read_text()) == ("AL", "AL")


async def test_a_stage_whose_code_changed_is_done_again_with_what_follows_and_said(runs: Staged) -> None:
    switch = await broken(runs)
    code = dict(runs.code)
    changed = diamond(switch, left_adds="x")  # what its closure holds counts as its code
    runs.code = code
    values = await runs.resume(changed)
    assert values["joined"] == "AX2"
    assert switch.done == ["left", "joined"]
    assert runs.said == ["left is done again: its code, or code of its file that it uses, has changed"]


async def test_a_stage_that_gives_the_same_in_spite_of_a_change_changes_nothing_after_it(runs: Staged) -> None:
    def one(words: tuple[str, ...]) -> Pipeline:
        pipeline = Pipeline("p")

        @pipeline.stage
        async def first() -> int:
            return len(words)

        @pipeline.stage
        async def second(first: int) -> int:
            return first

        return pipeline

    await runs.run(one(("a", "b")))
    code = runs.code
    await runs.resume(one(("c", "d")))
    assert (runs.status, runs.code["first"] == code["first"]) == ({"first": "done", "second": "kept"}, False)


async def test_a_result_whose_type_does_not_say_what_it_is_is_made_again_and_said(runs: Staged) -> None:
    pipeline, caller = Pipeline("p"), Calls()

    @pipeline.stage
    async def anything(coder: Agent) -> Any:
        return {1: await coder.ask("what")}

    @pipeline.stage
    async def after(anything: Any) -> str:
        return anything[1]

    await runs.run(pipeline)
    assert await runs.resume(pipeline, caller) == {"anything": {1: "WHAT"}, "after": "WHAT"}
    assert (caller.requests, runs.status) == ([], {"anything": "done", "after": "kept"})
    assert runs.said == ["anything is done again: its result cannot be read back: Any may be anything"]


async def test_what_follows_from_a_result_that_json_does_not_say_all_of_is_made_again_with_it(runs: Staged) -> None:
    def one(kind: type) -> Pipeline:
        pipeline = Pipeline("p")

        @pipeline.stage
        async def thing() -> Any:
            return kind((1, 2))

        @pipeline.stage
        async def after(thing: Any) -> str:
            return type(thing).__name__

        return pipeline

    await runs.run(one(list))
    assert (await runs.resume(one(tuple)))["after"] == "tuple"


async def test_a_fork_does_a_stage_again_with_what_depends_on_it_and_keeps_the_rest(runs: Staged) -> None:
    switch = Switch()
    switch.broken = False
    await runs.run(diamond(switch))
    parent, caller = runs.folder, Calls()
    switch.done.clear()
    values = await runs.fork(diamond(switch), caller, redo=["left", "joined"])
    assert (switch.done, caller.prompts) == (["left", "joined"], ["al", "AL2"])
    assert values["joined"] == "AL2"
    assert (runs.folder / "left.txt").read_text() == (parent / "left.txt").read_text() == "AL"


async def test_a_fork_with_another_input_does_what_follows_from_it(runs: Staged) -> None:
    pipeline, done = Pipeline("p", defaults={"one": 1, "other": 2}), []

    @pipeline.stage
    async def left(one: int, run: Run) -> int:
        done.append("left")
        await run.deliver({"left.txt": str(one)})
        return one

    @pipeline.stage
    async def right(other: int) -> int:
        done.append("right")
        return other

    @pipeline.stage
    async def total(left: int, right: int) -> int:
        done.append("total")
        return left + right

    await runs.run(pipeline)
    done.clear()
    values = await runs.fork(pipeline, inputs={"other": 5})
    assert (values["total"], done) == (6, ["right", "total"])
    assert runs.said == [
        "right is done again: its inputs have changed",
        "total is done again: what it needs has changed: right",
    ]
    assert (runs.folder / "left.txt").read_text() == "1"  # also in the fork's own folder


async def test_a_resume_of_a_resume_does_nothing_twice(runs: Staged) -> None:
    switch = await broken(runs)
    before = len(await runs.journal.entries(runs.run_id))
    switch.broken = True
    for _ in range(2):
        with pytest.raises(StageFailed):
            await runs.resume(diamond(switch))
    added = (await runs.journal.entries(runs.run_id))[before:]
    assert [(entry.kind, entry.name, entry.status) for entry in added] == [("stage", "joined", "failed")] * 2


@pytest.mark.parametrize("cut", range(7))
async def test_a_journal_cut_after_any_entry_is_gone_on_with_without_asking_twice(runs: Staged, cut: int) -> None:
    switch = Switch()
    switch.broken = False
    whole = await runs.run(diamond(switch))
    entries = (await runs.journal.entries(runs.run_id))[:cut]
    runs.run_id = await runs.journal.new_run("diamond")
    for entry in entries:
        await runs.journal.append(entry._replace(run=runs.run_id))
    switch.done.clear()
    caller = Calls()
    assert await runs.resume(diamond(switch), caller) == whole
    ended = {entry.name for entry in entries if entry.kind == "stage"}
    assert set(switch.done) == set(whole) - ended
    assert len(caller.requests) == 2 - sum(entry.kind == "call" for entry in entries)
    assert (runs.folder / "left.txt").read_text() == "AL"


async def test_attempts_done_again_on_the_way_are_journaled_once(runs: Staged) -> None:
    pipeline, stop = Pipeline("p"), [True]

    @dataclass
    class Result:
        tests_passed: int
        passed: bool = False

    @pipeline.stage
    async def repaired(coder: Agent, run: Run) -> int:
        async for attempt in run.attempts(3):
            await coder.ask(f"attempt {attempt.number}")
            await attempt.record(Result(attempt.number))
            if attempt.number == 2 and stop:
                raise ValueError("stopped")
        return attempt.number

    with pytest.raises(StageFailed):
        await runs.run(pipeline)
    stop.clear()
    caller = Calls()
    assert await runs.resume(pipeline, caller) == {"repaired": 3}
    assert caller.prompts == ["attempt 3"]
    assert [entry.key for entry in await runs.journal.entries(runs.run_id, "attempt")] == ["1", "2", "3"]


async def test_an_attempt_that_judged_other_files_than_before_is_journaled_too(runs: Staged) -> None:
    @dataclass
    class Result:
        tests_passed: int = 0
        passed: bool = False

    def repairing(code: str) -> Pipeline:
        pipeline = Pipeline("p")

        @pipeline.stage
        async def repaired(run: Run) -> int:
            async for attempt in run.attempts(1):
                await attempt.record(Result(), files={"m.py": code})
            raise ValueError("stopped")

        return pipeline

    with pytest.raises(StageFailed):
        await runs.run(repairing("old"))
    for _ in range(2):
        with pytest.raises(StageFailed):
            await runs.resume(repairing("new"))
    assert [entry.texts for entry in await runs.journal.entries(runs.run_id, "attempt")] == [("old",), ("new",)]


async def test_a_chain_of_many_kept_stages_is_no_deep_recursion(runs: Staged) -> None:
    pipeline, stop = Pipeline("p"), [True]
    for number in range(400):
        scope: dict[str, Any] = {}
        need = f"s{number - 1}: int" if number else ""
        exec(f"async def s{number}({need}) -> int: return {number}", scope)
        pipeline.stage(scope[f"s{number}"])

    @pipeline.stage
    async def last(s399: int) -> int:
        if stop:
            raise ValueError("stopped")
        return s399

    with pytest.raises(StageFailed):
        await runs.run(pipeline)
    stop.clear()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 250)
    try:
        assert (await runs.resume(pipeline))["last"] == 399
    finally:
        sys.setrecursionlimit(limit)
    assert list(runs.status.values()).count("kept") == 400


async def test_a_kept_stage_puts_back_the_files_of_the_code_that_made_its_result_and_no_others(runs: Staged) -> None:
    def pipeline(*names: str, broken: bool = True) -> Pipeline:
        made = Pipeline("p", defaults={"names": names})

        @made.stage
        async def built(names: tuple[str, ...], run: Run) -> int:
            await run.deliver(dict.fromkeys(names, "the same"))
            return len(names)

        @made.stage
        async def last(built: int) -> int:
            assert not broken
            return built

        return made

    def put_back() -> set[str]:
        return {path.name for path in runs.folder.iterdir()}

    with pytest.raises(StageFailed):
        await runs.run(pipeline("old.txt", "both.txt"))
    with pytest.raises(StageFailed):
        await runs.resume(pipeline("both.txt", "new.txt"))
    assert runs.status["built"] == "done"
    shutil.rmtree(runs.folder)
    await runs.resume(pipeline("both.txt", "new.txt", broken=False))
    assert (runs.status["built"], put_back()) == ("kept", {"both.txt", "new.txt"})
    await runs.fork(pipeline("old.txt", "both.txt", broken=False))
    assert (runs.status["built"], put_back()) == ("kept", {"old.txt", "both.txt"})
    delivered = [event for event in await runs.journal.entries(runs.run_id, "event") if event.name == "file.delivered"]
    assert delivered == []  # by the fork itself
