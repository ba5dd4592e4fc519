"""Whether a journal is sound: SQLite's own check of its pages, the log frame by frame, and every row against its sum.

Changes nothing, and may be done while a run writes: it looks at one moment.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.errors import JournalError
from vwt_agents.journal.connecting import open_to_read, wal_of
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.pages import read_log
from vwt_agents.journal.rows import SEQ
from vwt_agents.journal.soundness import (
    CONTENTS,
    RUNS,
    ContentRow,
    EntryFields,
    PartRow,
    RunFields,
    content_fault,
    entry_fault,
    fits,
    run_fault,
)
from vwt_agents.migrations import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Damage", "Report", "check"]

_MOST: Final = 100  # of what SQLite finds
_ENTRIES: Final = """
    SELECT e.id, e.kind, e.name, e.key, e.fingerprint, e.status, e.started_at, e.seconds, e.is_text, e.payload, e.texts,
           e.sum, p.entry, p.position, p.is_text, p.data, p.content
    FROM entries e LEFT JOIN parts p ON p.entry = e.id ORDER BY e.id, p.position"""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong: where (the file, its log, a run, an entry of it, a value), and what."""

    where: str
    what: str


@dataclass(slots=True)
class Report:
    """What a check found. `unused` values and files are no damage: `runs gc` frees them."""

    path: str
    damage: list[Damage] = field(default_factory=list)
    runs: int = 0
    entries: int = 0
    contents: int = 0
    files: int = 0
    unused: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage

    def add(self, where: str, what: str | None) -> None:
        """Note it, where there is something."""
        if what is not None:
            self.damage.append(Damage(where, what))


def check(path: Path) -> Report:
    """Everything that is wrong with the journal at `path`; JournalError where the file cannot be read at all."""
    report, files = Report(str(path)), ContentFiles(path)
    if not path.exists():
        return report
    try:
        log = wal_of(path)
        frames = read_log(log.read_bytes()).damaged if log.exists() else 0
    except OSError as error:
        raise JournalError(f"the journal {path} could not be read: {error.strerror}") from error
    if frames:
        report.add("log", f"{frames} frames are damaged, and whole ones come after them")
    try:
        with open_to_read(path) as connection:
            connection.execute("BEGIN")  # one moment, whoever writes
            for look in (_of_sqlite, _of_rows):
                try:
                    look(connection, files, report)
                except (sqlite3.Error, ValueError, OverflowError, TypeError) as error:
                    report.add("file", str(error))
    except (OSError, ValueError, sqlite3.Error) as error:
        report.add("file", str(error))
    except JournalError as error:
        if error.message.endswith(f"version {len(MIGRATIONS)}"):  # a later one is none of ours to judge
            raise
        report.add("file", error.message)
    return report


def _of_sqlite(connection: sqlite3.Connection, _files: ContentFiles, report: Report) -> None:
    for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST})"):
        if line != "ok":
            report.add("file", str(line))
    for table, rowid, target, _ in connection.execute("PRAGMA foreign_key_check"):
        report.add("file", f"row {rowid} of {table} names one of {target} that is not there")


def _of_rows(connection: sqlite3.Connection, files: ContentFiles, report: Report) -> None:
    digests = _contents(connection, files, report)
    names: dict[int, str] = {}
    last: dict[int, int] = {}
    there: Counter[int] = Counter()
    for row in connection.execute(RUNS):
        report.runs += 1
        names[row[0]] = f"run {row[1]}"
        whole = fits(RunFields, row)
        report.add(names[row[0]], run_fault(RunFields(*row), digests) if whole else "its row is not what was written")
        last[row[0]] = RunFields(*row).entries or 0 if whole else 0
    for entry, parts in _entries(connection):
        report.entries += 1
        number, seq = entry[0] >> 32, entry[0] & SEQ
        there[number] += 1
        last[number] = max(last.get(number, 0), seq)
        run = names.get(number, f"run number {number}, which is not there")
        report.add(f"entry {seq} of {run}", _fault(entry, parts, digests))
    for number, name in names.items():
        if (gone := last[number] - there[number]) > 0:
            report.add(name, f"{gone} of its entries are not there")


def _entries(connection: sqlite3.Connection) -> Iterator[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    count = len(EntryFields._fields)
    for _, group in groupby(connection.execute(_ENTRIES), key=lambda row: row[0]):
        rows = list(group)
        yield rows[0][:count], [row[count:] for row in rows if row[count] is not None]


def _fault(entry: tuple[Any, ...], parts: list[tuple[Any, ...]], digests: dict[int, bytes]) -> str | None:
    if not fits(EntryFields, entry) or not all(fits(PartRow, part) for part in parts):
        return "it is not what was written"
    return entry_fault(EntryFields(*entry), [PartRow(*part) for part in parts], digests)


def _contents(connection: sqlite3.Connection, files: ContentFiles, report: Report) -> dict[int, bytes]:
    """The digests of the values that are sound, by number."""
    digests: dict[int, bytes] = {}
    named: set[bytes] = set()
    for row in connection.execute(CONTENTS):
        report.contents += 1
        fault = content_fault(ContentRow(*row), files) if fits(ContentRow, row) else "it is not what was written"
        if fault is None:
            digests[row[0]] = row[1]
        else:
            report.add(f"value {row[0]}", fault)
        if row[5] and isinstance(row[1], bytes):
            named.add(row[1])
    for digest, _ in files.all():
        report.files += 1
        report.unused += digest not in named
    (unused,) = connection.execute(
        """SELECT count(*) FROM contents c WHERE NOT EXISTS (SELECT 1 FROM parts p WHERE p.content = c.n)
           AND c.n NOT IN (SELECT inputs FROM runs)
           AND c.n NOT IN (SELECT summary FROM runs WHERE summary IS NOT NULL)"""
    ).fetchone()
    report.unused += unused
    return digests
