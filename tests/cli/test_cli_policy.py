"""From the command line: a run is forked, approved from a terminal or another one, resumed after what it needs has changed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from serving import PIPELINE, Served
from test_cli_interrupt import started

from vwt_agents.board import Board
from vwt_agents.cli import run_cli
from vwt_agents.cli.prompt import _Prompt

Capture = pytest.CaptureFixture[str]

GATED = PIPELINE.replace("import Agent", "import Agent, Fallback").replace(
    "@pipeline.stage\nasync def second",
    '@pipeline.stage(approve="Deliver?", on_error=Fallback("not delivered"))\nasync def second',
)
BROKEN = PIPELINE.replace(
    "    return text", '    if text == "broken":\n        raise ValueError(text)\n    return text'
)


def data(capsys: Capture, *argv: str, code: int = 0) -> Any:
    assert run_cli([*argv, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def called(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    code = run_cli(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_run_is_forked_from_a_stage_with_other_inputs_into_a_folder_of_its_own(here: Served, capsys: Capture) -> None:
    first = data(capsys, "run", "two.py", "--quiet")
    asked = len(here.server.calls)
    forked = data(capsys, "runs", "fork", "last", "--from", "second", "--quiet")
    assert [stage["status"] for stage in forked["stages"]] == ["kept", "done"]
    assert (len(here.server.calls) - asked, forked["run_id"] != first["run_id"]) == (1, True)
    assert Path(f"runs/{forked['run_id']}/answer.txt").read_text() == "an answer"
    again = data(capsys, "runs", "fork", first["run_id"], "-i", "task=something else", "--out", "other", "--quiet")
    assert [stage["status"] for stage in again["stages"]] == ["done", "kept"]  # `first` gave the same answer
    code, out, _err = called(capsys, "runs", "show", again["run_id"])
    assert code == 0
    assert re.search(rf"forked from {first['run_id']}, of which it has the first \d+ entries", out)
    code, _out, err = called(capsys, "runs", "fork", "last", "--from", "secnd")
    assert (code, "no stage 'secnd'" in err, "did you mean 'second'?" in err) == (2, True, True)


def test_a_fork_says_what_it_has_from_its_parent_and_where_to_read_of_it(here: Served, capsys: Capture) -> None:
    first = data(capsys, "run", "two.py", "--quiet")
    forked = data(capsys, "runs", "fork", "last", "--from", "second", "--quiet")
    assert (first["forked_from"], forked["forked_from"]) == (None, first["run_id"])
    assert [stage["note"] for stage in forked["stages"]] == [f"from run {first['run_id']}", ""]
    _code, out, _err = called(capsys, "runs", "show", "last")
    assert re.search(rf"first +{first['run_id']} +small:1b +1 ", out)
    assert f"what was asked there: python -m vwt_agents runs show {first['run_id']}" in out
    report = Path(f"runs/{forked['run_id']}/report.md").read_text()
    assert f"Forked from run `{first['run_id']}`" in report
    assert f"- first: kept, from run {first['run_id']}" in report
    page = Path(f"runs/{forked['run_id']}/report.html").read_text()
    shown = json.loads(re.search('id="data">(.*?)</script>', page)[1])  # type: ignore[index]
    (taken,) = shown["taken"]
    assert (taken["stage"], taken["run"], taken["calls"], shown["run"]["parent"]) == (
        "first",
        *[first["run_id"], 1],
        first["run_id"],
    )
    assert taken["page"] == Path(f"runs/{first['run_id']}/report.html").absolute().as_uri()
    assert shown["stages"][0]["value"] == taken["value"] is not None
    # A fork of the fork names the run that did it, and one whose run is gone still names it.
    again = data(capsys, "runs", "fork", "last", "--from", "second", "--quiet")
    assert again["stages"][0]["note"] == f"from run {first['run_id']}"
    resumed = called(capsys, "runs", "show", again["run_id"])[1]
    assert first["run_id"] in resumed


def test_a_result_from_the_cache_names_its_run_also_when_that_is_gone(here: Served, capsys: Capture) -> None:
    Path("two.py").write_text(PIPELINE.replace("@pipeline.stage\n", "@pipeline.stage(cache=True)\n", 1))
    first = data(capsys, "run", "two.py", "--quiet")
    data(capsys, "run", "two.py", "--quiet")
    assert re.search(rf"first +{first['run_id']} +small:1b +1 ", called(capsys, "runs", "show", "last")[1])
    entries = called(capsys, "runs", "show", first["run_id"], "--entries")[1]
    assert re.search(r"stage +first +[0-9a-f]{12}… +done", entries)
    assert called(capsys, "runs", "gc", "--keep", "1", "--dry-run")[1].startswith("would prune 1 run, ")
    called(capsys, "runs", "gc", "--keep", "1")
    assert re.search(rf"first +{first['run_id']}\n", called(capsys, "runs", "show", "last")[1])
    assert called(capsys, "runs", "report", "last", "--html", "-")[0] == 0


def test_a_forks_input_may_be_a_file_and_an_unknown_one_is_told(here: Served, capsys: Capture) -> None:
    data(capsys, "run", "two.py", "--quiet")
    Path("task.md").write_text("from a file")
    data(capsys, "runs", "fork", "last", "-i", "task=@task.md", "--quiet")
    assert here.server.calls[-1]["messages"][-1]["content"].startswith("from a file")
    code, _out, err = called(capsys, "runs", "fork", "last", "-i", "tsk=1")
    assert (code, "did you mean 'task'?" in err) == (2, True)


def test_a_resumed_run_says_which_stages_code_has_changed_and_keeps_the_rest(here: Served, capsys: Capture) -> None:
    here.server._script = lambda body: "broken" if "second" in json.dumps(body) else "one"
    file = Path("two.py")
    file.write_text(BROKEN)
    assert data(capsys, "run", "two.py", "--quiet", code=1)["status"] == "bad"
    asked = len(here.server.calls)
    file.write_text(
        PIPELINE.replace("first", "begin").replace("begin: str", "first: str").replace("[begin]", "[first]")
    )
    code, _out, err = called(capsys, "runs", "resume", "last")
    assert code == 2  # `second` needs `first`, which is `begin` now
    file.write_text(PIPELINE.replace('ask("first"', 'ask("First"'))
    code, _out, err = called(capsys, "runs", "resume", "last")
    assert code == 0
    assert "first is done again: its code, or code of its file that it uses, has changed" in err
    assert len(here.server.calls) - asked == 1  # `second` asks what it has asked before


def test_a_changed_agents_toml_changes_nothing_that_has_ended(here: Served, capsys: Capture) -> None:
    file = Path("two.py")
    file.write_text(PIPELINE.replace("    return text", "    raise ValueError(text)"))
    data(capsys, "run", "two.py", "--quiet", code=1)
    asked = len(here.server.calls)
    file.write_text(PIPELINE)
    config = Path("agents.toml")
    large = config.read_text().replace("[agents.coder]", '[agents.coder]\nmodel = "large:2b"')
    config.write_text(large.replace('tier = "small"', 'tier = "large"'))
    resumed = data(capsys, "runs", "resume", "last", "--quiet")
    assert [(stage["status"], stage["model"]) for stage in resumed["stages"]] == [
        ("kept", "small:1b"),
        ("done", "large:2b"),
    ]
    assert len(here.server.calls) - asked == 1


@pytest.mark.slow
def test_a_run_without_a_terminal_waits_for_another_one_to_approve(here: Served, capsys: Capture) -> None:
    Path("gated.py").write_text(GATED)
    with started("run", "gated.py", "--out", "made") as process:
        assert process.stderr is not None
        while "waits for a person" not in (line := process.stderr.readline()):
            assert line, "it ended before it asked"
        run = line.split("runs approve ")[1].split()[0]
        assert "waits for a person: second" in called(capsys, "runs", "list")[1]
        _code, out, _err = called(capsys, "runs", "show", run)
        assert f"waits for a person, stage second: Deliver?\n  python -m vwt_agents runs approve {run} second" in out
        code, _out, err = called(capsys, "runs", "approve", run, "frist")
        assert (code, "stage 'frist'" in err) == (2, True)
        code, out, _err = called(capsys, "runs", "approve", run, "--note", "go on")
        assert (code, out) == (0, f"{run}, stage second: Deliver? yes\n")
        _out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert ": go on" in err
    assert Path("made/answer.txt").read_text() == "an answer"
    code, _out, err = called(capsys, "runs", "approve", run)
    assert (code, "asks nothing (good)" in err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "output"), [("what\ny because\n", "an answer"), ("\n", "not delivered")])
def test_a_person_at_the_terminal_is_asked(here: Served, capsys: Capture, typed: str, output: str) -> None:
    Path("gated.py").write_text(GATED)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vwt_agents", "run", "gated.py", "--json"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        os.write(ours, typed.encode())  # a terminal keeps what is typed ahead
        out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, err
    assert "? Deliver? [y/N" in err
    assert ("yes or no?" in err) == typed.startswith("what")
    assert json.loads(out)["outputs"] == {"second": output}


@contextmanager
def terminal() -> Iterator[tuple[_Prompt, int, Board]]:
    """A prompt at a terminal, and the other end of it."""
    ours, theirs = pty.openpty()
    board = Board()
    try:
        yield _Prompt(board, theirs), ours, board
    finally:
        os.close(theirs)
        with suppress(OSError):
            os.close(ours)


@pytest.mark.parametrize(
    ("typed", "default", "approved", "note"),
    [
        ("y\n", False, True, ""),
        ("No, never mind\n", True, False, "never mind"),
        ("\n", True, True, ""),
        ("eh\nn\n", True, False, ""),
    ],
)
async def test_a_prompt_takes_a_word_and_a_note(typed: str, default: bool, approved: bool, note: str) -> None:
    with terminal() as (prompt, ours, board):
        os.write(ours, typed.encode())
        answer = await prompt("Deliver?", default=default)
        assert answer is not None
        assert (answer.approved, answer.note, board.prompting) == (approved, note, False)


async def test_a_prompt_is_given_up_when_another_answer_has_come_or_the_terminal_has_gone() -> None:
    with terminal() as (prompt, ours, board):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(prompt, "Deliver?", default=True))
            while not board.prompting:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert not board.prompting
        os.close(ours)
        assert await prompt("Deliver?", default=True) is None


def test_run_yes_approves_and_no_cache_is_a_word(here: Served, capsys: Capture) -> None:
    Path("gated.py").write_text(GATED)
    made = data(capsys, "run", "gated.py", "--yes", "--no-cache", "--quiet")
    assert made["outputs"] == {"second": "an answer"}


FORGIVING = """
from vwt_agents import Fallback, Pipeline

pipeline = Pipeline("forgiving")


@pipeline.stage(retries=1, backoff="1ms", on_error="skip")
async def sources() -> str:
    raise ValueError("no net")


@pipeline.stage(on_error=Fallback("none"))
async def review() -> str:
    raise ValueError("no time")


@pipeline.stage
async def report(sources: str | None, review: str) -> str:
    return review
"""


def test_what_a_run_did_without_and_its_tries_are_shown_afterwards(here: Served, capsys: Capture) -> None:
    Path("forgiving.py").write_text(FORGIVING)
    assert called(capsys, "run", "forgiving.py", "--quiet")[0] == 0
    _code, out, _err = called(capsys, "runs", "show", "last")
    assert "\nsources skipped: stage 'sources' raised ValueError: no net" in out
    assert "\nreview fallback: stage 'review' raised ValueError: no time" in out
    assert "\nsources: 2 tries\n" in out
