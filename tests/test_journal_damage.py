"""Promises of `runs check` and `runs repair`: damage anywhere is found, what is whole is saved, nothing is thrown away."""

from __future__ import annotations

import gzip
import math
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vwt_agents.cli import run_cli
from vwt_agents.entries import Entry, RunRecord, fingerprint
from vwt_agents.errors import JournalError
from vwt_agents.journal import Journal, JournalReader, rows
from vwt_agents.journal.checking import check
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.pages import Pages, read_log
from vwt_agents.journal.repair import Repaired, repair
from vwt_agents.journal.salvage import LOST
from vwt_agents.journal.soundness import EntryFields
from vwt_agents.journal.sums import entry_sum, is_sum_of
from vwt_agents.migrations import MIGRATIONS, migrate

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime(2026, 11, 25, 17, 45, tzinfo=UTC)
RUNS = 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


async def filled(path: Path, runs: int = RUNS) -> None:
    """Runs with entries of all sizes, some values shared, some in files."""
    random_ = random.Random(7)
    async with Journal.open(path) as journal:
        for number in range(runs):
            run = await journal.new_run("p", run_id=f"20261125-{number:06}-p-0000", inputs=f'{{"values":{number % 5}}}')
            for step in range(8):
                size = (30, 700, 3000, 20_000)[step % 4]
                noise = random_.randbytes(size // 2).hex()
                texts = ("system " * 300, noise[:400], noise) if step % 2 else ()
                await journal.append(
                    Entry(run, "stage", f"s{step}", fingerprint=fingerprint(step), payload=noise, texts=texts)
                )
            await journal.append(Entry(run, "event", "big", payload=random_.randbytes(90_000)))
            await journal.finish_run(run, "good", exit_code=0, summary=f'{{"n":{number}}}')


async def told(path: Path) -> dict[str, tuple[RunRecord, tuple[Entry, ...]]]:
    reader = JournalReader(path)
    lines = await reader.list_runs(1000)
    return {line.id: (await reader.run(line.id), await reader.entries(line.id)) for line in lines}


def kept(done: Repaired, more: str = "") -> bytes:
    return Path(f"{done.kept_as}{more}").read_bytes()


async def test_a_whole_journal_is_sound_and_is_not_touched_by_a_repair(path):
    await filled(path, 3)
    before = path.read_bytes()
    report = check(path)
    assert (report.sound, report.runs, report.entries, report.unused) == (True, 3, 27, 0)
    assert repair(path, NOW).kept_as is None
    assert path.read_bytes() == before


@pytest.mark.parametrize(("turns", "runs"), [(8, 6), pytest.param(400, RUNS, marks=pytest.mark.slow)])
async def test_wherever_bytes_are_changed_it_is_found_and_told_or_shows_in_nothing(path, tmp_path, turns, runs):
    await filled(path, runs)
    whole = await told(path)
    random_ = random.Random(11)
    told_of = 0
    for turn in range(turns):
        there = tmp_path / f"turn{turn}" / "journal.db"
        shutil.copytree(path.parent, there.parent)
        with there.open("rb+") as file:
            for _ in range(random_.choice((1, 1, 8))):
                file.seek(random_.randrange(100, path.stat().st_size))
                file.write(random_.randbytes(random_.choice((1, 16, 300))))
        damaged = there.read_bytes()
        if check(there).sound:
            assert await told(there) == whole
        else:
            done = repair(there, NOW)
            assert kept(done) == damaged
            assert check(there).sound
            told_of += _only_what_was_told_is_lost(whole, await told(there), done)
        shutil.rmtree(there.parent)
    assert told_of >= turns // 4


def _only_what_was_told_is_lost(whole: dict[str, Any], saved: dict[str, Any], done: Repaired) -> bool:
    of_run = {run: [one.what for one in done.lost if one.where == f"run {run}"] for run in whole}
    for run, (record, entries) in saved.items():
        assert (record.summary is None) == ("its summary" in of_run[run])
        assert replace(record, summary=whole[run][0].summary) == whole[run][0]
        there = {entry.seq: entry for entry in entries if entry.name != LOST}
        assert there.items() <= {entry.seq: entry for entry in whole[run][1]}.items()
        gone = [str(entry.seq) for entry in whole[run][1] if entry.seq not in there]
        assert [f"entries {', '.join(gone)}"] * bool(gone) == [what for what in of_run[run] if what != "its summary"]
    nameless = [one for one in done.lost if one.where.startswith("run number")]
    missing = [run for run in whole if run not in saved and not any("whole run" in what for what in of_run[run])]
    assert len(missing) == len(nameless)
    return bool(done.lost)


async def test_runs_on_undamaged_pages_are_all_saved_when_the_root_of_every_tree_is_gone(path):
    await filled(path)
    whole = await told(path)
    with closing(sqlite3.connect(path)) as connection:
        roots = [root for (root,) in connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'")]
    with path.open("rb+") as file:
        for root in roots:
            file.seek((root - 1) * 4096)
            file.write(b"\xff" * 4096)
    with pytest.raises(JournalError, match="malformed|damaged") as caught:
        await JournalReader(path).entries("last")
    assert "runs repair" in str(caught.value)
    assert repair(path, NOW).lost == []
    assert await told(path) == whole


@pytest.mark.parametrize("left", [0.9, 0.5, 0.1])
async def test_of_a_file_that_was_cut_off_the_beginning_is_saved(path, left):
    await filled(path)
    whole = await told(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * left)])
    assert not check(path).sound
    done = repair(path, NOW)
    saved = await told(path)
    lost = {one.where for one in done.lost if one.what == "its summary"}
    for run, (record, entries) in saved.items():
        assert (record.summary is None) == (f"run {run}" in lost)
        assert replace(record, summary=whole[run][0].summary) == whole[run][0]
        assert {entry for entry in entries if entry.name != LOST} <= set(whole[run][1])
    assert len(saved) >= RUNS * (left - 0.4)


async def test_a_damaged_header_hides_nothing(path):
    await filled(path, 4)
    whole = await told(path)
    with path.open("rb+") as file:
        file.write(bytes(40))
    assert not check(path).sound
    repair(path, NOW)
    assert await told(path) == whole


async def test_a_value_that_has_gone_takes_only_its_entry_with_it(path):
    await filled(path, 3)
    whole = await told(path)
    files = ContentFiles(path)
    (_, gone), (_, changed), (_, kept) = sorted(files.all())
    gone.unlink()
    changed.write_bytes(b"x" + changed.read_bytes()[1:])
    assert {one.where.partition(" ")[0] for one in check(path).damage} == {"value", "entry"}
    done = repair(path, NOW)
    assert (done.runs, done.entries) == (3, 25)
    assert sum(len(entries) for _, entries in whole.values()) == 27
    assert [file for _, file in files.all()] == [kept]
    assert (ContentFiles(Path(done.kept_as or "")).folder / changed.parent.name / changed.name).exists()


async def test_a_letter_changed_in_a_short_answer_is_found_and_never_read(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(Entry(run, "call", "draft", texts=("the question", "the answer is 42")))
        await journal.append(Entry(run, "call", "draft", texts=("the question", "another")))
    path.write_bytes(path.read_bytes().replace(b"answer is 42", b"answer is 43"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with pytest.raises(JournalError, match="entry 1 of run"):
        await JournalReader(path).entries(run)
    assert [one.where for one in check(path).damage] == [f"entry 1 of run {run}"]
    done = repair(path, NOW)
    assert [(one.where, one.what) for one in done.lost] == [(f"run {run}", "entries 1")]
    assert [(entry.name, entry.status) for entry in await JournalReader(path).entries(run)] == [
        (LOST, "lost"),
        ("draft", "done"),
    ]
    async with Journal.open(path) as journal:
        assert await journal.append(Entry(run, "event", "goes on")) == 3


def test_an_entry_has_the_sum_it_always_had():
    brief = ("stage", "s5", "", b"\xab" * 32, "done", 1_790_000_000_000_000, 4.1234567891e-05, 1, b"1", None)
    odd = ("call", "caf\xe9 \U0001f600 it's", "k\ud800", None, "failed", -5, None, None, None, b"t1:x-")
    longs = [b"\x00" * 32, b"d" * 32]
    assert entry_sum(1 << 32 | 5, brief, []) == 5589794559  # as written by versions before this test
    assert entry_sum(7 << 32 | 1, odd, longs) == 5764084341
    assert is_sum_of(3550034131, 1 << 32 | 5, brief, [])  # and up to version 5 of the tables
    assert is_sum_of(725485025, 7 << 32 | 1, odd, longs)


WORDS = st.text(st.characters(codec=None), max_size=6)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
BYTES = st.none() | st.binary(max_size=6)
COLUMNS = st.tuples(
    *(WORDS, WORDS, WORDS, BYTES, WORDS, NUMBERS, st.none() | st.floats(allow_nan=False)),
    *(st.sampled_from((None, 0, 1)), BYTES, BYTES),
)
STRAYS = st.none() | NUMBERS | st.floats(allow_nan=False) | WORDS | BYTES
BRIEF = ("stage", "s", "", None, "done", 5, 0.1, None, None, None)


@example(number=1, columns=BRIEF, column=6, stray=math.nextafter(0.1, 1), worded=False)
@example(number=1, columns=BRIEF, column=3, stray=b"", worded=False)
@example(number=1, columns=BRIEF, column=8, stray=b"", worded=False)
@given(number=NUMBERS, columns=COLUMNS, column=st.integers(0, 9), stray=STRAYS, worded=st.booleans())
def test_whatever_a_column_has_become_its_entry_is_what_was_written_only_if_nothing_changed(
    number, columns, column, stray, worded
):
    total = worded_sum(number, columns) if worded else entry_sum(number, columns, ())
    assert is_sum_of(total, number, columns, ())
    changed = (*columns[:column], stray, *columns[column + 1 :])
    same = packed(columns[column]) == packed(stray)
    if column == 6 and not worded and isinstance(stray, int):
        same = packed(columns[column]) == packed(float(stray))  # as SQLite keeps a whole number of seconds
    if column > 7 and worded:
        same = (columns[column] or b"") == (stray or b"")
    assert is_sum_of(total, number, changed, ()) == same


@given(columns=COLUMNS, column=st.sampled_from((0, 1, 2, 8)), at=st.integers(0, 6))
def test_text_that_has_moved_to_the_next_column_is_found(columns, column, at):
    here, there = columns[column], columns[column + 1]
    if here is None or there is None or not here[at:] or not isinstance(there, type(here)):
        return
    moved = (*columns[:column], here[:at], here[at:] + there, *columns[column + 2 :])
    assert not is_sum_of(entry_sum(1, columns, ()), 1, moved, ())


def worded_sum(number: int, columns: tuple[Any, ...], digests: Iterable[bytes] = ()) -> int:
    """As up to version 5 of the tables."""
    kind, name, key, mark, status, started, seconds, flag, payload, texts = columns
    head = f"{number}[{kind!r}, {name!r}, {key!r}, {mark!r}, {status!r}, {started!r}, {seconds!r}, {flag!r}]"
    total = zlib.crc32(head.encode("ascii", "backslashreplace"))
    total = zlib.crc32(b"%b/%b" % (payload or b"", texts or b""), total)
    for digest in digests:
        total = zlib.crc32(digest, total)
    return total


def packed(value: Any) -> Any:
    """A value by which two that SQLite tells apart differ."""
    return (
        (type(value).__name__, struct.pack("<d", value)) if isinstance(value, float) else (type(value).__name__, value)
    )


@pytest.mark.parametrize("stray", ["7", "1.5", "'x'", "x'ff'", "CAST(x'ff80' AS TEXT)"])
async def test_whatever_kind_of_value_a_column_has_become_it_is_told_as_damage(path, tmp_path, stray):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        entry = Entry(run, "stage", "s", "k", fingerprint("s"), "done", NOW, 0.5, "1", ("the question", "the answer"))
        await journal.append(entry)
    for column in EntryFields._fields[1:]:
        copy = tmp_path / column / "journal.db"
        shutil.copytree(path.parent, copy.parent)
        unchecked(copy, f"UPDATE entries SET {column} = {stray}")
        assert not check(copy).sound
        with pytest.raises(JournalError, match=f"entry 1 of run {run} is not|Could not decode"):
            await JournalReader(copy).entries(run)


def unchecked(path: Path, statement: str) -> None:
    """What SQLite would not do to a table whose columns have types, but damage does."""

    def change(*statements: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            for one in statements:
                connection.execute(one)

    change("UPDATE sqlite_schema SET sql = rtrim(sql, 'STRIC') WHERE name = 'entries'")
    change(statement, "UPDATE sqlite_schema SET sql = sql || 'STRICT' WHERE name = 'entries'")


@pytest.mark.parametrize("seconds", [-0.0, 0, 3, 2**60 + 1, math.inf, 1e-320])
async def test_an_entry_stands_up_to_its_sum_however_its_seconds_were_given(path, seconds):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(Entry(run, "stage", "s", seconds=seconds))
        (entry,) = await journal.entries(run)
    assert (entry.seconds, check(path).sound) == (float(seconds), True)


async def test_a_version_that_would_take_the_sums_for_damage_refuses_the_journal(path):
    await filled(path, 1)
    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(JournalError, match="has version 6, this vwt_agents reads up to version 5"),
    ):
        migrate(connection, path, steps=MIGRATIONS[:5])


async def test_a_journal_of_version_5_is_checked_by_its_own_sums_and_gone_on_with(path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(rows, "entry_sum", worded_sum)
        await filled(path, 3)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 5")
    before = await told(path)
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(Entry(run, "call", "draft", texts=("the question", "the answer is 42")))
    report = check(path)
    assert (report.sound, report.entries) == (True, 28)
    data = path.read_bytes()
    for text, where in (
        (b"the answer is 42", f"entry 1 of run {run}"),
        (b'{"values":0}', "run 20261125-000000-p-0000"),
    ):
        path.write_bytes(data.replace(text, text.swapcase()))
        assert where in {one.where for one in check(path).damage}
    path.write_bytes(data)
    assert {name: whole for name, whole in (await told(path)).items() if name != run} == before


async def test_a_frame_damaged_in_the_midst_of_the_log_is_found_and_those_after_it_are_saved(path, tmp_path):
    """SQLite takes such a frame for the end of the log, and would forget what was committed after it without a word."""
    copy = tmp_path / "copy" / "journal.db"
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        for number in range(30):
            await journal.append(Entry(run, "stage", "s", payload=f"value {number} " * 20), at_once=True)
        shutil.copytree(path.parent, copy.parent)
        whole = await journal.entries(run)
    log = copy.with_name("journal.db-wal")
    data = bytearray(log.read_bytes())
    frames = (len(data) - 32) // 4120
    data[32 + (frames * 3 // 4) * 4120 + 3000] ^= 0xFF
    log.write_bytes(data)
    copy.with_name("journal.db-shm").unlink()
    assert len(await JournalReader(copy).entries("last")) < 30
    assert [one.where for one in check(copy).damage] == ["log"]
    done = repair(copy, NOW)
    assert kept(done, "-wal") == bytes(data)
    assert await JournalReader(copy).entries("last") == whole


async def test_the_log_of_a_killed_process_is_no_damage_and_is_part_of_what_is_saved(path, tmp_path):
    copy = tmp_path / "copy" / "journal.db"
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(Entry(run, "stage", "s", payload="1"))
        shutil.copytree(path.parent, copy.parent)
    assert check(copy).sound
    log = copy.with_name("journal.db-wal")
    for cut in (1, 100, 4000):
        log.write_bytes(log.read_bytes()[:-cut])
        assert check(copy).sound
    assert read_log(b"no log at all" * 100).pages == {}


def test_a_journal_that_a_process_has_open_is_not_repaired(path, tmp_path):
    holder = """
import sys, anyio
from pathlib import Path
from vwt_agents.entries import Entry
from vwt_agents.journal import Journal
async def main():
    async with Journal.open(Path(sys.argv[1])) as journal:
        run = await journal.new_run("p")
        await journal.append(Entry(run, "call", "draft", texts=("the answer is 42",)))
        print(run, flush=True)
        sys.stdin.read()
anyio.run(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        log = path.with_name("journal.db-wal")
        with log.open("rb+") as file:
            file.seek(32 + 24 + 3000)
            file.write(b"damage")
        data = log.read_bytes()
        assert not check(path).sound
        with pytest.raises(JournalError, match=f"process {process.pid} has it open"):
            repair(path, NOW)
        assert log.read_bytes() == data
        process.stdin.close()


async def test_a_damaged_journal_of_an_earlier_version_is_saved_too(path):
    path.parent.mkdir()
    path.write_bytes(gzip.decompress((Path(__file__).parent / "journal_v3.db.gz").read_bytes()))
    pages = Pages(path.read_bytes(), read_log(b""))
    assert len([record for record in pages.records() if len(record.columns) == 11]) == 6
    data = path.read_bytes()
    path.write_bytes(b"\0" * 16 + data[16:])
    done = repair(path, NOW)
    assert (done.runs, done.entries, done.lost) == (2, 6, [])
    assert [entry.seq for entry in await JournalReader(path).entries("20261120-120000")] == [1, 2, 3, 4, 5]
    (one,) = await JournalReader(path).measurements()
    assert one.mib == 6300


def test_what_is_no_journal_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("my notes " * 2000)
    with pytest.raises(JournalError, match="nothing of a journal"):
        repair(path, NOW)
    assert path.read_text() == "my notes " * 2000
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


async def test_the_commands_say_what_is_wrong_and_what_was_lost(path, capsys, monkeypatch):
    monkeypatch.setenv("VWT_STATE", str(path.parent))
    await filled(path, 2)

    def command(*argv: str) -> tuple[int, str]:
        code = run_cli(["runs", *argv])
        return code, capsys.readouterr().out

    path.write_bytes(path.read_bytes().replace(b"stages6", b"stages9"))  # kind and name; a time or a sum may be "s6"

    def damaged() -> None:
        code, out = command("check")
        assert code == 1
        assert "DAMAGED" in out
        assert "entry 7 of run 20261125-000001-p-0000" in out
        assert "runs repair" in out

    await anyio.to_thread.run_sync(damaged)
    code, out = await anyio.to_thread.run_sync(command, "repair")
    assert code == 1
    assert "lost: run 20261125-000000-p-0000: entries 7" in out
    assert "journal.db.damaged-" in out
    assert (await anyio.to_thread.run_sync(command, "check"))[0] == 0
    assert (await anyio.to_thread.run_sync(command, "repair"))[1].endswith("sound, nothing to repair\n")
