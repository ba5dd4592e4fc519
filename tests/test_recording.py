"""What happens is in the journal while a run goes on, not only at its end; a journal that is ill ends no run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from vwt_agents.board import Board, StageLine
from vwt_agents.errors import JournalError, StageFailed
from vwt_agents.journal import Journal, JournalReader
from vwt_agents.recording import recording


async def rows(path: Path) -> list[list[Any]]:
    entries = await JournalReader(path).entries("last", kind="event")
    assert entries[0].name == "plan"
    return [row for entry in entries[1:] for row in json.loads(entry.payload or "{}")["rows"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_rows_are_there_before_the_run_has_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vwt_agents.recording.EVERY", 0.01)
    board = Board()
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        async with recording(journal, run, board, {"stages": []}):
            board.say("a remark")
            with anyio.fail_after(10):
                while not await rows(path):  # noqa: ASYNC110 - what is waited for is in a file
                    await anyio.sleep(0.01)
            board.stages = {"draft": StageLine("draft", (), (), "done", started=1.0, ended=2.0)}
        board.say("after the end")
    assert [row[0] for row in await rows(path)] == ["y", "s", "e"]


async def failing(journal: Journal, run: str, board: Board) -> None:
    async with recording(journal, run, board, {}):
        board.say("before it failed")
        raise StageFailed("no")


async def test_an_error_or_a_cancelled_block_comes_out_as_itself_with_all_rows_kept(path: Path) -> None:
    board = Board()
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        with pytest.raises(StageFailed):
            await failing(journal, run, board)
        with anyio.CancelScope() as scope:
            async with recording(journal, run, board, {}):
                board.say("before it was stopped")
                scope.cancel()
                await anyio.sleep_forever()
    entries = await JournalReader(path).entries("last", kind="event")
    said = [row[2] for entry in entries if entry.name == "timeline" for row in json.loads(entry.payload or "")["rows"]]
    assert said == ["before it failed", "before it was stopped"]


async def test_rows_that_could_not_be_written_are_written_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    monkeypatch.setattr("vwt_agents.recording.EVERY", 0.01)
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        async with recording(journal, run, board, {}):
            tried, append = anyio.Event(), journal.append

            async def full(entry: Any, **more: Any) -> int:
                tried.set()
                raise JournalError("the disk is full")

            monkeypatch.setattr(journal, "append", full)
            board.say("kept")
            with anyio.fail_after(10):
                await tried.wait()
            monkeypatch.setattr(journal, "append", append)
    assert [row[2] for row in await rows(path)] == ["kept"]
