"""Reading a journal: rows back to runs and entries. A connection per read, so that a reader never blocks a writer nor
waits for one.
"""

from __future__ import annotations

import os
import sqlite3
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from vwt_agents.entries import Entry, EntryKind, RunLine, RunRecord, Value
from vwt_agents.errors import UsageError
from vwt_agents.journal.connecting import damaged, open_to_read
from vwt_agents.journal.contents import ContentFiles, unpacked
from vwt_agents.journal.measurements import all_measurements
from vwt_agents.journal.rows import SEQ, micros, moment, unknown_run
from vwt_agents.journal.sums import is_sum_of, parted
from vwt_agents.journal.writer import as_journal_error
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from vwt_agents.footprint import Measurement
    from vwt_agents.types import Seconds

__all__ = ["JournalReader", "default_path"]

_T = TypeVar("_T")
_LINES: Final = """
    SELECT r.n, r.id, r.pipeline, r.file, r.started_at, r.ended_at, r.status, r.promoted, r.tier, r.settings, r.out_dir,
           r.exit_code, q.id, r.parent_seq, r.pid, r.pid_started, r.boot, r.host
    FROM runs r
    LEFT JOIN runs q ON q.n = r.parent"""
_CONTENT: Final = "SELECT digest, size, packed, data, file FROM contents WHERE n = (SELECT {} FROM runs WHERE n = ?)"
_ROWS: Final = """
    SELECT e.id, e.kind, e.name, e.key, e.fingerprint, e.status, e.started_at, e.seconds, e.is_text, e.payload, e.texts,
           e.sum, p.position, p.is_text, p.data, c.digest, c.size, c.packed, {data}, c.file
    FROM entries e
    LEFT JOIN parts p ON p.entry = e.id
    LEFT JOIN contents c ON c.n = p.content"""
_ENTRIES: Final = _ROWS.format(data="c.data") + " WHERE e.id BETWEEN ? AND ?"
_EACH: Final = (
    _ROWS.format(data="CASE p.position WHEN 0 THEN c.data END") + " WHERE e.kind IN ({}) ORDER BY e.id, p.position"
)
_CACHED: Final = """
    SELECT r.id, e.seq FROM entries e JOIN runs r ON r.n = e.run
    WHERE e.kind = 'stage' AND e.key = ? AND e.key <> '' AND e.status = 'done' AND e.started_at >= ?
    ORDER BY e.started_at DESC LIMIT 1"""


_SESSIONS: Final = """
    SELECT e.started_at - (SELECT b.started_at + CASE b.kind WHEN 'call' THEN 1e6 * coalesce(b.seconds, 0) ELSE 0 END
                           FROM entries b WHERE b.id < e.id ORDER BY b.id DESC LIMIT 1)
    FROM entries e
    WHERE e.id BETWEEN ? AND ? AND e.kind = 'event' AND e.name = 'plan'
    ORDER BY e.id"""


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
        self._files = ContentFiles(self.path)

    async def list_runs(self, limit: int = 20, *, pipeline: str | None = None) -> tuple[RunLine, ...]:
        """The last runs, newest first; nothing they were given or left is read for it."""
        where, values = ("", ()) if pipeline is None else (" WHERE r.pipeline = ?", (pipeline,))
        return await self._read(
            lambda connection: tuple(
                RunLine(**_line(row))
                for row in connection.execute(f"{_LINES}{where} ORDER BY r.n DESC LIMIT ?", (*values, limit))
            )
        )

    async def away(self, runs: Sequence[str]) -> dict[str, Seconds]:
        """Of each of these runs (by their whole ids) the time between its sessions, in which nobody was at work on it."""

        def read(connection: sqlite3.Connection) -> dict[str, Seconds]:
            return {run: _between(connection, _find_run(connection, run)[0]) for run in runs}

        return await self._read(read)

    async def run(self, run: str) -> RunRecord:
        """The run with this id, with the only id that begins so, or the newest for "last"; UsageError names what
        there is.
        """
        return await self._read(lambda connection: self._record(connection, _find_run(connection, run)))

    async def records(self) -> tuple[RunRecord, ...]:
        """All runs, newest first, with what they were given and left: one look at the journal, however many there are."""
        return await self._read(
            lambda connection: tuple(
                self._record(connection, row) for row in connection.execute(f"{_LINES} ORDER BY r.n DESC")
            )
        )

    async def entries(self, run: str, kind: EntryKind | None = None) -> tuple[Entry, ...]:
        """The entries of a run (named as for `run`) in the order in which they were written."""
        where, values = ("", ()) if kind is None else (" AND e.kind = ?", (kind,))
        return await self._read(lambda connection: self._entries(connection, run, where, values))

    async def each(self, kinds: Sequence[EntryKind], take: Callable[[Entry], None]) -> None:
        """Hand over the entries of these kinds of all runs, run by run in their order: one look at the journal, none of
        them is kept, and their texts are neither read nor there.
        """

        def hand_over(connection: sqlite3.Connection) -> None:
            names = dict(connection.execute("SELECT n, id FROM runs"))
            rows = connection.execute(_EACH.format(", ".join("?" * len(kinds))), tuple(kinds))
            for number, group in groupby(rows, key=lambda row: row[0]):
                take(self._entry(names[number >> 32], list(group), texts=False))

        await self._read(hand_over)

    async def find(self, run: str, kind: EntryKind, fingerprint: str) -> tuple[Entry, ...]:
        """The entries of a run with this fingerprint, oldest first; the same request made twice is there twice."""
        where, values = " AND e.kind = ? AND e.fingerprint = ?", (kind, bytes.fromhex(fingerprint))
        return await self._read(lambda connection: self._entries(connection, run, where, values))

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
            with open_to_read(self.path) as connection:
                return query(connection)
        except (OSError, sqlite3.Error) as error:
            raise as_journal_error(self.path, error, "read") from error
        except (ValueError, OverflowError, TypeError) as error:  # what no writer has written: a time, a length, UTF-8
            raise damaged(self.path, str(error)) from error

    def _record(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> RunRecord:
        inputs, summary = (
            connection.execute(_CONTENT.format(column), (row[0],)).fetchone() for column in ("inputs", "summary")
        )
        if inputs is None:
            raise damaged(self.path, f"the inputs of run {row[1]} are not there")
        text = _text(self._long(*inputs))
        return RunRecord(**_line(row), inputs=text, summary=None if summary is None else _text(self._long(*summary)))

    def _entries(
        self, connection: sqlite3.Connection, run: str, where: str, values: tuple[Any, ...]
    ) -> tuple[Entry, ...]:
        number, run_id, *_ = _find_run(connection, run)
        ids = number << 32, (number << 32) + SEQ
        rows = connection.execute(f"{_ENTRIES}{where} ORDER BY e.id, p.position", (*ids, *values))
        return tuple(self._entry(run_id, list(group)) for _, group in groupby(rows, key=lambda row: row[0]))

    def _entry(self, run: str, rows: list[tuple[Any, ...]], *, texts: bool = True) -> Entry:
        """An entry from its rows, one for each long value, or one alone; with `texts` False only its payload is read."""
        number, *columns = rows[0][:11]
        kind, name, key, mark, status, started_at, seconds, is_text, payload, joined = columns
        longs = [row[12:] for row in rows if row[12] is not None]
        total = rows[0][11]
        if total is not None and not is_sum_of(total, number, columns, [long[3] or b"" for long in longs]):
            raise damaged(self.path, f"entry {number & SEQ} of run {run} is not what was written")
        found = {position: self._value(*long) for position, *long in longs if texts or not position}
        short = parted(joined) if texts and joined is not None else []
        for position, (text, raw) in enumerate(short, 1):
            if raw is not None:
                found[position] = _text(raw) if text else raw
        value = found.pop(0, None) if is_text is None else _text(payload) if is_text else payload
        return Entry(
            run=run,
            kind=kind,
            name=name,
            key=key,
            fingerprint="" if mark is None else mark.hex(),
            status=status,
            started_at=moment(started_at),
            seconds=seconds,
            payload=value,
            texts=tuple(found[position] for position in sorted(found)),
            seq=number & SEQ,
        )

    def _value(self, is_text: int, short: bytes | None, *content: Any) -> Value:
        raw = self._long(*content) if short is None else short
        return _text(raw) if is_text else raw

    def _long(self, digest: bytes | None, size: int, is_packed: int, data: bytes, is_file: int) -> bytes:
        if digest is None:
            raise damaged(self.path, "a long value is not there")
        return unpacked(self._files.read(digest) if is_file else data, is_packed=bool(is_packed), size=size)


def _between(connection: sqlite3.Connection, number: int) -> Seconds:
    _first, *later = connection.execute(_SESSIONS, (number << 32, (number << 32) + SEQ)).fetchall() or [(0,)]
    micros_between: float = sum(max(0.0, gap) for (gap,) in later)
    return micros_between / 1e6


def _find_run(connection: sqlite3.Connection, run: str) -> tuple[Any, ...]:
    if run == "last":
        rows = connection.execute(f"{_LINES} ORDER BY r.n DESC LIMIT 1").fetchall()
    else:
        rows = (
            connection.execute(f"{_LINES} WHERE r.id = ?", (run,)).fetchall()
            or connection.execute(
                f"{_LINES} WHERE substr(r.id, 1, ?) = ? ORDER BY r.n DESC LIMIT 6", (len(run), run)
            ).fetchall()
        )
    if not rows or not run:
        raise unknown_run(connection, run)
    if len(rows) > 1:
        raise UsageError(f"{run!r} begins more than one run", hint=f"such as {', '.join(row[1] for row in rows[:5])}")
    found: tuple[Any, ...] = rows[0]
    return found


def _line(row: tuple[Any, ...]) -> dict[str, Any]:
    _, run_id, pipeline, file, started_at, ended_at, status, promoted, tier, settings, out_dir = row[:11]
    exit_code, parent, parent_seq, *mark = row[11:]
    if status == "running" and ProcessMark(*mark).gone():
        status = "interrupted"
    return {
        "id": run_id,
        "pipeline": pipeline,
        "file": file,
        "started_at": moment(started_at),
        "ended_at": None if ended_at is None else moment(ended_at),
        "status": status,
        "promoted": bool(promoted),
        "tier": tier,
        "settings": settings,
        "out_dir": out_dir,
        "exit_code": exit_code,
        "parent": parent,
        "parent_seq": parent_seq,
        "pid": mark[0],
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
