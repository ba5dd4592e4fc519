"""What a stage may ask of its run: attempts that are journaled and escalate, files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import gc
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from vwt_agents.board import Board, StageLine
from vwt_agents.errors import UsageError
from vwt_agents.eventlog import bound, bound_keys
from vwt_agents.journal import Journal
from vwt_agents.run import Run, RunFolder
from vwt_agents.stage_scope import StageScope


@dataclass
class Result:
    tests_passed: int
    passed: bool = False


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal.open(tmp_path / "journal.db") as opened:
        yield opened


async def run(journal: Journal, folder: Path) -> tuple[Run, StageScope]:
    scope = StageScope(await journal.new_run("p"), "stage", 7)
    line = StageLine("stage", (), ())
    return Run(scope.run, scope, line=line, board=Board(), journal=journal, folder=RunFolder(folder)), scope


async def test_attempts_end_with_the_first_that_passes_and_each_is_journaled(journal: Journal, tmp_path: Path) -> None:
    here, _ = await run(journal, tmp_path)
    numbers = []
    async for attempt in here.attempts(5):
        numbers.append(attempt.number)
        await attempt.record(Result(attempt.number, passed=attempt.number == 2))
    assert numbers == [1, 2]
    assert [entry.status for entry in await journal.entries(here.id, "attempt")] == ["bad", "good"]


async def test_leaving_the_loop_after_a_recorded_pass_loses_nothing(journal: Journal, tmp_path: Path) -> None:
    here, _ = await run(journal, tmp_path)
    async for attempt in here.attempts(5):
        if await attempt.record(Result(1, passed=True)):
            break
    assert [entry.key for entry in await journal.entries(here.id, "attempt")] == ["1"]


async def test_attempts_without_progress_escalate_and_progress_keeps_them_where_they_are(
    journal: Journal, tmp_path: Path
) -> None:
    here, scope = await run(journal, tmp_path)
    scope.can_escalate = True
    escalated = []
    async for attempt in here.attempts(5, escalate_after=2):
        escalated.append(attempt.escalated)
        await attempt.record(Result([1, 2, 2, 2, 2][attempt.number - 1]))
    assert escalated == [False, False, False, False, True]
    assert scope.escalated


async def test_running_out_of_attempts_is_no_error(journal: Journal, tmp_path: Path) -> None:
    here, _ = await run(journal, tmp_path)
    assert [attempt.number async for attempt in here.attempts(2)] == [1, 2]


async def test_a_long_loop_of_attempts_binds_the_last_one_alone(journal: Journal, tmp_path: Path) -> None:
    here, _ = await run(journal, tmp_path)
    bindings = []
    async for _attempt in here.attempts(10):
        bindings.append(sum(isinstance(each, bound) for each in gc.get_objects()))
        assert bound_keys()["attempt"] == len(bindings)
    assert len(set(bindings[1:])) == 1


async def test_files_are_delivered_whole_and_listed_once(journal: Journal, tmp_path: Path) -> None:
    here, _ = await run(journal, tmp_path / "out")
    await here.deliver({"a.txt": "1", "sub/b.txt": "2"})
    (path,) = await here.deliver({"a.txt": "3"})
    assert path.read_text() == "3"
    assert sorted(str(p.relative_to(here.path)) for p in here.path.rglob("*") if p.is_file()) == ["a.txt", "sub/b.txt"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
async def test_a_name_that_leaves_the_folder_is_refused(journal: Journal, tmp_path: Path, name: str) -> None:
    here, _ = await run(journal, tmp_path / "out")
    with pytest.raises(UsageError, match="relative"):
        await here.deliver({name: "x"})


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot make"):
        RunFolder(tmp_path / "file").make()


async def test_where_no_larger_model_can_be_gone_to_nothing_is_escalated(journal: Journal, tmp_path: Path) -> None:
    here, _ = await run(journal, tmp_path)
    async for attempt in here.attempts(4, escalate_after=1):
        assert not attempt.escalated
        await attempt.record(Result(1))


async def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, other = RunFolder(tmp_path / "out"), tmp_path / "other"
    folder.make()
    other.mkdir()
    (folder.path / "link").symlink_to(other)
    with pytest.raises(UsageError, match="leads out of"):
        folder.write("link/file.txt", "text")
    assert list(other.iterdir()) == []


def test_a_folder_nothing_can_be_written_in_is_said_before_the_run() -> None:
    with pytest.raises(UsageError, match=r"cannot make the run's folder /proc: .*"):
        RunFolder(Path("/proc")).make()


@pytest.mark.parametrize("name", ["report.md", "log.jsonl", "./result.json", "report.md/mine"])
async def test_a_stage_does_not_write_over_the_runs_own_files(journal: Journal, tmp_path: Path, name: str) -> None:
    made, _ = await run(journal, tmp_path)
    with pytest.raises(UsageError, match="writes a file of that name itself"):
        await made.deliver({name: "mine"})


async def test_what_is_delivered_is_text(journal: Journal, tmp_path: Path) -> None:
    made, _ = await run(journal, tmp_path)
    bytes_: Any = b"bytes"
    with pytest.raises(TypeError, match="cannot deliver 'b.txt': a text is needed, not bytes"):
        await made.deliver({"a.txt": "text", "b.txt": bytes_})
    assert not (tmp_path / "a.txt").exists()


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write("taken", "text \ud83d")
    assert (tmp_path / "taken").read_text() == "text ?"
    with pytest.raises(UsageError, match="cannot write"):
        folder.write("taken/below", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        folder.write("folder", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "taken"]
    assert folder.delivered == [tmp_path / "taken"]


def test_a_part_that_a_killed_writer_left_goes_with_the_next_writing_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / ".answer.txt.999999999.partial"
    others = [
        tmp_path / name for name in (".other.txt.999999999.partial", ".answer.txt.partial", ".answer.txt.x.partial")
    ]
    at_work = tmp_path / ".answer.txt.999999998.partial"
    for file in (left, *others, at_work):
        file.write_text("half")
    with at_work.open("rb") as held:  # its writer still writes
        fcntl.flock(held, fcntl.LOCK_EX)
        RunFolder(tmp_path).write("answer.txt", "whole")
    assert not left.exists()
    assert all(file.exists() for file in (*others, at_work))
    RunFolder(tmp_path).write("answer.txt", "whole")  # it has the text already
    assert not at_work.exists()


async def test_a_writer_that_is_killed_half_way_leaves_its_part_to_the_next_run(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib, signal; from vwt_agents.run import RunFolder; "
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "RunFolder(pathlib.Path(sys.argv[1])).write('a/answer.txt', 'new')"
    )
    killed = await anyio.run_process([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (killed.returncode, len(list((tmp_path / "a").iterdir()))) == (-9, 1)
    RunFolder(tmp_path).write("a/answer.txt", "new")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["answer.txt"]
