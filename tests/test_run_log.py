"""Promises of a run's log.jsonl: every line says which run, stage and call it belongs to, whoever wrote it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.testing import VwtApp

PIPELINE = """
import logging

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("talk", defaults={"names": ["a", "b"]})


@pipeline.stage
async def one(general: Agent) -> list[str]:
    logging.getLogger("a_library").warning("in one")
    return await general.map(["x", "y"])


@pipeline.stage(each={"name": "names"})
async def two(planner: Agent, run: Run, name: str) -> str:
    async for attempt in run.attempts(1):
        logging.getLogger("a_library").warning("in two")
        return await planner.ask(name)


@pipeline.stage
async def three(one: list[str], two: list[str]) -> int:
    logging.getLogger("a_library").warning("in three")
    return 3
"""


@pytest.fixture
async def events(vwt_app: VwtApp, tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of a run, by event."""
    (tmp_path / "talk.py").write_text(PIPELINE)
    result = await vwt_app.run(tmp_path / "talk.py", answers="ok")
    assert result.status == "good"
    found = defaultdict(list)
    for line in (vwt_app.out / "log.jsonl").read_text().splitlines():
        found[json.loads(line)["event"]].append(json.loads(line))
    assert {line["run"] for lines in found.values() for line in lines} == {result.run_id}
    return found


async def test_the_line_of_a_call_has_run_stage_agent_and_a_number_of_its_own(events: Any) -> None:
    calls = events["call.answered"]
    assert sorted(line["call"] for line in calls) == [1, 2, 3, 4]
    assert (
        sorted((line["stage"], line["agent"]) for line in calls) == [("one", "general")] * 2 + [("two", "planner")] * 2
    )
    for line in calls:
        assert line["model"]
        assert line["endpoint"]
        assert line["seconds"] >= line["wait_seconds"] >= 0
        assert line["prompt_tokens"] > line["output_tokens"] == 1


async def test_the_lines_of_an_item_and_of_an_attempt_say_which(events: Any) -> None:
    two = [line for line in events["call.answered"] if line["stage"] == "two"]
    assert sorted((line["item"], line["attempt"]) for line in two) == [("0", 1), ("1", 1)]
    assert not [line for line in events["call.answered"] if line["stage"] == "one" and {"item", "attempt"} & set(line)]


async def test_a_library_s_line_belongs_to_the_stage_that_called_it(events: Any) -> None:
    assert sorted(events["in one"][0].items() & {"stage": "one", "logger": "a_library"}.items()) == [
        ("logger", "a_library"),
        ("stage", "one"),
    ]
    assert sorted(line["item"] for line in events["in two"]) == ["0", "1"]
    assert "call" not in events["in three"][0], "a call that is over is no longer what happens"
    assert events["in three"][0]["stage"] == "three"


async def test_every_stage_has_its_beginning_and_its_end(events: Any) -> None:
    for event in ("stage.started", "stage.done"):
        assert sorted(line["stage"] for line in events[event]) == ["one", "three", "two"]
