"""Promises of the journal: what was acknowledged is there, whatever happened since."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.entries import Entry, call_entry, fingerprint, read_call, request_fingerprint
from vwt_agents.errors import JournalError, UsageError
from vwt_agents.footprint import Conditions, Measurement
from vwt_agents.journal import Journal, JournalReader, default_path, new_run_id
from vwt_agents.messages import Message, Options, Request, Response, Usage
from vwt_agents.migrations import APPLICATION_ID, MIGRATIONS, migrate
from vwt_agents.processes import ProcessMark

REQUEST = Request(
    endpoint="small",
    model="qwen2.5-coder:7b-q4_0",
    messages=(Message("system", "Be brief. " * 200), Message("user", "Write add(a, b).")),
    num_ctx=4096,
    options=Options(temperature=0.2, seed=7, stop=("END",)),
    format={"type": "object", "properties": {"code": {"type": "string"}}},
    timeout=30.0,
    labels={"agent": "coder"},
)
RESPONSE = Response("def add(a, b): ...", REQUEST.model, "small", usage=Usage(prompt_tokens=12, output_tokens=8))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def stage(run: str, value: str = "1", **changes) -> Entry:
    return Entry(run, "stage", "draft", fingerprint=fingerprint(value), seconds=1.5, payload=value)._replace(**changes)


def query(path: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def test_a_run_is_read_as_it_was_written(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run(
            "codegen",
            file="p.py",
            inputs='{"task":"add"}',
            settings="d1",
            promoted=True,
            tier="large",
            out_dir="runs/x",
        )
        started = await journal.run(run)
        await journal.finish_run(run, "good", exit_code=0, summary='{"loads":1}')
        ended = await journal.run("last")
    assert (started.status, started.ended_at, started.exit_code, started.summary) == ("running", None, None, None)
    assert (ended.status, ended.exit_code, ended.summary) == ("good", 0, '{"loads":1}')
    assert (ended.pipeline, ended.file, ended.inputs, ended.settings) == ("codegen", "p.py", '{"task":"add"}', "d1")
    assert (ended.promoted, ended.tier, ended.out_dir, ended.pid) == (True, "large", "runs/x", os.getpid())
    assert ended.started_at.tzinfo == UTC
    assert ended.ended_at is not None
    assert ended.started_at <= ended.ended_at


async def test_an_entry_is_read_as_it_was_written(path):
    entry = Entry(
        run="",
        kind="attempt",
        name="proven",
        key="3",
        fingerprint=fingerprint("x"),
        status="failed",
        started_at=datetime(2026, 11, 24, 4, 15, 3, 123457, tzinfo=UTC),
        seconds=0.25,
        payload=b"\x00\xff",
        texts=("short", "ä long one \U0001f600 " * 500, b"bytes" * 1000, "half \ud83d pair " * 100, ""),
    )
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        assert [await journal.append(entry._replace(run=run)) for _ in range(2)] == [1, 2]
        assert await journal.entries(run) == (entry._replace(run=run, seq=1), entry._replace(run=run, seq=2))


async def test_an_entry_without_payload_or_time_gets_the_time_of_the_append(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        before = datetime.now(UTC)
        await journal.append(Entry(run, "event", "model.loaded"))
        (read,) = await journal.entries(run, kind="event")
    assert read.payload is None
    assert read.texts == ()
    assert read.started_at is not None
    assert before <= read.started_at <= datetime.now(UTC)


async def test_the_time_between_the_sessions_of_a_run_is_read_for_each_run_asked_for(path):
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def at(moment, name="plan", kind="event", **more):
        return Entry(run, kind, name, started_at=began + timedelta(seconds=moment), **more)

    async with Journal.open(path) as journal:
        once = run = await journal.new_run("p")
        await journal.append(at(0))
        await journal.append(at(50, "timeline"))
        resumed = run = await journal.new_run("p")
        for entry in (
            at(0),
            at(4, kind="call", seconds=6.0),
            at(100),
            at(102, "timeline"),
            at(200),
            at(201, "timeline"),
        ):
            await journal.append(entry)
        unbegun = await journal.new_run("p")
    away = await JournalReader(path).away([once, resumed, unbegun])
    assert away == {once: 0.0, resumed: 90.0 + 98.0, unbegun: 0.0}
    assert await JournalReader(path).away([]) == {}


async def test_a_time_without_a_zone_is_refused_before_anything_is_written(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        with pytest.raises(ValueError, match="no time zone"):
            await journal.append(Entry(run, "event", "e", started_at=datetime(2026, 1, 1)))  # noqa: DTZ001
        assert await journal.entries(run) == ()


async def test_entries_are_found_by_kind_and_by_fingerprint_in_order(path):
    async with Journal.open(path) as journal:
        run, other = await journal.new_run("p"), await journal.new_run("p")
        await journal.append(stage(run, "a"))
        await journal.append(stage(run, "b"))
        await journal.append(stage(run, "a", kind="call"))
        await journal.append(stage(run, "a", key="again"))
        await journal.append(stage(other, "a"))
        assert [entry.seq for entry in await journal.find(run, "stage", fingerprint("a"))] == [1, 4]
        assert await journal.find(run, "stage", fingerprint("c")) == ()
        assert [entry.seq for entry in await journal.entries(run, kind="call")] == [3]


async def test_a_call_comes_back_as_the_same_request_and_a_replayed_response(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(call_entry(run, REQUEST, RESPONSE, name="draft"))
        await journal.append(call_entry(run, REQUEST, "the server went away", name="draft"))
        good, failed = await journal.find(run, "call", request_fingerprint(REQUEST))
    assert read_call(good) == (REQUEST, replace(RESPONSE, replayed=True))
    assert (failed.status, read_call(failed)) == ("failed", (REQUEST, "the server went away"))


async def test_a_long_text_is_stored_once_and_packed_where_that_pays(path):
    prompt, noise = "You are a careful programmer. " * 400, os.urandom(4000)
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        for number in range(5):
            await journal.append(stage(run, str(number), texts=(prompt, noise)))
    stored = query(path, "SELECT size, packed, length(data) FROM contents WHERE size > 1024")
    assert [(size, packed) for size, packed, _ in stored] == [(12000, 1), (4000, 0)]
    assert stored[0][2] < 600


async def test_the_last_runs_come_first_and_can_be_asked_by_pipeline(path):
    async with Journal.open(path) as journal:
        ids = [await journal.new_run(name) for name in ("a", "b", "a", "a")]
        assert [run.id for run in await journal.list_runs(2)] == [ids[3], ids[2]]
        assert [run.id for run in await journal.list_runs(pipeline="a")] == [ids[3], ids[2], ids[0]]


async def test_a_run_is_named_by_any_beginning_that_only_it_has(path):
    async with Journal.open(path) as journal:
        for run in ("20260101-000000-a-0001", "20260101-000001-b-0002", "20260102-000001-c_d-0002"):
            await journal.new_run("p", run_id=run)
        assert (await journal.run("20260102")).pipeline == "p"
        assert (await journal.run("20260101-000000-a-0001")).id.endswith("a-0001")
        with pytest.raises(UsageError, match="begins more than one run") as caught:
            await journal.run("20260101-00")
        assert "20260101-000001-b-0002" in str(caught.value)


@pytest.mark.parametrize("ask", ["2026%", "", "nothing"])
async def test_an_unknown_run_is_a_usage_error_that_names_what_there_is(path, ask):
    async with Journal.open(path) as journal:
        with pytest.raises(UsageError, match="holds none yet"):
            await journal.run("last")
        await journal.new_run("p", run_id="20260101-000000-p-0001")
        with pytest.raises(UsageError, match="20260101-000000-p-0001"):
            await journal.run(ask)
        with pytest.raises(UsageError, match="did you mean '20260101-000000-p-0001'"):
            await journal.append(stage("20260101-000000-p-0002"))
        with pytest.raises(UsageError, match="already"):
            await journal.new_run("p", run_id="20260101-000000-p-0001")


def test_run_ids_sort_by_time_and_say_what_ran():
    run = new_run_id("Code Gen/2", datetime(2026, 11, 24, 4, 15, 3, tzinfo=UTC))
    assert run[:-4] == "20261124-041503-code-gen-2-"
    assert int(run[-4:], 16) >= 0


async def test_appends_that_wait_share_a_transaction_and_each_gets_its_own_number(path):
    numbers: list[int] = []
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        before = journal.transactions

        async def work() -> None:
            numbers.extend([await journal.append(stage(run)) for _ in range(10)])

        async with anyio.create_task_group() as tasks:
            for _ in range(32):
                tasks.start_soon(work)
        used = journal.transactions - before
        assert len(await journal.entries(run)) == 320
    assert sorted(numbers) == list(range(1, 321))
    assert used < 320 / 4


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
async def test_an_entry_is_there_for_other_processes_when_append_returns(path, at_once, full):
    async with Journal.open(path, full=full) as journal:
        run = await journal.new_run("p")
        for number in range(1, 4):
            assert await journal.append(stage(run), at_once=at_once) == number
            assert query(path, "SELECT count(*) FROM entries") == [(number,)]


@pytest.mark.parametrize("at_once", [False, True])
async def test_the_event_loop_goes_on_while_another_process_writes(path, at_once):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(stage(run))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as tasks:

                async def append() -> None:
                    assert await journal.append(stage(run), at_once=at_once) == 2

                tasks.start_soon(append)
                for _ in range(100):
                    await anyio.lowlevel.checkpoint()
                assert len(await journal.entries(run)) == 1
                other.execute("COMMIT")
        assert len(await journal.entries(run)) == 2


async def test_two_journals_that_write_to_one_run_never_give_a_number_twice(path):
    async with Journal.open(path) as one, Journal.open(path) as other:
        run = await one.new_run("p")
        numbers = [
            await journal.append(stage(run), at_once=number % 3 > 0) for number in range(6) for journal in (one, other)
        ]
    assert numbers == list(range(1, 13))


async def test_an_entry_after_one_that_was_rolled_back_leaves_no_gap(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal.append(stage(run))
        async with anyio.create_task_group() as tasks:

            async def refused() -> None:
                with pytest.raises(UsageError):
                    await journal.append(stage("nobody"))

            tasks.start_soon(journal.append, stage(run))
            tasks.start_soon(refused)
        assert await journal.append(stage(run), at_once=True) == 3


async def test_the_log_is_moved_into_the_database_while_the_journal_is_open(path, tmp_path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        for _ in range(600):
            await journal.append(stage(run), at_once=True)
        await journal.finish_run(run, "good", exit_code=0)
        await journal._writer.do(lambda _connection: None)  # the thread has done all that came before, the log included
        alone = tmp_path / "without-its-log.db"
        alone.write_bytes(path.read_bytes())
        # The log is moved every 256 transactions, of which the run is one; the last time may still be under way.
        assert query(alone, "SELECT count(*) FROM entries")[0][0] >= 255


async def test_a_journal_of_the_first_version_is_read_and_gone_on_with(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, path, steps=MIGRATIONS[:1])
        connection.execute("INSERT INTO contents VALUES (1, x'00', 2, 0, x'7b7d')")
        connection.execute(
            """INSERT INTO runs (id, pipeline, file, started_at, status, promoted, tier, inputs, settings, out_dir, pid,
               pid_started, boot, host) VALUES ('old', 'p', '', 0, 'good', 0, 'small', 1, '', '', 1, 1, '', '')"""
        )
        connection.execute("INSERT INTO entries VALUES (1, 1, 'stage', 'draft', '', NULL, 'done', 0, 1.5)")
        connection.execute("INSERT INTO parts VALUES (1, 1, 0, 1, x'226122', NULL), (1, 1, 1, 1, x'62', NULL)")
    async with Journal.open(path) as journal:
        assert await journal.append(stage("old", "2")) == 2
        old, new = await journal.entries("old")
    assert (old.payload, old.texts, new.payload) == ('"a"', ("b",), "2")


async def test_a_job_that_fails_spoils_no_other_of_its_transaction(path):
    outcomes: list[str] = []
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")

        async def work(target: str) -> None:
            try:
                await journal.append(stage(target))
                outcomes.append("written")
            except UsageError:
                outcomes.append("refused")

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(work, run if number % 5 else "nobody")
        assert len(await journal.entries(run)) == 16
    assert (outcomes.count("written"), outcomes.count("refused")) == (16, 4)


async def test_an_appender_that_is_cancelled_leaves_a_whole_entry(path):
    entry = stage("", "x" * 5000, texts=("y" * 5000, "z"))
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.append(entry._replace(run=run))
        assert scope.cancelled_caught
    (read,) = await JournalReader(path).entries(run)
    assert read._replace(started_at=None) == entry._replace(run=run, seq=1)


async def test_closing_writes_what_waits_then_refuses_more(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(journal.append, stage(run))
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert len(await JournalReader(path).entries(run)) == 50
    with pytest.raises(JournalError, match="closed"):
        await journal.append(stage(run))


async def test_a_full_disk_fails_each_append_with_the_path_and_goes_on_when_there_is_room(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        await journal._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
        for _ in range(2):
            with pytest.raises(JournalError, match="database or disk is full") as caught:
                await journal.append(stage(run, "n" * 10, texts=(os.urandom(60_000),)))
            assert str(path) in caught.value.message
            assert "make room" in str(caught.value)
        await journal._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone())
        assert await journal.append(stage(run)) == 1
        assert len(await journal.entries(run)) == 1


async def test_a_writer_that_dies_fails_the_waiting_and_every_later_append(path):
    def kill(connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")
        raise SystemExit("killed")

    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        with anyio.fail_after(20), pytest.raises(JournalError, match="killed"):
            await journal._writer.do(kill)
        with pytest.raises(JournalError, match="killed") as caught:
            await journal.append(stage(run))
        assert str(path) in caught.value.message


async def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "journal.db", Path("/proc/self/journal.db")):
        with pytest.raises(JournalError, match=str(path)) as caught:
            async with Journal.open(path):
                pass
        assert "VWT_STATE" in str(caught.value)


async def test_a_file_that_is_no_journal_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("my notes " * 200)
    with pytest.raises(JournalError, match="not a database"):
        async with Journal.open(path):
            pass
    with pytest.raises(JournalError, match="not a database"):
        await JournalReader(path).list_runs()
    assert path.read_text() == "my notes " * 200
    path.unlink()
    query(path, "PRAGMA application_id = 77")
    with pytest.raises(JournalError, match="is not a journal"):
        await JournalReader(path).list_runs()


async def test_an_empty_file_is_brought_to_the_newest_version(path):
    path.parent.mkdir()
    path.touch()
    assert await JournalReader(path).list_runs() == ()
    async with Journal.open(path) as journal:
        await journal.new_run("p")
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]


async def test_a_step_that_fails_leaves_the_journal_at_the_version_before(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
    steps = (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN note TEXT", "no SQL"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, steps=steps)
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert (await JournalReader(path).run(run)).id == run


def test_steps_that_lack_are_done_in_order_and_only_once(path):
    path.parent.mkdir()
    steps = (("CREATE TABLE a (x)",), ("INSERT INTO a VALUES (1)", "CREATE TABLE b (x)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, path, steps=steps[:1])
        migrate(connection, path, steps=steps)
        migrate(connection, path, steps=steps)
        assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]


async def test_a_journal_of_a_later_version_is_refused_by_writer_and_reader(path):
    async with Journal.open(path):
        pass
    query(path, "PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="version 99"):
        async with Journal.open(path):
            pass
    with pytest.raises(JournalError, match="upgrade"):
        await JournalReader(path).list_runs()


async def test_a_journal_that_is_not_there_holds_no_runs_and_is_not_made_by_reading(path):
    assert await JournalReader(path).list_runs() == ()
    assert not path.parent.exists()


def test_the_journal_is_in_the_folder_named_by_vwt_state(monkeypatch, tmp_path):
    monkeypatch.setenv("VWT_STATE", str(tmp_path))
    assert default_path() == tmp_path / "journal.db"
    monkeypatch.delenv("VWT_STATE")
    assert default_path().parent.name == "vwt-agents"


async def test_only_the_user_can_read_the_journal(path):
    async with Journal.open(path) as journal:
        await journal.new_run("p")
        assert {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {
            "journal.db": 0,
            "journal.db-shm": 0,
            "journal.db-wal": 0,
        }
    assert path.parent.stat().st_mode & 0o077 == 0


WRITER = """
    import sys
    from pathlib import Path
    import anyio
    from vwt_agents.entries import Entry
    from vwt_agents.journal import Journal

    async def main():
        async with Journal.open(Path(sys.argv[1])) as journal:
            run = await journal.new_run("victim")
            print(run, flush=True)
            async def work(name):
                while True:
                    seq = await journal.append(Entry(run, "stage", name, payload=name * 3000))
                    print(seq, flush=True)
            async with anyio.create_task_group() as tasks:
                for name in "abcd":
                    tasks.start_soon(work, name)

    anyio.run(main)
"""


def writing_process(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )


async def test_a_killed_process_loses_no_acknowledged_entry_and_its_run_reads_as_interrupted(path):
    process = writing_process(path)
    assert process.stdout is not None
    with process:
        try:
            run = process.stdout.readline().strip()
            acknowledged = [int(process.stdout.readline()) for _ in range(100)]
            beside = await JournalReader(path).run(run)  # another process is writing all the while
            read_beside = {entry.seq for entry in await JournalReader(path).entries(run)}
        finally:
            process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert beside.status == "running"
    assert read_beside >= set(acknowledged[:100])

    assert (await JournalReader(path).run(run)).status == "interrupted"
    entries = await JournalReader(path).entries(run)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.seq for entry in entries} >= set(acknowledged)
    assert all(entry.payload == entry.name * 3000 for entry in entries)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA foreign_key_check") == []

    async with Journal.open(path) as journal:
        await journal.reopen_run(run)
        assert await journal.append(stage(run)) == len(entries) + 1
        assert (await journal.run(run)).status == "running"


async def test_a_run_that_another_process_still_runs_cannot_be_reopened(path):
    process = writing_process(path)
    assert process.stdout is not None
    with process:
        try:
            run = process.stdout.readline().strip()
            async with Journal.open(path) as journal:
                with pytest.raises(UsageError, match=f"in process {process.pid}"):
                    await journal.reopen_run(run)
        finally:
            process.send_signal(signal.SIGKILL)


async def test_a_fork_names_its_parent(path):
    async with Journal.open(path) as journal:
        parent = await journal.new_run("p")
        fork = await journal.run(await journal.new_run("p", parent=parent, parent_seq=3))
        assert (fork.parent, fork.parent_seq) == (parent, 3)
        with pytest.raises(UsageError, match="no run 'nobody'"):
            await journal.new_run("p", parent="nobody")


def test_a_process_is_gone_after_its_end_its_machine_s_restart_or_a_reuse_of_its_pid():
    here = ProcessMark.here()
    assert not here.gone()
    assert replace(here, started=here.started + 1).gone()
    assert replace(here, boot="before the restart").gone()
    assert not replace(here, host="elsewhere/pid:[1]", boot="theirs").gone()
    assert not replace(here, host=here.host + "inner", pid=2**22 + 1).gone()
    assert replace(here, pid=2**22 + 1).gone()
    assert replace(here, pid=2**22 + 1, started=0).gone()
    assert not replace(here, started=0).gone()


def test_fingerprints_are_equal_for_equal_parts_only():
    assert fingerprint({"a": 1, "b": [2, None]}) == fingerprint({"b": (2, None), "a": 1})
    different = [
        fingerprint(),
        *map(
            fingerprint, [1, "1", b"1", [1], {"1": 1}, {1, 2}, Message("user", "x"), datetime(2026, 1, 1, tzinfo=UTC)]
        ),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint({"b", "a"}) == fingerprint({"a", "b"})
    assert fingerprint("\ud83d") != fingerprint("?")
    with pytest.raises(TypeError, match="object has no fingerprint"):
        fingerprint(object())


def test_a_fingerprint_never_changes_from_one_version_to_the_next():
    assert fingerprint("stage", {"n": 1}) == "6e0face060366e26cef01a89bf82b40ae4145b1d5f2186d4d7fab2f569b51464"
    assert request_fingerprint(REQUEST) == "71bd68612b34d5d73376bba8c82bc5017a642fd567455ce59bbb65bf14181ddc"


@given(
    st.lists(st.text(), max_size=2),
    st.text(max_size=5),
    st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
)
def test_a_request_s_fingerprint_is_that_of_its_parts_as_any_other(texts, name, schema):
    messages = tuple(Message("user", text) for text in texts)
    request = Request(name, f"{name}:7b", messages, 2048, Options(seed=7, stop=(name,)), format=schema)
    parts = {
        "endpoint": name,
        "model": f"{name}:7b",
        "messages": [["user", text] for text in texts],
        "num_ctx": 2048,
        "options": {"seed": 7, "stop": [name]},
        "format": schema,
    }
    assert request_fingerprint(request) == fingerprint("request", parts)


def test_all_that_shapes_the_answer_is_in_a_request_s_fingerprint():
    changes = {
        "endpoint": "large",
        "model": "mistral:latest",
        "messages": (Message("assistant", "Write add(a, b)."),),
        "num_ctx": 8192,
        "options": Options(seed=8),
        "format": None,
    }
    left_out = {
        "timeout": 1.0,
        "deadline": 1.0,
        "priority": "interactive",
        "prefix": "p",
        "together": 2,
        "call": 3,
        "labels": {"agent": "tester"},
    }
    assert {field.name for field in fields(Request)} == changes.keys() | left_out.keys()
    assert len({request_fingerprint(replace(REQUEST, **{name: value})) for name, value in changes.items()}) == 6
    assert {request_fingerprint(replace(REQUEST, **{name: value})) for name, value in left_out.items()} == {
        request_fingerprint(REQUEST)
    }


async def test_a_stage_costs_at_most_400_bytes_beyond_its_value(path):
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        empty = await journal._writer.do(_size)
        for number in range(1000):
            await journal.append(stage(run, json.dumps({"n": number})))
        assert (await journal._writer.do(_size) - empty) / 1000 <= 400


def _size(connection: sqlite3.Connection) -> int:
    (pages,), (free,), (size,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


WHEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONDITIONS = Conditions("d1", 4096, 4, "f16", "ollama 0.33.0", "gpu")


async def test_measurements_are_kept_by_their_conditions_and_forgotten_by_their_weights(path):
    first = Measurement(CONDITIONS, "a:7b", 6300, WHEN)
    spilt = Measurement(CONDITIONS._replace(num_ctx=8192), "a:7b", 9000, WHEN, fitted=5000)
    other = Measurement(CONDITIONS._replace(digest="d2"), "b:7b", 7000, WHEN)
    newer = replace(first, mib=6200, at=WHEN + timedelta(days=1))
    assert await JournalReader(path).measurements() == ()
    async with Journal.open(path) as journal:
        for one in (first, spilt, other):
            assert await journal.remember(one) == one
        assert await journal.remember(newer) == newer
        assert set(await journal.measurements()) == {newer, spilt, other}
        assert await journal.forget("d1") == 2
        assert await journal.measurements() == (other,)


async def test_of_two_measurements_in_host_memory_the_greater_stays(path):
    on_cpu = Measurement(CONDITIONS._replace(device_kind="cpu"), "a:7b", 500, WHEN)
    async with Journal.open(path) as journal:
        await journal.remember(on_cpu)
        assert await journal.remember(replace(on_cpu, mib=490)) == on_cpu
        assert await journal.measurements() == (on_cpu,)
