"""The SQL that writes runs and entries. Owns how a record becomes rows; each function runs within the writer's
transaction.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from vwt_agents.errors import UsageError, did_you_mean
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from vwt_agents.entries import Entry, RunStatus, Value

__all__ = [
    "EntryRow",
    "Numbers",
    "RunStart",
    "entry_row",
    "finish_run",
    "insert_entry",
    "insert_run",
    "micros",
    "moment",
    "reopen_run",
    "unknown_run",
]

_INLINE: Final = 1024  # bytes; longer values are stored once, in contents
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RunStart:
    """What is known of a run when it starts."""

    id: str
    pipeline: str
    file: str
    started_at: datetime
    promoted: bool
    tier: str
    inputs: str
    settings: str
    out_dir: str
    parent: str | None
    parent_seq: int | None

    def renamed(self, run_id: str) -> RunStart:
        """The same start under another id."""
        return replace(self, id=run_id)


class EntryRow(NamedTuple):
    """An entry as its columns and parts, checked before it is queued, so that a fault is the caller's own."""

    run: str
    columns: tuple[str, str, str, bytes | None, str, int, float | None, bool | None, bytes | None]
    parts: tuple[tuple[int, bool, bytes], ...]

    @property
    def size(self) -> int:
        """Bytes of its payload and texts."""
        return len(self.columns[-1] or b"") + sum(len(raw) for _, _, raw in self.parts)


def micros(when: datetime) -> int:
    """Microseconds since 1970 UTC; exact, unlike a float."""
    since = when - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(stamp: int) -> datetime:
    """The UTC time of a stamp made by `micros`."""
    return _EPOCH + timedelta(microseconds=stamp)


def entry_row(entry: Entry) -> EntryRow:
    """The rows of an entry; ValueError for a fingerprint that is not hex or a time without a zone."""
    if entry.started_at is None:
        started = time.time_ns() // 1000
    elif entry.started_at.tzinfo is None:
        raise ValueError(f"started_at={entry.started_at!r} has no time zone; journal times are UTC")
    else:
        started = micros(entry.started_at)
    mark = bytes.fromhex(entry.fingerprint) or None
    parts = [(position, isinstance(text, str), _raw(text)) for position, text in enumerate(entry.texts, 1)]
    is_text = payload = None
    if entry.payload is not None:
        is_text, payload = isinstance(entry.payload, str), _raw(entry.payload)
        if len(payload) > _INLINE:
            parts.insert(0, (0, is_text, payload))
            is_text = payload = None
    columns = (entry.kind, entry.name, entry.key, mark, entry.status, started, entry.seconds, is_text, payload)
    return EntryRow(entry.run, columns, tuple(parts))


class Numbers:
    """The number of each run that is written to here and of its last entry, so that an entry is one statement.

    Used within transactions only; `clear` it when one is rolled back.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}
        self.clear = self._known.clear

    def forget(self, run_id: str) -> None:
        """A run that has ended, or that somebody else has written to."""
        self._known.pop(run_id, None)

    def insert(self, connection: sqlite3.Connection, row: EntryRow) -> tuple[int, int]:
        """Insert the entry with the next number of its run; the run's number and the entry's."""
        run, last = self._known.get(row.run) or _last_entry(connection, row.run)
        connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (run, last + 1, *row.columns)
        )
        self._known[row.run] = numbers = (run, last + 1)
        return numbers


def insert_entry(connection: sqlite3.Connection, row: EntryRow, numbers: Numbers) -> int:
    """The entry's number in its run. One statement, if it has no parts and the run is known."""
    try:
        run, seq = numbers.insert(connection, row)
    except sqlite3.IntegrityError:  # somebody else has written to this run
        numbers.forget(row.run)
        run, seq = numbers.insert(connection, row)
    if row.parts:
        connection.executemany(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)",
            [
                (run, seq, position, is_text, raw, None)
                if len(raw) <= _INLINE
                else (run, seq, position, is_text, None, _content(connection, raw))
                for position, is_text, raw in row.parts
            ],
        )
    return seq


def _last_entry(connection: sqlite3.Connection, run_id: str) -> tuple[int, int]:
    found: tuple[int, int] | None = connection.execute(
        "SELECT n, (SELECT coalesce(max(seq), 0) FROM entries WHERE run = n) FROM runs WHERE id = ?", (run_id,)
    ).fetchone()
    if found is None:
        raise unknown_run(connection, run_id)
    return found


def insert_run(connection: sqlite3.Connection, start: RunStart) -> bool:
    """Whether it was new: False where a run has this id already."""
    if connection.execute("SELECT 1 FROM runs WHERE id = ?", (start.id,)).fetchone():
        return False
    parent = None if start.parent is None else _number(connection, start.parent)
    mark = ProcessMark.here()
    connection.execute(
        """
        INSERT INTO runs (id, pipeline, file, started_at, status, promoted, tier, inputs, settings, out_dir, parent,
                          parent_seq, pid, pid_started, boot, host)
        VALUES (?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(start.id, start.pipeline, start.file, micros(start.started_at), start.promoted, start.tier),
            *(_content(connection, _raw(start.inputs)), start.settings, start.out_dir, parent, start.parent_seq),
            *(mark.pid, mark.started, mark.boot, mark.host),
        ),
    )
    return True


def reopen_run(connection: sqlite3.Connection, run_id: str) -> None:
    """Make the run this process's; UsageError while another process still runs it."""
    run = _number(connection, run_id)
    status, *marked = connection.execute(
        "SELECT status, pid, pid_started, boot, host FROM runs WHERE n = ?", (run,)
    ).fetchone()
    owner, here = ProcessMark(*marked), ProcessMark.here()
    if status == "running" and owner != here and not owner.gone():
        raise UsageError(
            f"run {run_id} is still running, in process {owner.pid} on {owner.host.partition('/')[0]}",
            hint="wait until it has ended, or stop it there",
        )
    connection.execute(
        """UPDATE runs SET status = 'running', ended_at = NULL, exit_code = NULL, summary = NULL,
           pid = ?, pid_started = ?, boot = ?, host = ? WHERE n = ?""",
        (here.pid, here.started, here.boot, here.host, run),
    )


def finish_run(
    connection: sqlite3.Connection, run_id: str, status: RunStatus, exit_code: int, summary: str | None, now: datetime
) -> None:
    """Record the run's end."""
    content = None if summary is None else _content(connection, _raw(summary))
    changed = connection.execute(
        "UPDATE runs SET status = ?, exit_code = ?, summary = ?, ended_at = ? WHERE id = ?",
        (status, exit_code, content, micros(now), run_id),
    )
    if not changed.rowcount:
        raise unknown_run(connection, run_id)


def unknown_run(connection: sqlite3.Connection, run_id: str) -> UsageError:
    """The error for an id that no run has, with the nearest one or the last few."""
    recent = [found for (found,) in connection.execute("SELECT id FROM runs ORDER BY n DESC LIMIT 100")]
    if not recent:
        return UsageError(f"there is no run {run_id!r}: the journal holds none yet")
    nearest = did_you_mean(run_id, recent)
    hint = nearest if nearest and nearest.startswith("did") else f"the last runs: {', '.join(recent[:5])}"
    return UsageError(f"there is no run {run_id!r}", hint=hint)


def _number(connection: sqlite3.Connection, run_id: str) -> int:
    found = connection.execute("SELECT n FROM runs WHERE id = ?", (run_id,)).fetchone()
    if found is None:
        raise unknown_run(connection, run_id)
    return int(found[0])


def _raw(value: Value) -> bytes:
    # surrogatepass: a model may answer with half a surrogate pair, and that must not end a run
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _content(connection: sqlite3.Connection, raw: bytes) -> int:
    """The number of these bytes in contents, which holds them once."""
    digest = hashlib.sha256(raw).digest()
    found = connection.execute("SELECT n FROM contents WHERE digest = ?", (digest,)).fetchone()
    if found is not None:
        return int(found[0])
    packed = zlib.compress(raw, 6) if len(raw) > 128 else raw
    pays = len(packed) <= len(raw) * 0.9
    inserted = connection.execute(
        "INSERT INTO contents (digest, size, packed, data) VALUES (?, ?, ?, ?)",
        (digest, len(raw), pays, packed if pays else raw),
    )
    assert inserted.lastrowid is not None
    return inserted.lastrowid
