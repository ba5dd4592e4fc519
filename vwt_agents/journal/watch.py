"""Whether a journal has changed: one connection that is kept, and SQLite's own count of what others have committed."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Watch"]


class Watch:
    """`with Watch(path) as watch:` then `watch.changed()` is True once after each change, and the first time.

    A journal that cannot be asked (not there yet, locked for good, replaced) counts as changed: whoever reads it is told why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def changed(self) -> bool:
        """Whether another connection has committed since the last time."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True, timeout=1)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            self._close()
            return True
        seen, self._seen = self._seen, version
        return bool(seen != version)

    def _close(self) -> None:
        connection, self._connection, self._seen = self._connection, None, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
