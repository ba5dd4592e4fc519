"""What a stage does to the event loop that all run in ends the run with words and exit code 1, never as a success."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = """
import asyncio

import anyio

from vwt_agents import Pipeline

pipeline = Pipeline("p")


async def leave() -> None:
    exit(0)


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


def vwt(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vwt_agents", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=BODIES.keys())
def test_a_run_that_is_ended_from_within_is_bad_and_says_why_wherever_it_is_looked_up(
    body: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "p.py").write_text(PIPELINE.format(body=body))
    run = vwt(tmp_path, "run", "p.py", "--quiet", "--json", "--out", "out")
    assert run.returncode == 1, run.stderr
    printed = json.loads(run.stdout)
    shown = vwt(tmp_path, "runs", "show", printed["run_id"]).stdout
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == printed
    assert (printed["status"], printed["exit_code"]) == ("bad", 1)
    assert shown.startswith(f"{printed['run_id']}: bad")
    for word in ("'bad'", f"runs resume {printed['run_id']}", *words):
        assert word in printed["error"]
        assert word in run.stderr
        assert word in shown
    assert "never retrieved" not in run.stderr
    assert "Neighbours._watch" not in run.stderr


ALONE = PIPELINE.partition("@pipeline.stage\nasync def aside")[0]


def test_nothing_is_left_unawaited_where_a_stage_stops_the_event_loop(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(PIPELINE.format(body=BODIES["the loop is stopped"][0]))
    run = vwt(tmp_path, "run", "p.py")
    assert "never awaited" not in run.stderr
    assert "error: the event loop was stopped from within" in run.stdout


def test_what_a_run_watches_has_begun_before_a_stage_can_cancel_all_tasks(tmp_path: Path) -> None:
    """Python warns of a coroutine whose task ends before its first step."""
    (tmp_path / "p.py").write_text(ALONE.format(body=BODIES["every task is cancelled"][0]))
    assert "never awaited" not in vwt(tmp_path, "run", "p.py").stderr


@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_a_run_that_is_started_without_one_of_its_streams_ends_as_any_other(closed: str, tmp_path: Path) -> None:
    one = "@pipeline.stage\nasync def one() -> int:\n    return 1\n"
    (tmp_path / "p.py").write_text(f'from vwt_agents import Pipeline\n\npipeline = Pipeline("p")\n\n\n{one}')
    shell = [
        "sh",
        "-c",
        f'exec "$@" {closed}>&-',
        "sh",
        sys.executable,
        "-m",
        "vwt_agents",
        "run",
        "p.py",
        "--out",
        "out",
    ]
    run = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, "Traceback" in run.stderr) == (0, False)
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "good"
