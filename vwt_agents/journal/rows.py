"""The SQL that writes runs and entries. Owns how a record becomes rows; each function runs within the writer's
transaction.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import UsageError, did_you_mean
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    import sqlite3

    from vwt_agents.entries import Entry, RunStatus, Value

__all__ = [
    "EntryRow",
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


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as its columns and parts, checked before it is queued, so that a fault is the caller's own."""

    run: str
    columns: tuple[str, str, str, bytes | None, str, int, float | None]
    parts: tuple[tuple[int, bool, bytes], ...]


def micros(when: datetime) -> int:
    """Microseconds since 1970 UTC; exact, unlike a float."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def moment(stamp: int) -> datetime:
    """The UTC time of a stamp made by `micros`."""
    return _EPOCH + timedelta(microseconds=stamp)


def entry_row(entry: Entry) -> EntryRow:
    """The rows of an entry; ValueError for a fingerprint that is not hex or a time without a zone."""
    started = entry.started_at or datetime.now(UTC)
    if started.tzinfo is None:
        raise ValueError(f"started_at={started!r} has no time zone; journal times are UTC")
    mark = bytes.fromhex(entry.fingerprint) or None
    columns = (entry.kind, entry.name, entry.key, mark, entry.status, micros(started), entry.seconds)
    values = ([] if entry.payload is None else [(0, entry.payload)]) + list(enumerate(entry.texts, 1))
    return EntryRow(
        entry.run, columns, tuple((position, isinstance(value, str), _raw(value)) for position, value in values)
    )


def insert_entry(connection: sqlite3.Connection, row: EntryRow) -> int:
    """The entry's number in its run."""
    found = connection.execute(
        "SELECT n, (SELECT coalesce(max(seq), 0) + 1 FROM entries WHERE run = n) FROM runs WHERE id = ?", (row.run,)
    ).fetchone()
    if found is None:
        raise unknown_run(connection, row.run)
    run, seq = found
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (run, seq, *row.columns))
    for position, is_text, raw in row.parts:
        short = len(raw) <= _INLINE
        connection.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)",
            (run, seq, position, is_text, raw if short else None, None if short else _content(connection, raw)),
        )
    return int(seq)


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
