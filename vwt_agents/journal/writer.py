"""The one thread that writes to a journal. Owns the writing connection and its transactions; knows nothing of runs.

Jobs that wait are committed together (group commit): the cost of a commit is shared by all of them, and each caller
resumes only after it. A job that fails spoils no other: its transaction is rolled back and the jobs of it are done
again one by one.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from vwt_agents.errors import JournalError, VwtError
from vwt_agents.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Writer", "as_journal_error"]

_T = TypeVar("_T")
_MOST_JOBS: Final = 256  # in one transaction, so that a flood can't hold the first caller back for long
_HINTS: Final = {
    sqlite3.SQLITE_FULL: "make room on the disk, or choose another folder with VWT_STATE",
    sqlite3.SQLITE_BUSY: "another process has kept it locked for 5 s: see which vwt_agents is running",
    sqlite3.SQLITE_NOTADB: "this file is no journal: choose another folder with VWT_STATE",
    sqlite3.SQLITE_CORRUPT: "move the file away to start a new journal; `sqlite3 FILE .recover` may save what is in it",
}


def as_journal_error(path: Path, error: BaseException, doing: str) -> JournalError:
    """The JournalError of a foreign error: which file, which reason, what to do next."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    hint = _HINTS.get(code, "check that the folder exists and may be written, or choose another with VWT_STATE")
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error) or type(error).__name__
    return JournalError(f"the journal {path} could not be {doing}: {reason}", hint=hint)


@dataclass(slots=True, eq=False)
class _Job:
    """Work for the writer, and the future its caller awaits. It may be done twice, after a rollback."""

    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        """In the caller's loop: hand over what came out, unless the caller has left."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Does jobs on the journal's writing connection, in the order in which they came."""

    def __init__(self, path: Path, *, full: bool) -> None:
        self.transactions = 0
        self._path = path
        self._full = full
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()  # between accepting a job and accepting none any more
        self._ended: str | None = "not open"
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Open the file, bring its tables up to date and start the thread."""
        connection = await anyio.to_thread.run_sync(self._connect)
        self._ended = None
        # daemon: a process that ends without closing is not held up; nobody was told that what still waits is durable
        self._thread = threading.Thread(target=self._run, args=(connection,), name="vwt-journal", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` returned, once it is committed. Accepted before the first wait, so a cancelled caller's work is
        done too.
        """
        job = _Job(work, asyncio.get_running_loop().create_future())
        with self._lock:
            if self._ended is not None:
                raise JournalError(f"the journal {self._path} could not be written: {self._ended}")
            self._queue.put(job)
        result: _T = await job.future
        return result

    async def close(self) -> None:
        """Do what waits, then end the thread and close the file."""
        with self._lock:
            self._ended = self._ended or "it is closed"
            self._queue.put(None)
        if self._thread is not None:
            await anyio.to_thread.run_sync(self._thread.join)

    def _connect(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # prompts and code are the user's own
            connection = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA busy_timeout = 5000")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {'FULL' if self._full else 'NORMAL'}")
                connection.execute("PRAGMA foreign_keys = ON")
                migrate(connection, self._path)
            except BaseException:
                connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise as_journal_error(self._path, error, "opened") from error
        return connection

    def _run(self, connection: sqlite3.Connection) -> None:
        jobs: list[_Job] = []
        try:
            while jobs := self._next():
                self._commit(connection, jobs)
                _resolve(jobs)
        except BaseException as error:  # noqa: BLE001 -- a dead thread must tell whoever waits, whatever killed it
            self._die(error, jobs)
        finally:
            with suppress(sqlite3.Error):
                connection.close()

    def _next(self) -> list[_Job]:
        """All jobs that wait, at least one; none after the last."""
        jobs: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == _MOST_JOBS:
                return jobs
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._queue.put(None)  # the end comes after these
        return jobs

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        error = self._transaction(connection, jobs)
        if error is None:
            return
        for job in jobs:
            job.error = error if len(jobs) == 1 else self._transaction(connection, [job])

    def _transaction(self, connection: sqlite3.Connection, jobs: list[_Job]) -> Exception | None:
        """None when all of them are durable; otherwise none of them is, and why."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.result = job.work(connection)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 -- it goes to the job's caller
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return error if isinstance(error, VwtError) else as_journal_error(self._path, error, "written")
        self.transactions += 1
        return None

    def _die(self, error: BaseException, jobs: list[_Job]) -> None:
        with self._lock:
            self._ended = f"its writer ended: {error!r}"
        with suppress(Empty):
            while True:
                if (job := self._queue.get_nowait()) is not None:
                    jobs.append(job)
        for job in jobs:
            job.error = job.error or as_journal_error(self._path, error, "written")
        _resolve(jobs)


def _resolve(jobs: list[_Job]) -> None:
    """Wake the callers, once per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, theirs in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_resolve_here, theirs)


def _resolve_here(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()
