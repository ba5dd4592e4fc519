"""Folders of this machine that runs need: made private, held by a lock while their process lives, swept when it is gone.

Whoever makes one holds it locked (flock) until it is removed, and the kernel lets go of a lock when its process ends, however
it ends. So a folder of ours that nobody holds is what a killed process left, and the next one to need a folder removes it.
Touches nothing that bears another name, belongs to another user, is a link, or is held.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import Unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["kept", "stage_folder", "write_all", "write_files"]

_PREFIX: Final = "vwt-sandbox-"
_SHARED: Final = "/dev/shm"  # noqa: S108 - a folder of our own is made in it
_MIB: Final = 1024 * 1024
_MOST_IN_MEMORY_MIB: Final = 1
_ROOM_MIB, _ROOM_FILES = 16, 4096  # free in memory before anything of ours is put there
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Own:
    """What this process has of folders: those it holds, the one it keeps, and where it has swept."""

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self.held: set[int] = set()
        self.home: tuple[str, int] | None = None
        self.swept: set[str] = set()
        self.forked = False


_own = _Own()


# ---- making and removing


@contextlib.contextmanager
def stage_folder(mib: float | None = None) -> Iterator[str]:
    """A private folder of this machine for what one run needs; gone after the block, whatever a program made of it.

    With `mib`, the most that will be in it, it may lie in memory, where making and removing many small files costs least.
    """
    owner = os.getpid()
    place = (_in_memory() if mib is not None and mib <= _MOST_IN_MEMORY_MIB else None) or _usual()
    with _room_in(place):
        folder, lock = _made(place)
    try:
        with _room_in(place):
            yield folder
    finally:
        if os.getpid() == owner:  # a fork that leaves the block has no business with its parent's
            _remove(folder, lock)


def _made(place: str) -> tuple[str, int]:
    """A new folder there, and the descriptor that holds it; what was left there is swept first, once in each process."""
    if place not in _own.swept:
        _own.swept.add(place)
        _sweep(place)
    while True:
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
        lock = _held(folder)
        if lock is not None:  # None: swept by another process, between its making and its lock
            _own.held.add(lock)
            return folder, lock


def _held(folder: str) -> int | None:
    """A descriptor that holds a folder just made; None when another process has it."""
    try:
        lock = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = not _is_there(folder, os.fstat(lock))
    except BlockingIOError:
        gone = True
    except OSError:
        gone = False  # a file system without locks: nobody else gets one there, so nobody sweeps
    if gone:
        os.close(lock)
    return None if gone else lock


def _abandoned(name: str, there: int) -> int | None:
    """A descriptor that holds a folder in the folder `there`, which nobody else holds and which is this user's; or None."""
    try:
        lock = os.open(name, _FOLDER, dir_fd=there)
    except OSError:  # a link, no folder, or nobody's business
        return None
    try:
        about = os.fstat(lock)
        if about.st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(name, about, dir_fd=there):
                return lock
    except OSError:
        pass  # it is held
    os.close(lock)
    return None


def _is_there(folder: str, about: os.stat_result, *, dir_fd: int | None = None) -> bool:
    """Whether the folder that is open is still the one of that name."""
    try:
        return os.path.samestat(os.stat(folder, dir_fd=dir_fd, follow_symlinks=False), about)
    except OSError:
        return False


def _let_go(lock: int) -> None:
    _own.held.discard(lock)
    os.close(lock)


def _remove(folder: str, lock: int) -> None:
    """Remove the folder that is open, and let go of it; never what has its name by now."""
    try:
        if _is_there(folder, os.fstat(lock)):
            shutil.rmtree(folder)
    except (OSError, RecursionError):
        # Folders without rights, or a thousand deep, as a program without a file system of its own can leave them.
        inside = f"/proc/{os.getpid()}/fd/{lock}"  # `chmod -R` would follow a link that it is called with
        with contextlib.suppress(OSError):
            os.fchmod(lock, 0o700)
            subprocess.run(["chmod", "-R", "u+rwX", "."], cwd=inside, capture_output=True, check=False)
        subprocess.run(["rm", "-rf", folder], capture_output=True, check=False)
    finally:
        _let_go(lock)


def _sweep(place: str) -> None:
    """Remove what processes that were killed have left there."""
    try:
        with os.scandir(place) as entries:
            names = [one.name for one in entries if one.name.startswith(_PREFIX)]
        there = os.open(place, _FOLDER & ~os.O_NOFOLLOW)  # a TMPDIR may be a link
    except OSError:
        return
    try:
        for name in names:
            lock = _abandoned(name, there)
            if lock is not None:
                _remove(os.path.join(place, name), lock)  # noqa: PTH118
    finally:
        os.close(there)


# ---- where


def _usual() -> str:
    return tempfile.gettempdir()


def _in_memory() -> str | None:
    """The folder in memory, while there is room to spare; None where the usual place is as good or named by the user."""
    if "TMPDIR" in os.environ:
        return None
    try:
        about = os.stat(_SHARED, follow_symlinks=False)  # noqa: PTH116
        room = os.statvfs(_SHARED)
    except OSError:
        return None
    safe = stat.S_ISDIR(about.st_mode) and (about.st_mode & stat.S_ISVTX or about.st_uid == os.geteuid())
    files = room.f_files == 0 or room.f_favail > _ROOM_FILES  # 0: the file system does not count them
    usable = safe and files and room.f_bavail * room.f_frsize > _ROOM_MIB * _MIB
    return _SHARED if usable and os.access(_SHARED, os.W_OK | os.X_OK) else None


# ---- what is kept as long as the process


def kept(name: str, files: Callable[[], Mapping[str, bytes]]) -> Path:
    """A folder of these files, written at the first call and removed when this process ends.

    For sandboxes that show it read-only; never where a program runs as a user who could write to it. A name always stands for
    the same files. What a cleaner of old temporary files took is written again.
    """
    with _own.writing:
        contents = files()
        folder = Path(_home(), name)
        if not all((folder / one).exists() for one in contents):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                with _room_in(folder.parent.parent):
                    write_all(folder, contents)
            except BaseException:  # of a file written in part, the next to ask would not know
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder


@contextlib.contextmanager
def _room_in(folder: Path | str) -> Iterator[None]:
    """Unwritable, by the folder's name, where what is written in the block finds no room on its disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        hint = "make room there, or name a folder on another disk: export TMPDIR=SOME/FOLDER"
        raise Unwritable(f"cannot write the sandbox's files in {folder}: {error.strerror}", hint=hint) from error


def _home() -> str:
    """This process's own folder: the very one it made, never one that somebody has put in its place since."""
    if _own.home is not None:
        folder, lock = _own.home
        if _is_there(folder, os.fstat(lock)):
            return folder
        _let_go(lock)
    elif _is_child():
        from multiprocessing.util import Finalize

        Finalize(None, _leave, exitpriority=0)  # such a child ends without what is registered with `atexit`
    with _room_in(_usual()):
        _own.home = _made(_usual())
    return _own.home[0]


def _is_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def write_all(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files into a new folder, readable to every user, and return it."""
    folder.mkdir(mode=0o755)
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files and return the folder: half a surrogate pair becomes the question mark that is delivered in its place."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", errors="replace")
    return folder


# ---- the end, and forks


def _leave() -> None:
    """Remove what this process keeps, and what its forks that were stopped have left."""
    if _own.home is not None:
        folder, lock = _own.home
        _own.home = None
        _remove(folder, lock)
    if _own.forked:
        for place in (_usual(), _SHARED):
            _sweep(place)


def _is_forked() -> None:
    """Begin anew in a fork: the locks are its parent's, and another thread of that may hold the one for writing for ever."""
    global _own
    inherited, _own = _own, _Own()
    for lock in inherited.held:
        os.close(lock)  # the parent still has it open, so it stays held until the parent ends, and no longer


def _has_forked() -> None:
    _own.forked = True


atexit.register(_leave)
os.register_at_fork(after_in_child=_is_forked, after_in_parent=_has_forked)
