"""Writes to a journal. Owns the writing connection, its thread and its transactions; knows nothing of runs.

Jobs that wait are committed together (group commit): the cost of a commit is shared by all of them, and each caller
resumes only after it. A job that fails spoils no other: its transaction is rolled back and the jobs of it are done
again one by one.

Who commits is the only choice. Waking a thread and being woken by it costs several times a small commit, so brief jobs
are committed on the event loop, all that one turn of it brought in one transaction. The thread does what may keep the
loop waiting: long jobs, every commit under synchronous FULL (an fsync), waiting while another process writes, and
moving the log into the database (checkpoints), beside commits that go on. Jobs stay in the order in which they came.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from vwt_agents.errors import JournalError, VwtError
from vwt_agents.journal.checkpoints import LOG_SIZE, Checkpointer
from vwt_agents.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vwt_agents.types import Seconds

__all__ = ["Size", "Writer", "as_journal_error"]

_T = TypeVar("_T")
_MOST_JOBS: Final = 256  # in one transaction, so that a flood can't hold the first caller back for long
_BUSY_S: Final = 5.0  # how long another process may keep it locked
_CHECKPOINT_EVERY: Final = 256  # transactions; of small ones, some 3 MiB of log
_HINTS: Final = {
    sqlite3.SQLITE_FULL: "make room on the disk, or choose another folder with VWT_STATE",
    sqlite3.SQLITE_BUSY: "another process has kept it locked for 5 s: see which vwt_agents is running",
    sqlite3.SQLITE_NOTADB: "this file is no journal: choose another folder with VWT_STATE",
    sqlite3.SQLITE_CORRUPT: "`python -m vwt_agents runs repair` saves what can be read, and keeps the old file",
}


def as_journal_error(path: Path, error: BaseException, doing: str) -> JournalError:
    """The JournalError of a foreign error: which file, which reason, what to do next."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        code = sqlite3.SQLITE_FULL
    hint = _HINTS.get(code, "check that the folder exists and may be written, or choose another with VWT_STATE")
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error) or type(error).__name__
    return JournalError(f"the journal {path} could not be {doing}: {reason}", hint=hint)


class Size(Enum):
    """How much a job does: what may keep the event loop waiting, some microseconds' worth, or a single statement."""

    LONG = auto()
    BRIEF = auto()
    STATEMENT = auto()  # alone, it is a transaction by itself


@dataclass(slots=True, eq=False)
class _Job:
    """Work for the writer, and the future its caller awaits, if he has to. It may be done twice, after a rollback."""

    work: Callable[[sqlite3.Connection], Any]
    size: Size
    future: asyncio.Future[Any] | None = None
    result: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        """In the caller's loop: hand over what came out, unless the caller has left."""
        if self.future is None or self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Word(Enum):
    """What the thread is told between jobs."""

    CHECKPOINT = auto()
    END = auto()


class Writer:
    """Does jobs on the journal's writing connection, in the order in which they came."""

    def __init__(self, path: Path, *, full: bool, on_rollback: Callable[[], None] = lambda: None) -> None:
        self.transactions = 0
        self._path = path
        self._full = full
        self._on_rollback = on_rollback
        self._queue: SimpleQueue[_Job | _Word] = SimpleQueue()
        self._queued = 0  # jobs that the thread has not done yet
        self._brief: list[_Job] = []  # what the loop will commit in its next turn
        self._lock = threading.Lock()  # between accepting a job and accepting none any more; guards the three above
        self._ended: str | None = "not open"
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._committing = threading.Lock()  # held by whoever uses the connection
        self._checkpointed = 0  # transactions before the last checkpoint

    async def start(self) -> None:
        """Open the file, bring its tables up to date and start the thread."""
        self._connection = connection = await anyio.to_thread.run_sync(self._connect)
        self._ended = None
        # daemon: a process that ends without closing is not held up; nobody was told that what still waits is durable
        self._thread = threading.Thread(target=self._run, args=(connection,), name="vwt-journal", daemon=True)
        self._thread.start()

    def here(self, statement: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """What a single statement gave, committed on the spot; None where it has to wait its turn, or something was wrong
        with it: `do` it, then.
        """
        # Without the lock: what comes later is later.
        if self._ended or self._full or self._queued or self._brief or self._connection is None:
            return None
        if not self._committing.acquire(blocking=False):
            return None
        try:
            given = statement(self._connection)
        except Exception:  # noqa: BLE001 - whoever does it again will say what it is
            self._on_rollback()
            return None
        finally:
            self._committing.release()
        self.transactions += 1
        self._checkpoint_in_time()
        return given

    async def do(self, work: Callable[[sqlite3.Connection], _T], size: Size = Size.LONG) -> _T:
        """What `work` returned, once it is committed. Accepted before the first wait, so a cancelled caller's work is
        done too. It may be done twice, after a rollback.
        """
        job = _Job(work, size)
        loop = asyncio.get_running_loop()
        job.future = loop.create_future()
        with self._lock:
            if self._ended is not None:
                raise JournalError(f"the journal {self._path} could not be written: {self._ended}")
            if size is Size.LONG or self._full or self._queued:
                self._hand_over((job,))
            else:
                self._brief.append(job)
                if len(self._brief) == 1:
                    loop.call_soon(self._commit_here)
        result: _T = await job.future
        return result

    def _hand_over(self, jobs: Sequence[_Job]) -> None:
        """To the thread, after what came before; the lock is held."""
        before, self._brief = self._brief, []
        for job in (*before, *jobs):
            self._queued += 1
            self._queue.put(job)

    def _commit_here(self) -> None:
        """On the event loop: commit the brief jobs of its last turn."""
        with self._lock:
            jobs, self._brief = self._brief, []  # none, if the thread got them, before a job that came after them
        if not jobs:
            return
        if self._commit_now(jobs):
            _resolve(jobs, asyncio.get_running_loop())
            return
        with self._lock:
            self._brief[:0] = jobs
            self._hand_over(())

    def _commit_now(self, jobs: list[_Job]) -> bool:
        """Commit without waiting for anybody. False when that cannot be: whatever went wrong is for the thread."""
        if self._connection is None or not self._committing.acquire(blocking=False):
            return False
        try:
            done = self._ended is None and self._transaction(self._connection, jobs, patience=0.0) is None
        finally:
            self._committing.release()
        self._checkpoint_in_time()
        return done

    def _checkpoint_in_time(self) -> None:
        if self.transactions - self._checkpointed == _CHECKPOINT_EVERY:
            self._queue.put(_Word.CHECKPOINT)

    async def close(self) -> None:
        """Do what waits, then end the thread and close the file."""
        with self._lock:
            self._ended = self._ended or "it is closed"
            self._hand_over(())
            self._queue.put(_Word.END)
        if self._thread is not None:
            await anyio.to_thread.run_sync(self._thread.join)

    def _connect(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # prompts and code are the user's own
            connection = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA busy_timeout = 5000")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file: `runs gc` gives back in steps
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA journal_size_limit = {LOG_SIZE}")
                connection.execute(f"PRAGMA synchronous = {'FULL' if self._full else 'NORMAL'}")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA wal_autocheckpoint = 0")  # a commit on the loop must not be the one to do it
                migrate(connection, self._path)
                connection.execute("PRAGMA busy_timeout = 0")  # the loop never waits, the thread does so by itself
            except BaseException:
                connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise as_journal_error(self._path, error, "opened") from error
        return connection

    def _run(self, connection: sqlite3.Connection) -> None:
        jobs: list[_Job] | None = []
        log = Checkpointer(self._path, self._committing)
        try:
            while (jobs := self._next()) is not None:
                if jobs:
                    with self._committing:
                        self._commit(connection, jobs)
                    with self._lock:
                        self._queued -= len(jobs)
                    _resolve(jobs)
                if self.transactions - self._checkpointed >= _CHECKPOINT_EVERY:
                    self._checkpointed = self.transactions
                    log.checkpoint()
        except BaseException as error:  # noqa: BLE001 -- a dead thread must tell whoever waits, whatever killed it
            self._die(error, jobs or [])
        finally:
            log.close()
            with self._committing, suppress(sqlite3.Error):
                connection.close()

    def _next(self) -> list[_Job] | None:
        """All jobs that wait, none when there is only a checkpoint to do; None after the last."""
        jobs: list[_Job] = []
        item = self._queue.get()
        while item is not _Word.END:
            if isinstance(item, _Job):
                jobs.append(item)
                if len(jobs) == _MOST_JOBS:
                    return jobs
            try:
                item = self._queue.get_nowait()
            except Empty:
                return jobs
        if not jobs:
            return None
        self._queue.put(_Word.END)  # it comes after these
        return jobs

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        error = self._transaction(connection, jobs, patience=_BUSY_S)
        if error is None:
            return
        for job in jobs:
            job.error = error if len(jobs) == 1 else self._transaction(connection, [job], patience=_BUSY_S)

    def _transaction(self, connection: sqlite3.Connection, jobs: list[_Job], *, patience: Seconds) -> Exception | None:
        """None when all of them are durable; otherwise none of them is, and why."""
        try:
            if len(jobs) == 1 and jobs[0].size is Size.STATEMENT and not patience:
                jobs[0].result = jobs[0].work(connection)
            else:
                _begin(connection, patience)
                for job in jobs:
                    job.result = job.work(connection)
                connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 -- it goes to the job's caller
            self._on_rollback()
            return error if isinstance(error, VwtError) else as_journal_error(self._path, error, "written")
        finally:
            if connection.in_transaction:
                self._on_rollback()
                connection.execute("ROLLBACK")
        self.transactions += 1
        return None

    def _die(self, error: BaseException, jobs: list[_Job]) -> None:
        with self._lock:
            self._ended = f"its writer ended: {error!r}"
            self._hand_over(())
        with suppress(Empty):
            while True:
                if isinstance(item := self._queue.get_nowait(), _Job):
                    jobs.append(item)
        for job in jobs:
            job.error = job.error or as_journal_error(self._path, error, "written")
        _resolve(jobs)


def _begin(connection: sqlite3.Connection, patience: Seconds) -> None:
    """Become the one who writes, within `patience` seconds."""
    until, pause = time.monotonic() + patience, 0.001
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _resolve(jobs: list[_Job], here: asyncio.AbstractEventLoop | None = None) -> None:
    """Wake the callers, once per event loop; `here` is the one that is running."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        if job.future is not None:
            by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, theirs in by_loop.items():
        if loop is here:
            _resolve_here(theirs)
            continue
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_resolve_here, theirs)


def _resolve_here(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()
