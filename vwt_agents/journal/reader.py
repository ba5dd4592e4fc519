"""Reading a journal. Owns the read-only connections, one per read, so that a reader never blocks a writer nor waits
for one.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import anyio

from vwt_agents.entries import Entry, EntryKind, RunRecord, Value
from vwt_agents.errors import UsageError
from vwt_agents.journal.measurements import all_measurements
from vwt_agents.journal.rows import micros, moment, unknown_run
from vwt_agents.journal.writer import as_journal_error
from vwt_agents.migrations import MIGRATIONS, migrate, version_of
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from vwt_agents.footprint import Measurement

__all__ = ["JournalReader", "default_path"]

_T = TypeVar("_T")
_RUNS: Final = """
    SELECT r.id, r.pipeline, r.file, r.started_at, r.ended_at, r.status, r.promoted, r.tier, i.packed, i.data,
           r.settings, r.out_dir, r.exit_code, s.packed, s.data, q.id, r.parent_seq, r.pid, r.pid_started, r.boot, r.host
    FROM runs r
    JOIN contents i ON i.n = r.inputs
    LEFT JOIN contents s ON s.n = r.summary
    LEFT JOIN runs q ON q.n = r.parent"""
_ENTRIES: Final = """
    SELECT e.seq, e.kind, e.name, e.key, e.fingerprint, e.status, e.started_at, e.seconds, e.is_text, e.payload,
           p.position, p.is_text, coalesce(p.data, c.data), coalesce(c.packed, 0)
    FROM entries e
    LEFT JOIN parts p ON p.run = e.run AND p.seq = e.seq
    LEFT JOIN contents c ON c.n = p.content
    WHERE e.run = (SELECT n FROM runs WHERE id = ?)"""
_CACHED: Final = """
    SELECT r.id, e.seq FROM entries e JOIN runs r ON r.n = e.run
    WHERE e.kind = 'stage' AND e.key = ? AND e.key <> '' AND e.status = 'done' AND e.started_at >= ?
    ORDER BY e.started_at DESC LIMIT 1"""


def default_path() -> Path:
    """journal.db in the folder named by VWT_STATE, else in the user's state folder."""
    if folder := os.environ.get("VWT_STATE"):
        return Path(folder).expanduser() / "journal.db"
    from platformdirs import user_state_path

    return user_state_path("vwt-agents") / "journal.db"


class JournalReader:
    """Reads the journal at a path, also while another process writes it; a journal that is not there holds no runs."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = default_path() if path is None else path

    async def list_runs(self, limit: int = 20, *, pipeline: str | None = None) -> tuple[RunRecord, ...]:
        """The last runs, newest first."""
        where, values = ("", ()) if pipeline is None else (" WHERE r.pipeline = ?", (pipeline,))
        return await self._read(
            lambda connection: tuple(
                _record(row)
                for row in connection.execute(f"{_RUNS}{where} ORDER BY r.n DESC LIMIT ?", (*values, limit))
            )
        )

    async def run(self, run: str) -> RunRecord:
        """The run with this id, with the only id that begins so, or the newest for "last"; UsageError names what
        there is.
        """
        return await self._read(lambda connection: _find_run(connection, run))

    async def entries(self, run: str, kind: EntryKind | None = None) -> tuple[Entry, ...]:
        """The entries of a run (named as for `run`) in the order in which they were written."""
        where, values = ("", ()) if kind is None else (" AND e.kind = ?", (kind,))
        return await self._read(lambda connection: _find_entries(connection, run, where, values))

    async def find(self, run: str, kind: EntryKind, fingerprint: str) -> tuple[Entry, ...]:
        """The entries of a run with this fingerprint, oldest first; the same request made twice is there twice."""
        where, values = " AND e.kind = ? AND e.fingerprint = ?", (kind, bytes.fromhex(fingerprint))
        return await self._read(lambda connection: _find_entries(connection, run, where, values))

    async def cached(self, key: str, since: datetime | None = None) -> Entry | None:
        """Of the stages of all runs that ended well under this key, the newest, from `since` on; None where none did."""
        oldest = 0 if since is None else micros(since)
        found = await self._read(lambda connection: connection.execute(_CACHED, (key, oldest)).fetchone())
        if found is None:
            return None
        return next((entry for entry in await self.entries(found[0], "stage") if entry.seq == found[1]), None)

    def touched(self) -> tuple[tuple[int, int], ...]:
        """Another value as soon as somebody has written to the journal, as a rule; reads nothing of it."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        stats = [os.stat(file) for file in files if file.exists()]  # noqa: PTH116 - a stat of each, not an open
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)

    async def measurements(self) -> tuple[Measurement, ...]:
        """What models really took here, under all conditions they were loaded under."""
        return await self._read(all_measurements)

    async def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        return await anyio.to_thread.run_sync(self._read_now, query)

    def _read_now(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            with closing(_connect(self.path)) as connection:
                return query(connection)
        except (OSError, sqlite3.Error) as error:
            raise as_journal_error(self.path, error, "read") from error


def _connect(path: Path) -> sqlite3.Connection:
    """A read-only connection to today's tables; to empty ones in memory where there is no file."""
    if not path.exists():
        connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(connection, path)
        return connection
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5, isolation_level=None)
    try:
        if version_of(connection, path) < len(MIGRATIONS):  # written by an earlier vwt_agents: bring it here first
            with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as writing:
                migrate(writing, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _find_run(connection: sqlite3.Connection, run: str) -> RunRecord:
    if run == "last":
        rows = connection.execute(f"{_RUNS} ORDER BY r.n DESC LIMIT 1").fetchall()
    else:
        rows = (
            connection.execute(f"{_RUNS} WHERE r.id = ?", (run,)).fetchall()
            or connection.execute(
                f"{_RUNS} WHERE substr(r.id, 1, ?) = ? ORDER BY r.n DESC LIMIT 6", (len(run), run)
            ).fetchall()
        )
    if not rows or not run:
        raise unknown_run(connection, run)
    if len(rows) > 1:
        raise UsageError(f"{run!r} begins more than one run", hint=f"such as {', '.join(row[0] for row in rows[:5])}")
    return _record(rows[0])


def _find_entries(connection: sqlite3.Connection, run: str, where: str, values: tuple[Any, ...]) -> tuple[Entry, ...]:
    run_id = _find_run(connection, run).id
    sql = f"{_ENTRIES}{where} ORDER BY e.seq, p.position"
    return tuple(_entries(run_id, connection.execute(sql, (run_id, *values))))


def _record(row: tuple[Any, ...]) -> RunRecord:
    (*head, started_at, ended_at, status, promoted, tier, i_packed, inputs, settings, out_dir) = row[:12]
    (exit_code, s_packed, summary, parent, parent_seq, *mark) = row[12:]
    if status == "running" and ProcessMark(*mark).gone():
        status = "interrupted"
    run_id, pipeline, file = head
    return RunRecord(
        id=run_id,
        pipeline=pipeline,
        file=file,
        started_at=moment(started_at),
        ended_at=None if ended_at is None else moment(ended_at),
        status=status,
        promoted=bool(promoted),
        tier=tier,
        inputs=_text(i_packed, inputs),
        settings=settings,
        out_dir=out_dir,
        exit_code=exit_code,
        summary=None if summary is None else _text(s_packed, summary),
        parent=parent,
        parent_seq=parent_seq,
        pid=mark[0],
    )


def _entries(run: str, rows: sqlite3.Cursor) -> Iterator[Entry]:
    """One entry per number: its rows, one for each part, stand together."""
    for _, group in groupby(rows, key=lambda row: row[0]):
        parts = list(group)
        seq, kind, name, key, mark, status, started_at, seconds, is_text, data = parts[0][:10]
        values = {
            position: _value(part_is_text, packed, part)
            for *_, position, part_is_text, part, packed in parts
            if position is not None
        }
        payload = values.pop(0, None) if is_text is None else _value(is_text, 0, data)
        yield Entry(
            run=run,
            kind=kind,
            name=name,
            key=key,
            fingerprint="" if mark is None else mark.hex(),
            status=status,
            started_at=moment(started_at),
            seconds=seconds,
            payload=payload,
            texts=tuple(values.values()),
            seq=seq,
        )


def _value(is_text: int, packed: int, data: bytes) -> Value:
    return _text(packed, data) if is_text else zlib.decompress(data) if packed else data


def _text(packed: int, data: bytes) -> str:
    return (zlib.decompress(data) if packed else data).decode("utf-8", "surrogatepass")
