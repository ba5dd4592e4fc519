"""The SQL that writes runs and entries. Owns how a record becomes rows; each function runs within the writer's
transaction.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from vwt_agents.errors import UsageError, did_you_mean
from vwt_agents.journal.contents import digest_of, keep
from vwt_agents.journal.sums import entry_sum, joined, run_sum
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.entries import Entry, RunStatus, Value
    from vwt_agents.journal.contents import ContentFiles
    from vwt_agents.journal.sums import Text

__all__ = [
    "SEQ",
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

SEQ: Final = 0xFFFFFFFF  # of an entry's id; the rest is its run
_INLINE: Final = 1024  # bytes; longer values are stored once, in contents
_ROW: Final = 3600  # bytes of values in a row, so that it fits its page
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
    """An entry as its columns and long values, checked before it is queued, so that a fault is the caller's own."""

    run: str
    columns: tuple[str, str, str, bytes | None, str, int, float | None, int | None, bytes | None, bytes | None]
    longs: tuple[tuple[int, bool, bytes], ...]
    size: int  # bytes of its payload and texts


def micros(when: datetime) -> int:
    """Microseconds since 1970 UTC; exact, unlike a float."""
    since = when - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(stamp: int) -> datetime:
    """The UTC time of a stamp made by `micros`."""
    return _EPOCH + timedelta(microseconds=stamp)


def entry_row(entry: Entry) -> EntryRow:
    """The rows of an entry; ValueError for a fingerprint that is not hex or a time without a zone."""
    run, kind, name, key, mark, status, started_at, seconds, value, given, _ = entry
    if started_at is None:
        started = time.time_ns() // 1000
    elif started_at.tzinfo is None:
        raise ValueError(f"started_at={started_at!r} has no time zone; journal times are UTC")
    else:
        started = micros(started_at)
    longs: list[tuple[int, bool, bytes]] = []
    room = _ROW
    size = 0
    is_text = payload = texts = None
    if value is not None:
        is_text, payload = isinstance(value, str), _raw(value)
        size = len(payload)
        if len(payload) > _INLINE:
            longs.append((0, is_text, payload))
            is_text = payload = None
        else:
            room -= len(payload)
    if given:
        short: list[Text] = []
        for position, text in enumerate(given, 1):
            raw = _raw(text)
            size += len(raw)
            if len(raw) > min(_INLINE, room):
                longs.append((position, isinstance(text, str), raw))
                short.append((False, None))
            else:
                short.append((isinstance(text, str), raw))
                room -= len(raw)
        texts = joined(short)
    if seconds is not None:
        seconds += 0.0  # as SQLite keeps it: no int, and no -0.0
    columns = (
        *(kind, name, key, bytes.fromhex(mark) or None, status, started, seconds),
        *(None if is_text is None else int(is_text), payload, texts),
    )
    return EntryRow(run, columns, tuple(longs), size)


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

    def insert(self, connection: sqlite3.Connection, row: EntryRow, digests: Sequence[bytes]) -> int:
        """Insert the entry with the next number of its run; the entry's id."""
        run, last = self._known.get(row.run) or _last_entry(connection, row.run)
        number = run << 32 | last + 1
        connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, *row.columns, entry_sum(number, row.columns, digests)),
        )
        self._known[row.run] = (run, last + 1)
        return number


def insert_entry(connection: sqlite3.Connection, row: EntryRow, numbers: Numbers, files: ContentFiles) -> int:
    """The entry's number in its run. One statement, if all its values are short and the run is known."""
    digests = [digest_of(raw) for _, _, raw in row.longs] if row.longs else ()
    try:
        number = numbers.insert(connection, row, digests)
    except sqlite3.IntegrityError:  # somebody else has written to this run
        numbers.forget(row.run)
        number = numbers.insert(connection, row, digests)
    if row.longs:
        connection.executemany(
            "INSERT INTO parts VALUES (?, ?, ?, NULL, ?)",
            [
                (number, position, is_text, keep(connection, files, raw, digest))
                for (position, is_text, raw), digest in zip(row.longs, digests, strict=True)
            ],
        )
    return number & SEQ


def _last_entry(connection: sqlite3.Connection, run_id: str) -> tuple[int, int]:
    found: tuple[int, int] | None = connection.execute(
        """
        SELECT n, coalesce((SELECT max(e.id) & 4294967295 FROM entries e WHERE e.id BETWEEN n << 32 AND (n + 1 << 32) - 1), 0)
        FROM runs WHERE id = ?""",
        (run_id,),
    ).fetchone()
    if found is None:
        raise unknown_run(connection, run_id)
    return found


def insert_run(connection: sqlite3.Connection, start: RunStart, files: ContentFiles) -> bool:
    """Whether it was new: False where a run has this id already."""
    if connection.execute("SELECT 1 FROM runs WHERE id = ?", (start.id,)).fetchone():
        return False
    parent = None if start.parent is None else _number(connection, start.parent)
    mark = ProcessMark.here()
    inputs = _raw(start.inputs)
    digest = digest_of(inputs)
    once = (
        *(start.id, start.pipeline, start.file, micros(start.started_at), int(start.promoted), start.tier),
        *(start.settings, start.out_dir, parent, start.parent_seq),
    )
    connection.execute(
        """
        INSERT INTO runs (id, pipeline, file, started_at, promoted, tier, settings, out_dir, parent, parent_seq, status,
                          inputs, sum, pid, pid_started, boot, host)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?)""",
        (
            *(*once, keep(connection, files, inputs, digest), run_sum(once, digest)),
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
    connection: sqlite3.Connection,
    run_id: str,
    status: RunStatus,
    exit_code: int,
    summary: str | None,
    now: datetime,
    files: ContentFiles,
) -> None:
    """Record the run's end."""
    content = None
    if summary is not None:
        raw = _raw(summary)
        content = keep(connection, files, raw, digest_of(raw))
    number, entries = _last_entry(connection, run_id)
    connection.execute(
        "UPDATE runs SET status = ?, exit_code = ?, summary = ?, ended_at = ?, entries = ? WHERE n = ?",
        (status, exit_code, content, micros(now), entries, number),
    )


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
