"""A damaged journal made anew from what can be read of it. Owns the exchange of the files; the damaged ones are kept.

Records are taken from the pages themselves, so that a damaged tree hides nothing, and each has to stand up to its sum.
What is saved is written to a new file, checked, and only then put in the old one's place.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.errors import JournalError
from vwt_agents.journal.checking import Damage, check
from vwt_agents.journal.connecting import wal_of
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.pages import Pages, read_log
from vwt_agents.journal.salvage import LOST, Salvaged, salvage
from vwt_agents.journal.writer import as_journal_error
from vwt_agents.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

__all__ = ["Repaired", "repair"]

_SHARED: Final = (0x40000002, 510)  # the bytes of a database that whoever has it open keeps locked


@dataclass(slots=True)
class Repaired:
    """What a repair found and saved. `kept_as` is where the damaged file is now; None where nothing was damaged."""

    path: str
    kept_as: str | None = None
    found: list[Damage] = field(default_factory=list)
    runs: int = 0
    entries: int = 0
    lost: list[Damage] = field(default_factory=list)


def repair(path: Path, now: datetime) -> Repaired:
    """Save what can be read of the journal at `path` into a new one in its place.

    JournalError while another process has it open, or where there is no room; then nothing has changed.
    """
    report = check(path)
    done = Repaired(str(path), found=report.damage, runs=report.runs, entries=report.entries)
    if report.sound:
        return done
    fresh = path.with_name(f"{path.name}.repaired-{os.getpid()}")
    try:
        with path.open("rb+") as held:
            _refuse_in_use(path, held.fileno())
            saved = salvage(Pages(path.read_bytes(), read_log(_log(path))), ContentFiles(path))
            if not (saved.runs or saved.contents):
                raise JournalError(
                    f"nothing of a journal could be read in {path}",
                    hint="move it away to start a new one; it is as it was",
                )
            _write(fresh, path, saved)
            kept = _free_name(path, now)
            _exchange(path, fresh, kept)
    except (OSError, sqlite3.Error) as error:
        raise as_journal_error(path, error, "repaired") from error
    finally:
        for left in (fresh, wal_of(fresh), fresh.with_name(f"{fresh.name}-shm")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    _set_aside(ContentFiles(path), {row.digest for row in saved.contents.values() if row.file}, kept)
    done.kept_as = str(kept)
    done.runs, done.lost = len(saved.runs), saved.lost
    done.entries = sum(row.name != LOST for row in saved.entries.values())
    return done


def _refuse_in_use(path: Path, number: int) -> None:
    """Lock out whoever would open it from here on; JournalError where somebody has it open already."""
    start, length = _SHARED
    want = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, want)
    except BlockingIOError as error:
        owner = struct.unpack("hhqqi4x", fcntl.fcntl(number, fcntl.F_OFD_GETLK, want))[4]
        who = f"process {owner}" if owner > 0 else "another process"
        raise JournalError(
            f"the journal {path} could not be repaired: {who} has it open",
            hint="wait until its run has ended, or stop it",
        ) from error


def _log(path: Path) -> bytes:
    log = wal_of(path)
    return log.read_bytes() if log.exists() else b""


def _write(fresh: Path, path: Path, saved: Salvaged) -> None:
    """The new journal, whole and on the disk."""
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        _insert(connection, "contents", saved.contents.values())
        _insert(connection, "runs", (saved.runs[number] for number in sorted(saved.runs)))
        _insert(connection, "entries", saved.entries.values())
        _insert(connection, "parts", (part for parts in saved.parts.values() for part in parts))
        _insert(connection, "measurements", saved.measurements)
        wrong = [*connection.execute("PRAGMA foreign_key_check"), *connection.execute("PRAGMA integrity_check(1)")]
        if wrong != [("ok",)]:
            raise JournalError(f"the journal {path} could not be repaired: what was saved is not whole: {wrong[0]}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 - our own names


def _free_name(path: Path, now: datetime) -> Path:
    name = f"{path.name}.damaged-{now:%Y%m%d-%H%M%S}"
    names = (path.with_name(f"{name}{more}") for more in ("", *(f"-{number}" for number in range(2, 1000))))
    return next(name for name in names if not name.exists() and not wal_of(name).exists())


def _exchange(path: Path, fresh: Path, kept: Path) -> None:
    """The log goes first and never comes back: with the new file it would be a wrong one."""
    if wal_of(path).exists():
        wal_of(path).replace(wal_of(kept))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    path.replace(kept)
    fresh.replace(path)


def _set_aside(files: ContentFiles, used: set[bytes], kept: Path) -> None:
    """Files the new journal does not count on, beside the damaged one: `runs gc` must not take them for rubbish."""
    aside = ContentFiles(kept).folder
    for digest, path in list(files.all()):
        if digest not in used:
            target = aside / path.parent.name / path.name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.replace(target)
