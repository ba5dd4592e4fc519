"""Pruning: runs that nobody wants any more, with their entries, the values only they had, and the space they took.

Safe beside readers and writers: every step is a short transaction that looks again at what it is about to delete. A run
that is running stays, and so does one whose entries a fork that stays counts as its own. What a run delivered is not the
journal's and is never touched.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vwt_agents.journal.connecting import open_to_read, wal_of
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.rows import micros
from vwt_agents.journal.writer import as_journal_error
from vwt_agents.migrations import migrate
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

__all__ = ["Pruned", "journal_bytes", "prune"]

_T = TypeVar("_T")
_CHUNK: Final = 200  # rows or files in a transaction; a writer that waits is not kept for long
_PAGES: Final = 256  # that a transaction gives back
_UNUSED: Final = """
    NOT EXISTS (SELECT 1 FROM parts p WHERE p.content = c.n AND p.entry >> 32 NOT IN (SELECT n FROM temp.doomed))
    AND c.n NOT IN (SELECT inputs FROM runs WHERE n NOT IN (SELECT n FROM temp.doomed))
    AND c.n NOT IN (SELECT summary FROM runs WHERE summary IS NOT NULL AND n NOT IN (SELECT n FROM temp.doomed))"""


@dataclass(slots=True)
class Pruned:
    """What was pruned, or would be: runs, newest first, and how many entries, values and files went with them.

    `kept` says of runs that were old enough why they stay; `note` why space was not given back.
    """

    dry_run: bool
    runs: list[str] = field(default_factory=list)
    entries: int = 0
    contents: int = 0
    files: int = 0
    freed_bytes: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    note: str | None = None


def prune(path: Path, *, keep: int | None, before: datetime | None, dry_run: bool = False) -> Pruned:
    """Prune runs that are not among the newest `keep` and ended before `before`; none where neither is given.

    What no run refers to goes in any case. A dry run only counts; its `freed_bytes` are those of values. JournalError where
    the journal cannot be written.
    """
    pruned = Pruned(dry_run)
    if not path.exists():
        return pruned
    try:
        if dry_run:
            with open_to_read(path) as connection:
                _counted(connection, _doomed(connection, keep, before, pruned), pruned)
        else:
            with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
                migrate(connection, path)
                _pruned(connection, path, _doomed(connection, keep, before, pruned), pruned)
    except (OSError, sqlite3.Error) as error:
        raise as_journal_error(path, error, "pruned") from error
    return pruned


def journal_bytes(path: Path) -> int:
    """What a journal takes on the disk: file, log and values."""
    files = [path, wal_of(path), *(file for _, file in ContentFiles(path).all())]
    return sum(file.stat().st_size for file in files if file.exists())


def _doomed(connection: sqlite3.Connection, keep: int | None, before: datetime | None, pruned: Pruned) -> list[int]:
    """The numbers of the runs to prune, newest first, so that a fork goes before what it was forked from."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP TABLE doomed (n INTEGER PRIMARY KEY)")
    if keep is None and before is None:
        return []
    rows = connection.execute(
        """SELECT n, id, parent, coalesce(ended_at, started_at), status, pid, pid_started, boot, host
           FROM runs ORDER BY n DESC"""
    ).fetchall()
    until = None if before is None else micros(before)
    old = {row[0] for row in rows[keep or 0 :] if until is None or row[3] < until}
    names, parents = {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}
    for number, run_id, _, _, *owner in rows:
        if number in old and _runs(*owner):
            old.discard(number)
            pruned.kept[run_id] = "it is running"
        if number not in old:
            while (parent := parents.get(number)) is not None:
                if parent in old:
                    old.discard(parent)
                    pruned.kept[names[parent]] = f"{names[number]} was forked from it"
                number = parent  # noqa: PLW2901 - up the line of its parents
    doomed = [row[0] for row in rows if row[0] in old]
    connection.executemany("INSERT INTO temp.doomed VALUES (?)", [(number,) for number in doomed])
    return doomed


def _runs(status: str, *mark: Any) -> bool:
    return status == "running" and not ProcessMark(*mark).gone()


def _counted(connection: sqlite3.Connection, doomed: list[int], pruned: Pruned) -> None:
    for number in doomed:
        (run_id,) = connection.execute("SELECT id FROM runs WHERE n = ?", (number,)).fetchone()
        (entries,) = connection.execute(
            "SELECT count(*) FROM entries WHERE id BETWEEN ? AND ?", _ids(number)
        ).fetchone()
        pruned.runs.append(run_id)
        pruned.entries += entries
    pruned.contents, pruned.files, pruned.freed_bytes = connection.execute(
        f"SELECT count(*), coalesce(sum(file), 0), coalesce(sum(length(data)), 0) FROM contents c WHERE {_UNUSED}"  # noqa: S608 - our own text
    ).fetchone()


def _pruned(connection: sqlite3.Connection, path: Path, doomed: list[int], pruned: Pruned) -> None:
    size = journal_bytes(path)
    for chunk in _chunks(doomed):
        _drop_runs(connection, chunk, pruned)
    connection.execute("DELETE FROM temp.doomed")  # from here on, what is there counts
    unused = [n for (n,) in connection.execute(f"SELECT c.n FROM contents c WHERE {_UNUSED}")]  # noqa: S608 - our own text
    for some in _chunks(unused):
        with _writing(connection):
            marks = ", ".join("?" * len(some))
            pruned.contents += connection.execute(
                f"DELETE FROM contents AS c WHERE c.n IN ({marks}) AND {_UNUSED}",  # noqa: S608 - our own text
                some,
            ).rowcount
    _drop_files(connection, ContentFiles(path), pruned)
    pruned.note = _give_back(connection)
    pruned.freed_bytes = max(0, size - journal_bytes(path))


def _drop_runs(connection: sqlite3.Connection, numbers: Sequence[int], pruned: Pruned) -> None:
    """Unless they have been resumed or forked since they were looked at."""
    with _writing(connection):
        parents = {row[0]: row[1] for row in connection.execute("SELECT n, parent FROM runs WHERE parent IS NOT NULL")}
        for number in numbers:
            row = connection.execute(
                "SELECT id, status, pid, pid_started, boot, host FROM runs WHERE n = ?", (number,)
            ).fetchone()
            if row is None or _runs(*row[1:]) or number in parents.values():
                continue
            ids = _ids(number)
            connection.execute("DELETE FROM parts WHERE entry BETWEEN ? AND ?", ids)
            pruned.entries += connection.execute("DELETE FROM entries WHERE id BETWEEN ? AND ?", ids).rowcount
            connection.execute("DELETE FROM runs WHERE n = ?", (number,))
            pruned.runs.append(row[0])
            parents.pop(number, None)


def _drop_files(connection: sqlite3.Connection, files: ContentFiles, pruned: Pruned) -> None:
    """The files no row counts on. Who writes one holds the write lock, so none that is here meanwhile is about to count."""
    known = {digest for (digest,) in connection.execute("SELECT digest FROM contents WHERE file")}
    unknown = [(digest, path) for digest, path in files.all() if digest not in known]
    for chunk in _chunks(unknown):
        with _writing(connection):
            for digest, path in chunk:
                if (
                    digest is None
                    or not connection.execute("SELECT 1 FROM contents WHERE digest = ? AND file", (digest,)).fetchone()
                ):
                    path.unlink(missing_ok=True)
                    pruned.files += 1


def _give_back(connection: sqlite3.Connection) -> str | None:
    """Shrink the file to what is in it, in short steps; why it was not, if so."""
    (vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    try:
        if vacuum != 2:  # made by an earlier version: it takes one that blocks who writes, and from then on it does not
            living = connection.execute(
                "SELECT status, pid, pid_started, boot, host FROM runs WHERE status = 'running'"
            ).fetchall()
            if any(_runs(*row) for row in living):
                return "the freed space stays in the file, for what comes: a run is running"
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
        while connection.execute("PRAGMA freelist_count").fetchone()[0]:
            connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return "not all of the freed space was given back: another process uses the journal"
    return None


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _ids(number: int) -> tuple[int, int]:
    return number << 32, (number + 1 << 32) - 1


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
