"""What a stage does to the event loop that all run in ends the run with words and exit code 1, never as a success."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = """
import asyncio, sys

import anyio

from vwt_agents import Pipeline

pipeline = Pipeline("p")


async def leave() -> None:
    sys.exit(0)


@pipeline.stage
async def bad() -> str:
    {body}
    await asyncio.sleep(60)
    return "x"


@pipeline.stage
async def aside() -> str:
    await asyncio.sleep(60)
    return "aside"
"""

BODIES = {
    "exit in a task of its own": (
        "async with anyio.create_task_group() as tasks: tasks.start_soon(leave)",
        ("called exit(0)", "p.py:12"),
    ),
    "exit in a task begun and left": (
        "task = asyncio.ensure_future(leave())",
        ("called exit(0)", "p.py:12"),
    ),
    "every task is cancelled": (
        "for task in asyncio.all_tasks(): task.cancel()",
        ("cancelled",),
    ),
    "the loop is stopped": ("asyncio.get_running_loop().stop()", ("event loop was stopped from within",)),
}


@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=BODIES.keys())
def test_a_run_that_is_ended_from_within_is_bad_and_names_its_stage(
    body: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "p.py").write_text(PIPELINE.format(body=body))
    command = [sys.executable, "-m", "vwt_agents"]
    run = subprocess.run(
        [*command, "run", "p.py", "--quiet"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1, run.stderr
    for word in ("'bad'", *words):
        assert word in run.stdout + run.stderr
    assert "Neighbours._watch" not in run.stderr
    listed = subprocess.run(
        [*command, "runs", "list", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(listed.stdout)[0]["status"] in {"interrupted", "bad"}
