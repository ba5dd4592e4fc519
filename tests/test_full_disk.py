"""A disk that is full ends a run with a clear error and costs nothing that had been written down."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from staged import Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.app import App, Job, resumed
from vwt_agents.errors import JournalError, Unwritable
from vwt_agents.journal import Journal, JournalReader
from vwt_agents.pipeline import Pipeline
from vwt_agents.run import Run, RunFolder
from vwt_agents.whole import write_whole


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Staged]:
    async with Journal.open(tmp_path / "journal.db") as journal:
        yield Staged(journal, tmp_path / "runs")


class FullDisk:
    """A folder in which these files find no room, until there is some: what is written of them goes to /dev/full."""

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir(exist_ok=True)
        self._parts = [folder / f".{name}.{os.getpid()}.partial" for name in names]
        for part in self._parts:
            part.symlink_to("/dev/full")

    def make_room(self) -> None:
        for part in self._parts:
            part.unlink(missing_ok=True)


def delivering() -> Pipeline:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def written(coder: Agent) -> str:
        return await coder.ask("text")

    @pipeline.stage
    async def delivered(run: Run, written: str) -> str:
        await run.deliver({"a.txt": written})
        await run.deliver({"b.txt": written})
        return written

    return pipeline


async def test_a_file_that_finds_no_room_ends_the_run_leaves_no_half_and_is_there_after_a_resume(
    runs: Staged,
) -> None:
    runs.run_id, caller = await runs.journal.new_run("p"), Calls()
    runs.path.mkdir()
    FullDisk(runs.folder, "a.txt")
    with pytest.raises(Unwritable, match=r"cannot write .*a\.txt: No space left on device") as caught:
        await runs.resume(delivering())
    assert (caught.value.exit_code, "resume" in (caught.value.hint or "")) == (3, True)
    assert list(runs.folder.rglob("*")) == []
    await runs.resume(delivering(), caller)
    assert (caller.requests, runs.status) == ([], {"written": "kept", "delivered": "done"})
    assert sorted(path.name for path in runs.folder.iterdir()) == ["a.txt", "b.txt"]


def test_a_file_that_is_there_already_needs_no_room(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write("a.txt", "text")
    FullDisk(tmp_path, "a.txt")
    folder.write("a.txt", "text")
    with pytest.raises(Unwritable):
        folder.write("a.txt", "longer text")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "text")]


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_that_found_room_for_half_of_it_is_as_it_was_before(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_bytes(before)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_whole(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == ({"a.txt": before} if before else {})


async def limited(journal: Journal, pages: int | None) -> None:
    """Let the journal's file grow by so many pages; None: as it likes."""

    def work(connection) -> None:
        (now,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {now + pages if pages is not None else 1_000_000}")

    await journal._writer.do(work)


def text_of(number: int) -> str:
    """Some 800 characters that no packing makes shorter."""
    return "".join(sha256(f"{number}/{part}".encode()).hexdigest() for part in range(13))


@pytest.mark.parametrize("pages", [0, 1, 3])
async def test_a_journal_that_finds_no_room_ends_the_run_and_what_it_has_is_used(runs: Staged, pages: int) -> None:
    pipeline, caller = Pipeline("p", defaults={"numbers": list(range(12))}), Calls()

    @pipeline.stage(each={"number": "numbers"})
    async def long(coder: Agent, number: int) -> str:
        return await coder.ask(text_of(number)) + "!"

    @pipeline.stage
    async def all_of_it(long: list[str]) -> int:
        return sum(map(len, long))

    runs.run_id = await runs.journal.new_run("p")
    await limited(runs.journal, pages)
    with pytest.raises(JournalError, match="full") as caught:
        await runs.resume(pipeline, caller, max_agents=1)
    assert (caught.value.exit_code, "make room" in (caught.value.hint or "")) == (3, True)
    await limited(runs.journal, None)
    kept = [entry for entry in await runs.journal.entries(runs.run_id, "call") if entry.status == "done"]
    again = Calls()
    whole = await runs.resume(pipeline, again)
    assert len(again.requests) == 12 - len(kept)
    assert whole["all_of_it"] == 12 * (len(text_of(0)) + 1)


WRITES = """
from vwt_agents import Pipeline, Run

pipeline = Pipeline("writes")


@pipeline.stage
async def first() -> str:
    return "text"


@pipeline.stage
async def second(first: str, run: Run) -> str:
    await run.deliver({"a.txt": first})
    return first
"""


async def test_a_run_whose_folder_is_full_is_failed_in_the_journal_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "writes.py").write_text(WRITES)
    disk = FullDisk(tmp_path / "out", "a.txt", "report.md", "report.html", "result.json")
    result = await App().run(Job(tmp_path / "writes.py", out=tmp_path / "out"))
    assert (result.status, result.exit_code, result.report) == ("failed", 3, None)
    assert "No space left on device" in (result.error or "")
    assert (await JournalReader().run("last")).status == "failed"
    disk.make_room()
    again = await App().run(await resumed(JournalReader(), "last"))
    assert (again.status, [stage.status for stage in again.stages]) == ("good", ["kept", "done"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.txt",
        "log.jsonl",
        "report.html",
        "report.md",
        "result.json",
    ]
