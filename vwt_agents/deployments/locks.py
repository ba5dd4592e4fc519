"""A lock that a file stands for and the kernel frees when its holder dies: flock, so not on Windows.

Locks of one process exclude each other too, as long as each has its own FileLock.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock"]


class FileLock:
    """An exclusive lock on `path`, which is made if it is not there; never waits. Child processes do not inherit it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def take(self) -> bool:
        """Whether it is now ours; False while somebody else has it."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _lock(file):
                os.close(file)
                return False
            if os.fstat(file).st_nlink:  # else its file was removed while we reached for it
                self._file = file
                return True
            os.close(file)

    def let_go(self, *, remove: bool = False) -> None:
        """Give it back; with `remove`, its file goes too. Not holding it is no error."""
        file, self._file = self._file, None
        if file is None:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(file)  # unlocks it

    def taken(self) -> bool:
        """Whether some other process or object holds it now."""
        other = FileLock(self.path)
        if not self.path.exists():
            return False
        if other.take():
            other.let_go()
            return False
        return True


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
