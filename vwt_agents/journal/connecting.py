"""Opening a journal, to read it or to look after it. Owns what it takes where nothing can be written.

A reader of a journal in WAL mode needs a small file beside it, which it makes if need be. Where it cannot (a read-only
folder, disk or image), the file is read as one that nobody writes; with a log beside it, from a copy of both.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from vwt_agents.errors import JournalError
from vwt_agents.migrations import MIGRATIONS, migrate, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["damaged", "open_to_read", "wal_of"]

_UNWRITABLE: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def wal_of(path: Path) -> Path:
    """The log of a journal, which is part of it."""
    return path.with_name(f"{path.name}-wal")


def damaged(path: Path, what: str) -> JournalError:
    """The error for a journal that says what no writer has written."""
    return JournalError(
        f"the journal {path} is damaged: {what}",
        hint="`python -m vwt_agents runs check` says what is lost, `runs repair` saves the rest",
    )


@contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to today's tables; to empty ones in memory where there is no file."""
    if not path.exists():
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            migrate(connection, path)
            yield connection
        return
    with closing(_connected(path)) as connection:
        yield connection


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return _current(_uri(path, "mode=ro"), path)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF not in _UNWRITABLE:
            raise
    if not _has_log(path):
        return _current(_uri(path, "immutable=1"), path)
    with tempfile.TemporaryDirectory(prefix="vwt-journal-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        shutil.copyfile(wal_of(path), wal_of(copy))
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            return _in_memory(connection, path)


def _current(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The connection, to today's tables: a journal of an earlier version is brought there first, in memory if need be."""
    try:
        if version_of(connection, path) == len(MIGRATIONS):
            return connection
        try:
            with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as writing:
                migrate(writing, path)
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in _UNWRITABLE:
                raise
            with closing(connection):
                return _in_memory(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _in_memory(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.backup(copy)
    migrate(copy, path)
    return copy


def _uri(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=5, isolation_level=None)


def _has_log(path: Path) -> bool:
    with suppress(OSError):
        return wal_of(path).stat().st_size > 0
    return False
