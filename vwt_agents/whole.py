"""Reading and writing files whole. Whatever happens to a writer, the old file is there or the new one, and nothing beside it.

A process that is killed half way leaves a part beside the file; who writes the file next can clear it away. A writer holds
a lock on its part, which ends with it: so the part of one who still writes is told from that of one who is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["clear_parts", "read_text", "write_whole"]


def read_text(path: Path, most: int, *, regular: bool = False) -> str:
    """The UTF-8 text of a file of at most so many bytes, with plain ends of line; OSError for a longer one.

    With `regular`, of a file that can be read again: never waits for a pipe that nobody writes to.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if regular else 0)
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - by its number, to know what was opened
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if regular and not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file, but a device, a pipe or the like", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is longer than {most / 2**20:g} MiB", str(path))
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


def write_whole(path: Path, data: bytes, *, mode: int = 0o666, durable: bool = False) -> None:
    """Replace the file; its folder has to be there. `mode`: its permissions, less the umask; `durable`: it survives a power cut
    from when this returns. OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            with suppress(OSError):  # a file system without locks: then nobody clears anything there
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def clear_parts(path: Path) -> None:
    """Remove what writers of this very file left beside it when they were killed; not the part of one who still writes, and
    no other file. Never fails.
    """
    with suppress(OSError):
        for name in os.listdir(path.parent):  # noqa: PTH208 - names only: the folder may be long
            if _is_part(name, path.name):
                _clear(path.with_name(name))


def _is_part(name: str, of: str) -> bool:
    found = re.fullmatch(r"\.(.+)\.(\d+)\.partial", name, re.DOTALL)
    return found is not None and found[1] == of and int(found[2]) != os.getpid()


def _clear(partial: Path) -> None:
    with suppress(OSError), partial.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.unlink()


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
