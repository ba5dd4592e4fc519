"""A result of another run is used where all that shaped it was the same, by stages that ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from staged import Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.errors import StageFailed
from vwt_agents.journal import Journal
from vwt_agents.messages import Options
from vwt_agents.pipeline import Fallback, Pipeline
from vwt_agents.run import Run


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Staged]:
    async with Journal.open(tmp_path / "journal.db") as journal:
        yield Staged(journal, tmp_path / "runs")


def asking(cache: bool | str = True, *, say: str = "hello") -> Pipeline:
    pipeline = Pipeline("p", defaults={"name": "you"})

    @pipeline.stage(cache=cache)
    async def greeting(coder: Agent, name: str, run: Run) -> str:
        answer = await coder.ask(f"{say} {name}")
        await run.deliver({"greeting.txt": answer})
        return answer

    @pipeline.stage
    async def loud(coder: Agent, greeting: str) -> str:
        return await coder.ask(greeting + "!")

    return pipeline


async def test_the_next_run_uses_the_result_and_has_its_files_and_says_where_it_is_from(runs: Staged) -> None:
    first = await runs.run(asking())
    before, caller = runs.run_id, Calls()
    assert await runs.run(asking(), caller) == first
    assert (runs.status, caller.prompts) == ({"greeting": "cached", "loud": "done"}, ["HELLO YOU!"])
    assert runs.board.stages["greeting"].note == f"from run {before}"
    assert (runs.folder / "greeting.txt").read_text() == "HELLO YOU"


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": {"name": "me"}},
        {"seed": 8},
        {"options": Options(temperature=0.5)},
        {"digests": {("here", "small:1b"): "d2"}},
        {"digests": {}},
        {"use_cache": False},
    ],
)
async def test_what_shapes_the_result_differently_does_not_use_it(runs: Staged, other: dict[str, Any]) -> None:
    await runs.run(asking())
    caller = Calls()
    await runs.run(asking(), caller, **other)
    assert (runs.status["greeting"], len(caller.requests)) == ("done", 2)


async def test_other_code_does_not_use_it_and_a_stage_that_did_not_ask_for_it_neither(runs: Staged) -> None:
    await runs.run(asking())
    for pipeline in (asking(say="hi"), asking(cache=False)):
        await runs.run(pipeline)
        assert runs.status["greeting"] == "done"


async def test_a_run_without_the_cache_leaves_its_result_for_the_next(runs: Staged) -> None:
    await runs.run(asking(), use_cache=False)
    await runs.run(asking())
    assert runs.status["greeting"] == "cached"


async def test_a_result_counts_from_when_it_was_made_whoever_used_it_since(runs: Staged) -> None:
    await runs.run(asking())
    (made,) = [entry for entry in await runs.journal.entries(runs.run_id, "stage") if entry.name == "greeting"]
    old = made._replace(run=await runs.journal.new_run("p"), started_at=datetime.now(UTC) - timedelta(days=6))
    async with Journal.open(runs.journal.path.with_name("other.db")) as journal:
        elsewhere = Staged(journal, runs.path)
        await journal.append(old._replace(run=await journal.new_run("p")))
        await elsewhere.run(asking("7d"))
        assert elsewhere.status["greeting"] == "cached"
        await elsewhere.run(asking("5d"))
        assert elsewhere.status["greeting"] == "done"


async def test_a_resumed_run_keeps_what_it_had_from_the_cache(runs: Staged) -> None:
    await runs.run(asking())
    await runs.run(asking())
    await runs.resume(asking(), use_cache=False)
    assert runs.status == {"greeting": "kept", "loud": "kept"}


async def test_a_result_that_something_stands_in_for_is_not_used_again(runs: Staged) -> None:
    pipeline = Pipeline("p", defaults={"numbers": [0, 1]})

    @pipeline.stage(cache=True, on_error=Fallback(0.0))
    async def one() -> float:
        return 1 / 0

    @pipeline.stage(each={"number": "numbers"}, cache=True, on_error="skip")
    async def several(number: int) -> float:
        return 1 / number

    for _ in range(2):
        assert await runs.run(pipeline) == {"one": 0.0, "several": [1.0]}
        assert runs.status == {"one": "fallback", "several": "partial"}


async def test_files_that_a_fork_delivers_as_its_parent_did_come_with_its_result(runs: Staged) -> None:
    broken = [True]
    pipeline = Pipeline("p")

    @pipeline.stage(cache=True)
    async def greeting(run: Run) -> str:
        await run.deliver({"greeting.txt": "hello"})
        if broken:
            raise ValueError("broken")
        return "hello"

    with pytest.raises(StageFailed):
        await runs.run(pipeline)
    broken.clear()
    await runs.fork(pipeline)
    await runs.run(pipeline)
    assert runs.status == {"greeting": "cached"}
    assert (runs.folder / "greeting.txt").read_text() == "hello"
