"""The append-only record of runs: Journal writes it, JournalReader reads it, also beside a process that writes.

An awaited write is durable: it survives the end of the process in any way. Never decides what is worth keeping, and
never changes an entry.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.errors import UsageError
from vwt_agents.journal import measurements, rows
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.reader import JournalReader, default_path
from vwt_agents.journal.writer import Size, Writer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vwt_agents.entries import Entry, RunStatus
    from vwt_agents.footprint import Measurement

__all__ = ["Journal", "JournalReader", "default_path", "new_run_id"]

_BRIEF: Final = 4096
"""Bytes of an entry that may be written on the event loop: packing more would keep it longer than the write does."""


def new_run_id(pipeline: str, now: datetime) -> str:
    """A short id that sorts by time and says what ran, such as `20261124-041503-codegen-7f3a`."""
    slug = "".join(char if char.isascii() and char.isalnum() else "-" for char in pipeline.lower())
    name = "-".join(part for part in slug.split("-") if part)[:32] or "run"
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}"


class Journal(JournalReader):
    """A journal open for writing; also reads. Made by `Journal.open`."""

    def __init__(self, path: Path, writer: Writer, numbers: rows.Numbers, files: ContentFiles) -> None:
        super().__init__(path)
        self._files = files
        self._writer = writer
        self._numbers = numbers

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path | None = None, *, full: bool = False) -> AsyncIterator[Journal]:
        """The journal at `path` (default: `default_path()`), made if need be; what is waiting is written before it
        closes.

        `full` makes a write also survive a power cut (synchronous FULL), for an fsync per transaction. JournalError says
        why the file can't be written.
        """
        path = default_path() if path is None else path
        numbers = rows.Numbers()
        writer = Writer(path, full=full, on_rollback=numbers.clear)
        await writer.start()
        try:
            yield cls(path, writer, numbers, ContentFiles(path, full=full))
        finally:
            with anyio.CancelScope(shield=True):
                await writer.close()

    @property
    def transactions(self) -> int:
        """How many transactions have been committed: fewer than the writes, because those that wait share one."""
        return self._writer.transactions

    async def new_run(
        self,
        pipeline: str,
        *,
        run_id: str | None = None,
        file: str = "",
        inputs: str = "{}",
        settings: str = "",
        promoted: bool = False,
        tier: str = "small",
        out_dir: str = "",
        parent: str | None = None,
        parent_seq: int | None = None,
    ) -> str:
        """The id of a new run, owned by this process; `run_id` gives one made with `new_run_id` when the folder needs
        it first.
        """
        now = datetime.now(UTC)
        start = rows.RunStart(
            id=run_id or new_run_id(pipeline, now),
            pipeline=pipeline,
            file=file,
            started_at=now,
            promoted=promoted,
            tier=tier,
            inputs=inputs,
            settings=settings,
            out_dir=out_dir,
            parent=parent,
            parent_seq=parent_seq,
        )
        while not await self._writer.do(partial(rows.insert_run, start=start, files=self._files)):
            if run_id is not None:
                raise UsageError(f"there is a run {run_id!r} already", hint="leave run_id out to get a new one")
            start = start.renamed(new_run_id(pipeline, now))  # two runs of one pipeline in a second, then 1 in 65536
        return start.id

    async def reopen_run(self, run_id: str) -> None:
        """Make this process the owner of a run that ended or was interrupted; UsageError while another process runs
        it.
        """
        await self._writer.do(lambda connection: rows.reopen_run(connection, run_id))

    async def finish_run(self, run_id: str, status: RunStatus, *, exit_code: int, summary: str | None = None) -> None:
        """Record how the run ended; `summary` is JSON."""
        now = datetime.now(UTC)
        await self._writer.do(
            lambda connection: rows.finish_run(connection, run_id, status, exit_code, summary, now, self._files)
        )
        self._numbers.forget(run_id)

    async def append(self, entry: Entry, *, at_once: bool = False) -> int:
        """Write an entry and return its number in the run (1, 2, ...) once it is durable.

        The entry is accepted before the first wait: cancelling the caller neither loses nor halves it. Entries of one
        turn of the event loop share a commit; `at_once` is for who knows that no other is about to come.
        """
        row = rows.entry_row(entry)

        def work(connection: sqlite3.Connection) -> int:
            return rows.insert_entry(connection, row, self._numbers, self._files)

        size = Size.LONG if row.size > _BRIEF else Size.BRIEF if row.longs else Size.STATEMENT
        if at_once and size is Size.STATEMENT and (number := self._writer.here(work)) is not None:
            return number
        return await self._writer.do(work, size)

    async def remember(self, measurement: Measurement) -> Measurement:
        """Keep what a model was measured to take; the measurement that counts now under the same conditions."""
        return await self._writer.do(lambda connection: measurements.remember(connection, measurement))

    async def forget(self, digest: str) -> int:
        """Drop all that was measured of these weights, also that they spilled; how many measurements that were."""
        return await self._writer.do(lambda connection: measurements.forget(connection, digest))
