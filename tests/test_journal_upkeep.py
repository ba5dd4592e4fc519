"""Promises of the journal beyond its writing: pruned, brought up to date, read where nothing can be written."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from vwt_agents.cli import run_cli
from vwt_agents.entries import Entry, read_call
from vwt_agents.errors import JournalError
from vwt_agents.journal import Journal, JournalReader
from vwt_agents.journal.checking import check
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.pruning import journal_bytes, prune
from vwt_agents.migrations import MIGRATIONS, migrate

SHARED = "You are a careful programmer. " * 200
OLD = gzip.decompress((Path(__file__).parent / "journal_v3.db.gz").read_bytes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def a_run(journal: Journal, number: int, *, ended: bool = True, **more: Any) -> str:
    """A run with a value it shares, one of its own, and a file."""
    random_ = random.Random(number)
    run = await journal.new_run("p", run_id=f"20261125-{number:06}-p-0000", inputs=f'{{"n":{number}}}', **more)
    await journal.append(Entry(run, "call", "draft", texts=(SHARED, random_.randbytes(4000).hex())))
    await journal.append(Entry(run, "stage", "draft", payload=random_.randbytes(100_000)))
    if ended:
        await journal.finish_run(run, "good", exit_code=0, summary=f'{{"n":{number}}}')
    return run


async def ids(path: Path) -> list[str]:
    return [run.id for run in await JournalReader(path).list_runs(1000)]


# -- pruning ------------------------------------------------------------------------------------------------------------


async def test_pruned_runs_go_with_all_that_only_they_had_and_their_space_is_given_back(path):
    async with Journal.open(path) as journal:
        runs = [await a_run(journal, number) for number in range(12)]
        last = await journal.entries(runs[-1])
    size, alone = journal_bytes(path), path.stat().st_size
    pruned = prune(path, keep=2, before=None)
    assert pruned.runs == runs[-3::-1]
    assert (pruned.entries, pruned.files) == (20, 10)
    assert await ids(path) == [runs[-1], runs[-2]]
    assert await JournalReader(path).entries("last") == last
    assert journal_bytes(path) == size - pruned.freed_bytes < size / 4
    assert path.stat().st_size < alone * 0.7
    report = check(path)
    assert (report.sound, report.files, report.unused) == (True, 2, 0)


async def test_a_dry_run_says_the_same_and_changes_nothing(path):
    async with Journal.open(path) as journal:
        runs = [await a_run(journal, number) for number in range(4)]
    before = path.read_bytes()
    dry = prune(path, keep=1, before=None, dry_run=True)
    assert path.read_bytes() == before
    assert await ids(path) == runs[::-1]
    real = prune(path, keep=1, before=None)
    assert (dry.runs, dry.entries, dry.contents, dry.files) == (real.runs, real.entries, real.contents, real.files)


async def test_a_running_run_and_what_a_kept_fork_stands_on_stay_whatever_was_said(path):
    async with Journal.open(path) as journal:
        root = await a_run(journal, 0)
        parent = await a_run(journal, 1, parent=root, parent_seq=1)
        other, running = await a_run(journal, 2), await a_run(journal, 3, ended=False)
        fork = await a_run(journal, 4, parent=parent, parent_seq=2)
        pruned = await anyio.to_thread.run_sync(lambda: prune(path, keep=1, before=None))
        assert await journal.append(Entry(running, "event", "goes on")) == 3  # its writer knows nothing of it
    assert pruned.runs == [other]
    assert pruned.kept == {
        running: "it is running",
        parent: f"{fork} was forked from it",
        root: f"{parent} was forked from it",
    }
    assert await ids(path) == [fork, running, parent, root]
    assert check(path).sound
    assert prune(path, keep=0, before=None).runs == [fork, parent, root]
    assert await ids(path) == [running]


async def test_only_runs_that_ended_long_enough_ago_go_and_none_without_a_word(path):
    async with Journal.open(path) as journal:
        runs = [await a_run(journal, number) for number in range(3)]
    now = datetime.now(UTC)
    assert prune(path, keep=None, before=None).runs == []
    assert prune(path, keep=None, before=now - timedelta(days=1)).runs == []
    assert prune(path, keep=2, before=now).runs == runs[:1]
    assert prune(path, keep=None, before=now).runs == [runs[2], runs[1]]


async def test_a_file_whose_row_was_never_committed_is_cleared_away(path):
    async with Journal.open(path) as journal:
        await a_run(journal, 0)
    files = ContentFiles(path)
    files.write(bytes(32), b"nobody's")
    half = files.path(bytes(32)).with_name(".11.42.partial")
    half.write_bytes(b"ha")
    assert check(path).unused == 2
    assert prune(path, keep=None, before=None).files == 2
    assert check(path).unused == 0
    assert check(path).sound


async def test_readers_and_a_writer_go_on_while_it_prunes(path):
    async with Journal.open(path) as journal:
        for number in range(40):
            await a_run(journal, number)
        run = await a_run(journal, 100, ended=False)
        process = subprocess.Popen(  # noqa: ASYNC220 - it is to run beside this
            [sys.executable, "-m", "vwt_agents", "runs", "gc", "--keep", "0", "--json"],
            env={**os.environ, "VWT_STATE": str(path.parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        written = 2
        while process.poll() is None:
            written = await journal.append(Entry(run, "stage", "s", payload=os.urandom(3000)))
            assert len(await JournalReader(path).entries(run)) == written
        pruned = json.loads(process.communicate()[0])
        assert len(pruned["runs"]) == 40
        assert await journal.append(Entry(run, "call", "s", texts=(SHARED,))) == written + 1
        assert len(await journal.entries(run)) == written + 1
    report = check(path)
    assert (report.sound, report.runs, report.unused) == (True, 1, 0)


async def test_a_journal_of_before_gives_its_space_back_too(path):
    path.parent.mkdir()
    path.write_bytes(OLD)
    async with Journal.open(path) as journal:
        for _ in range(30):
            run = await journal.new_run("p")
            await journal.append(Entry(run, "stage", "s", payload=os.urandom(20_000)))
            await journal.finish_run(run, "good", exit_code=0)
    size = path.stat().st_size
    assert prune(path, keep=1, before=None).note is None
    assert path.stat().st_size < size / 4
    assert query(path, "PRAGMA auto_vacuum") == [(2,)]
    assert check(path).sound


# -- earlier versions ---------------------------------------------------------------------------------------------------


async def test_a_journal_written_by_version_3_is_read_and_gone_on_with(path):
    path.parent.mkdir()
    path.write_bytes(OLD)
    reader = JournalReader(path)
    call, failed, short, long, event = await reader.entries("20261120-120000")
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    request, response = read_call(call)
    assert (request.messages[0].content, request.messages[1].content) == ("Be brief. " * 200, "Write add(a, b).")
    assert not isinstance(response, str)
    assert (response.text, response.usage.prompt_tokens) == ("def add(a, b): ...", 12)
    assert read_call(failed)[1] == "the server went away"
    assert (short.payload, short.seconds) == ('"short"', 1.5)
    assert long.payload == '"' + "long " * 600 + '"'
    assert long.texts == ("a", b"\x00\xff", "")
    assert (event.kind, event.payload, event.texts) == ("event", None, ())
    fork = await reader.run("20261120-120001")
    assert (fork.parent, fork.parent_seq, fork.status) == ("20261120-120000-codegen-0001", 3, "bad")
    assert [entry.payload for entry in await reader.entries(fork.id)] == [b"\x00bytes"]
    assert check(path).sound
    async with Journal.open(path) as journal:
        assert await journal.append(Entry(fork.id, "stage", "new", payload="1", texts=("a", "b" * 5000))) == 2
        assert (await journal.entries(fork.id))[1].texts == ("a", "b" * 5000)
    assert query(path, "PRAGMA foreign_key_check") == []
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_file_brought_here_from_any_version_has_the_tables_of_a_new_one(path):
    path.parent.mkdir()

    def tables(steps: int) -> list[tuple[Any, ...]]:
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection, path, steps=MIGRATIONS[:steps])
            migrate(connection, path)
        return query(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY name")

    assert tables(1) == tables(2) == tables(3) == tables(4)


# -- reading where nothing can be written -------------------------------------------------------------------------------


def read_only(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command that sees the folder as on a read-only disk."""
    wrapped = [
        "bwrap",
        "--dev-bind",
        "/",
        "/",
        "--ro-bind",
        str(folder),
        str(folder),
        sys.executable,
        "-m",
        "vwt_agents",
    ]
    return subprocess.run(
        [*wrapped, *argv], capture_output=True, text=True, env={**os.environ, "VWT_STATE": str(folder)}, check=False
    )


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap for a read-only folder")
@pytest.mark.parametrize("how", ["closed", "with a log", "of version 3"])
async def test_runs_are_listed_and_shown_from_a_read_only_folder(path, tmp_path, how):
    copy, old = tmp_path / "copy", how == "of version 3"
    if old:
        copy.mkdir()
        (copy / "journal.db").write_bytes(OLD)
    else:
        async with Journal.open(path) as journal:
            await a_run(journal, 1)
            if how == "with a log":
                shutil.copytree(path.parent, copy)
                (copy / "journal.db-shm").unlink()
        if how == "closed":
            shutil.copytree(path.parent, copy)
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    done = await anyio.to_thread.run_sync(
        lambda: read_only(copy, "runs", "show", "20261120-120000" if old else "last", "--json")
    )
    if "bwrap: " in done.stderr:
        pytest.skip(f"bubblewrap does not work here: {done.stderr}")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["entries"]) == (5 if old else 2)
    assert before == {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}


# -- listing and size ---------------------------------------------------------------------------------------------------


async def test_listing_runs_reads_nothing_that_they_were_given_or_left(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p", inputs='{"values":1}')
        await journal.finish_run(run, "good", exit_code=0, summary="{}")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE contents SET data = x'00', packed = 1")
    assert [line.id for line in await JournalReader(path).list_runs()] == [run]
    with pytest.raises(JournalError, match="damaged"):
        await JournalReader(path).run(run)


async def test_a_run_of_40_stages_with_200_kb_of_outputs_takes_less_than_400_kb(path):
    """Text that packs to three quarters at best: random letters."""
    random_ = random.Random(1)
    outputs = [
        json.dumps("".join(random_.choices("abcdefghijklmnopqrstuvwxyz0123456789 \n", k=5000))) for _ in range(40)
    ]
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        for number, output in enumerate(outputs):
            await journal.append(
                Entry(run, "stage", f"stage{number}", fingerprint="ab" * 32, seconds=1.0, payload=output)
            )
        await journal.finish_run(run, "good", exit_code=0, summary=json.dumps({"outputs": outputs[-1]}))
    assert journal_bytes(path) < 400_000


async def test_a_large_value_is_a_file_once_and_private(path):
    value = os.urandom(300_000)
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        for _ in range(3):
            await journal.append(Entry(run, "stage", "s", payload=value))
        assert {entry.payload for entry in await journal.entries(run)} == {value}
        [(digest, file)] = ContentFiles(path).all()
        assert digest is not None
    assert file.stat().st_size == 300_000
    assert [one.stat().st_mode & 0o077 for one in (file, file.parent, file.parent.parent)] == [0, 0, 0]
    assert path.stat().st_size < 100_000


def test_the_commands_take_words_for_how_much_goes(path, capsys, monkeypatch):
    monkeypatch.setenv("VWT_STATE", str(path.parent))

    async def fill() -> None:
        async with Journal.open(path) as journal:
            for number in range(3):
                await a_run(journal, number)

    anyio.run(fill)
    assert run_cli(["runs", "gc", "--keep", "1", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would prune 2 runs, 4 entries,")
    assert run_cli(["runs", "gc", "--older-than", "30d"]) == 0
    assert capsys.readouterr().out.startswith("pruned 0 runs")
    assert run_cli(["runs", "gc", "--older-than", "soon"]) == 2
    assert "is not a duration" in capsys.readouterr().err
    assert run_cli(["runs", "gc", "--keep", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
