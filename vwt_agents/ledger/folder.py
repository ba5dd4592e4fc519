"""The folder in which a ledger lies: one page a process, and one lock. Owns all files and locks; never decides a claim.

A page is a file that its process alone writes and holds an OS lock on for as long as it lives: whatever ends the process frees
that lock, and no later process with its pid can be taken for it. A page without a lock is a dead one's. It is written over in
place, because a file in place of another makes some file systems wait for the disk; a write that is cut off leaves the
version before it (`text`). Only the file `lock` is shared; who holds it reads and writes with nobody in between.

Users of one machine share the folder, so nothing in it is trusted: no link is followed, only regular files with one name are
opened, what cannot be read is no page. Nothing needs to outlast a power cut, which empties the memory too: pages of an
earlier boot are void.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.ledger.books import Page
from vwt_agents.ledger.text import SLOT, page_of, text_of
from vwt_agents.processes import ProcessMark

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vwt_agents.types import Seconds

__all__ = ["DEFAULT", "Folder"]

DEFAULT: Final = Path("/var/tmp/vwt_agents-ledger")  # noqa: S108 - all users have to find the same folder
"""Host-wide, the same for all users, not emptied when one of them logs out."""

_SHARED: Final = 0o1777
_OPEN: Final = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LOCK: Final = "lock"
_PAGE: Final = ".page"
_DRAFT: Final = ".tmp"
_TOUCH_S: Final = 3600.0  # what cleans temporary folders goes by age: a page in use stays young

_open_folders: weakref.WeakSet[Folder] = weakref.WeakSet()


class Folder:
    """A folder of pages, of which this process writes one. OSError, with the reason in words, when it cannot be used."""

    def __init__(self, path: Path = DEFAULT, *, boot: str | None = None) -> None:
        if fcntl is None:
            raise OSError("this system has no file locks that end with their process")
        self.path = path
        self.owner = secrets.token_hex(8)
        self._boot = ProcessMark.here().boot if boot is None else boot
        self._closed = False
        self._folder = self._lock = self._life = -1
        self._written = b""
        self._turn = 0
        self._open()
        _open_folders.add(self)

    # -- the lock ---------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, wait: Seconds) -> Iterator[bool]:
        """Within the block nobody else reads or writes; False when the lock could not be had within `wait` seconds."""
        until, pause = time.monotonic() + wait, 0.0002
        while not self._take():
            if time.monotonic() >= until:
                yield False
                return
            time.sleep(pause)
            pause = min(pause * 1.5, 0.001)
        try:
            with contextlib.suppress(OSError):  # only so that a message can name who holds it
                os.pwrite(self._lock, b"%-20d" % os.getpid(), 0)
            yield True
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def holder(self) -> str:
        """Who took the lock last: a pid in words."""
        try:
            return f"process {int(os.pread(self._lock, 20, 0))}"
        except (OSError, ValueError):
            return "a process"

    def _take(self) -> bool:
        """One try; opens anew what somebody has removed, so that all processes meet at the same file."""
        if self._closed:
            raise OSError(f"the ledger at {self.path} was closed, or belongs to the process this one was forked from")
        if not _same(self.path, self._folder) or not _same(_LOCK, self._lock, within=self._folder):
            self._open()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _same(_LOCK, self._lock, within=self._folder):
            return True
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return False

    # -- pages ------------------------------------------------------------------------------------------------------

    def others(self, *, locked: bool) -> list[Page]:
        """The pages of all other processes, and what dead ones left. Who holds the lock also clears the rest away."""
        pages = []
        for name in sorted(os.listdir(self._folder)):  # noqa: PTH208 - of the folder that is open, whatever its path leads to
            if name.startswith(self.owner):
                continue
            if name.endswith(_PAGE):
                page = self._read(name)
                if page.alive or page.claims:
                    pages.append(page)
                elif locked:
                    self._clear(name)
            elif name.endswith(_DRAFT) and locked:
                self._clear(name)
        return pages

    def write(self, page: Page) -> None:
        """Make this the process's page: wholly, or not at all with an OSError. A page that says nothing is no file."""
        if not page.claims and not page.wants:
            self._erase()
            return
        text = text_of(page, self._boot, self._turn + 1)
        if self._life >= 0 and _same(self.owner + _PAGE, self._life, within=self._folder):
            _write(self._life, text, (self._turn + 1) % 2 * SLOT)
        else:
            self._release(self._create(self.owner, text, (self._turn + 1) % 2 * SLOT, keep=True))
        self._turn, self._written = self._turn + 1, text

    def intact(self) -> bool:
        """Whether the file is still there with what was written last; so old that it might be cleaned away counts as no."""
        if not self._written:
            return True
        if not _same(self.owner + _PAGE, self._life, within=self._folder):
            return False
        young = abs(time.time() - os.fstat(self._life).st_mtime) < _TOUCH_S
        return young and os.pread(self._life, len(self._written), self._turn % 2 * SLOT) == self._written

    def bury(self, page: Page) -> None:
        """Write a page as if its process had ended: its claims are orphans. OSError when it cannot be written."""
        self._create(secrets.token_hex(8), text_of(page.left_behind(), self._boot, 0), 0, keep=False)

    def clear(self, page: Page) -> None:
        """Remove a dead process's page."""
        self._clear(page.owner + _PAGE)

    def close(self, left: Page) -> None:
        """Let go of the process's page; what it leaves behind stays as a dead one's. Idempotent."""
        if self._closed:
            return
        with contextlib.suppress(OSError):
            self.write(left)
        self.abandon()

    def abandon(self) -> None:
        """Close all files and touch none: in a forked child they are its parent's."""
        self._closed = True
        self._release(-1)
        for fd in (self._lock, self._folder):
            if fd >= 0:
                os.close(fd)
        self._lock = self._folder = -1

    # -- files ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        made = False
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
            made = True
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
        try:
            if made or (self.path == DEFAULT and os.fstat(folder).st_uid == os.geteuid()):
                os.fchmod(folder, _SHARED)  # mkdir's mode is cut by the umask
            lock = self._regular(folder)
        except BaseException:
            os.close(folder)
            raise
        for fd in (self._lock, self._folder):
            if fd >= 0:
                os.close(fd)
        self._lock, self._folder = lock, folder

    @staticmethod
    def _regular(folder: int) -> int:
        """The lock file. Opened without O_CREAT where it is there: Linux forbids that to other users in such a folder."""
        while True:
            try:
                fd = os.open(_LOCK, os.O_RDWR | _OPEN, dir_fd=folder)
            except FileNotFoundError:
                try:
                    fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o666, dir_fd=folder)
                except FileExistsError:
                    continue
                os.fchmod(fd, 0o666)
            if _plain_file(os.fstat(fd)):
                return fd
            os.close(fd)
            raise OSError("its file `lock` is not a plain file")

    def _read(self, name: str) -> Page:
        """A page, alive or not; unreadable when it is none."""
        owner = name.removesuffix(_PAGE)
        nothing = Page(owner, alive=False, readable=False)
        while True:
            try:
                fd = os.open(name, os.O_RDONLY | _OPEN, dir_fd=self._folder)
            except OSError:
                return nothing
            try:
                if not _plain_file(os.fstat(fd)):
                    return nothing
                text = os.pread(fd, 2 * SLOT, 0)
                alive = _is_locked(fd)
                if not alive and not _same(name, fd, within=self._folder):
                    continue  # replaced while we looked, and so not dead
                page = page_of(owner, text)
            finally:
                os.close(fd)
            if page is None:
                return Page(owner, alive=alive, readable=not alive)
            if alive:
                return page
            return page.left_behind() if page.boot == self._boot else nothing

    def _create(self, owner: str, text: bytes, place: int, *, keep: bool) -> int:
        """A new page under its name; with `keep` the file stays open and locked, and is from its first moment on."""
        draft = owner + _DRAFT
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=self._folder)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o666, dir_fd=self._folder)
        try:
            os.fchmod(fd, 0o666)  # other users clear it away by emptying it, once we are dead
            _write(fd, text, place)
            if keep:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(draft, owner + _PAGE, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(draft, dir_fd=self._folder)
            raise
        if not keep:
            os.close(fd)
        return fd

    def _erase(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.owner + _PAGE, dir_fd=self._folder)
        self._written = b""
        self._release(-1)

    def _release(self, life: int) -> None:
        if self._life >= 0:
            os.close(self._life)
        self._life = life

    def _clear(self, name: str) -> None:
        """Remove a file; one of another user, which a sticky folder protects, is emptied."""
        with contextlib.suppress(OSError):  # whoever owns it, or the folder, clears it away later
            try:
                os.unlink(name, dir_fd=self._folder)
            except PermissionError:
                fd = os.open(name, os.O_WRONLY | _OPEN, dir_fd=self._folder)
                try:
                    if _plain_file(os.fstat(fd)):
                        os.ftruncate(fd, 0)
                finally:
                    os.close(fd)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False  # closing it ends our lock


def _plain_file(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1  # a second name may be a file of the user's elsewhere


def _same(name: str | Path, fd: int, *, within: int | None = None) -> bool:
    """Whether the name still leads to the open file."""
    if fd < 0:
        return False
    try:
        return os.path.samestat(os.stat(name, dir_fd=within, follow_symlinks=False), os.fstat(fd))
    except OSError:
        return False


def _write(fd: int, text: bytes, place: int) -> None:
    """All of it, or an OSError."""
    left = memoryview(text)
    while left:
        count = os.pwrite(fd, left, place)
        left, place = left[count:], place + count


def _after_fork() -> None:
    for folder in list(_open_folders):
        folder.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
