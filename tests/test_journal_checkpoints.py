"""The journal's log is moved into its database beside commits, and does not grow without end."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from vwt_agents.entries import Entry
from vwt_agents.journal import Journal
from vwt_agents.journal.checkpoints import LOG_SIZE, Checkpointer
from vwt_agents.journal.connecting import wal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (x BLOB)")
        yield connection


def rows_of_the_database_alone(path: Path) -> int:
    copy = path.with_name("alone.db")
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])


def test_a_checkpoint_waits_for_nobody_who_commits(path: Path, writing: sqlite3.Connection) -> None:
    writing.execute("INSERT INTO t VALUES (1)")
    committing = threading.Lock()
    checkpointer = Checkpointer(path, committing)
    with committing:
        checkpointer.checkpoint()
    checkpointer.close()
    assert rows_of_the_database_alone(path) == 1


def test_a_log_that_grows_while_it_is_moved_begins_anew_once_it_is_long(
    path: Path, writing: sqlite3.Connection
) -> None:
    class Committing:
        """Somebody has committed just before nobody may."""

        taken = 0

        def __enter__(self) -> None:
            self.taken += 1

        def __exit__(self, *exc: object) -> None:
            pass

    alone = Committing()
    checkpointer = Checkpointer(path, alone)
    writing.execute("INSERT INTO t VALUES (zeroblob(?))", (LOG_SIZE // 2,))
    checkpointer.checkpoint()
    assert not alone.taken
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()  # it must not see what comes now, so that stays in the log
        writing.execute("INSERT INTO t VALUES (zeroblob(?))", (LOG_SIZE,))
        checkpointer.checkpoint()
        assert alone.taken == 1
        reader.execute("COMMIT")
    grown = wal_of(path).stat().st_size
    checkpointer.checkpoint()
    assert alone.taken == 2
    writing.execute("INSERT INTO t VALUES (1)")
    checkpointer.checkpoint()
    checkpointer.close()
    assert alone.taken == 2
    assert wal_of(path).stat().st_size <= grown
    assert rows_of_the_database_alone(path) == 3


async def test_entries_are_committed_where_they_are_made_while_a_checkpoint_waits_for_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_self: Checkpointer) -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    monkeypatch.setattr(Checkpointer, "checkpoint", slow)
    async with Journal.open(path) as journal:
        run = await journal.new_run("p")
        try:
            for _ in range(300):
                await journal.append(Entry(run, "stage", "one", payload="1"), at_once=True)
            assert begun.wait(10)
            assert len(await journal.entries(run)) == 300
            assert not ended.is_set()
        finally:
            go_on.set()
