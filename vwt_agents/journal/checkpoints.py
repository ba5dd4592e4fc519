"""Moves a journal's log into its database. Owns a connection for that, so that commits on the writing one go on meanwhile.

A checkpoint waits for the disk, twice: a stage that ends in these milliseconds must not wait with it. But a log can only
begin anew when all of it has been moved, which never comes about while others add to it. So once it has grown long, what
was added meanwhile is moved while nobody commits.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["LOG_SIZE", "Checkpointer"]

LOG_SIZE: Final = 8 << 20
"""Bytes of log from which on it has to begin anew; what a burst has made longer is given back."""

_PAGE: Final = 4096  # bytes


class Checkpointer:
    """For one thread. Within `alone` nobody commits. What cannot be moved now is moved with the next checkpoint."""

    def __init__(self, path: Path, alone: AbstractContextManager[object]) -> None:
        self._path = path
        self._alone = alone
        self._connection: sqlite3.Connection | None = None

    def checkpoint(self) -> None:
        """Move the log, as far as readers allow."""
        with suppress(sqlite3.Error):
            if self._moved() * _PAGE > LOG_SIZE:
                with self._alone:
                    self._moved()

    def _moved(self) -> int:
        """The pages that are still in the log, moved or not."""
        if self._connection is None:  # not before it is needed: most commands commit little
            self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        (_, pages, _) = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(pages)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
