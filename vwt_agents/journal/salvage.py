"""Which records of a damaged journal are rows of it, and sound. Pure, but for reading the values' files.

A record is known by the number and types of its columns, of any version of the tables; of two for one row the one that
stands up to its sum counts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.journal.checking import Damage
from vwt_agents.journal.rows import SEQ
from vwt_agents.journal.soundness import (
    ContentRow,
    EntryFields,
    PartRow,
    RunFields,
    content_fault,
    entry_fault,
    fits,
    run_fault,
)
from vwt_agents.journal.sums import entry_sum

if TYPE_CHECKING:
    from vwt_agents.journal.contents import ContentFiles
    from vwt_agents.journal.pages import Pages, Record

__all__ = ["LOST", "Salvaged", "salvage"]

LOST: Final = "entry.lost"
"""The name of the event in a lost entry's place."""

_MOST: Final = 100_000


@dataclass(slots=True)
class Salvaged:
    """The rows that are sound, by number, and what of the rest is known."""

    contents: dict[int, ContentRow] = field(default_factory=dict)
    runs: dict[int, RunFields] = field(default_factory=dict)
    entries: dict[int, EntryFields] = field(default_factory=dict)
    parts: dict[int, list[PartRow]] = field(default_factory=dict)
    measurements: list[tuple[Any, ...]] = field(default_factory=list)
    lost: list[Damage] = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    """Candidates: a row may stand in several pages, one of them damaged or old."""

    contents: dict[int, list[ContentRow]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[int, list[RunFields]] = field(default_factory=lambda: defaultdict(list))
    entries: dict[int, list[EntryFields]] = field(default_factory=lambda: defaultdict(list))
    parts: dict[int, dict[int, PartRow]] = field(default_factory=lambda: defaultdict(dict))
    measurements: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Note what the record may be."""
        columns = record.columns
        if record.rowid is not None:
            self._take_row(record.rowid, columns)
        elif len(columns) == 5 and fits(PartRow, columns):
            self._take_part(PartRow(*columns))  # type: ignore[arg-type] # it fits
        elif len(columns) in {6, 9, 11} and isinstance(columns[0], int) and isinstance(columns[1], int):
            self._take_old(columns[0] << 32 | columns[1] & SEQ, columns[2:])
        elif len(columns) == 10 and isinstance(columns[0], str) and isinstance(columns[7], int):
            self.measurements[columns[:6]] = columns

    def _take_row(self, rowid: int, columns: tuple[Any, ...]) -> None:
        if not columns or columns[0] is not None:
            return
        row = (rowid, *columns[1:])
        if len(row) in {5, 6} and fits(ContentRow, row := (*row, 0)[:6]):
            self.contents[rowid].append(ContentRow(*row))
        elif len(row) in {20, 22} and fits(RunFields, row := (*row, None, None)[:22]):
            self.runs[rowid].append(RunFields(*row))
        elif len(row) == 12 and fits(EntryFields, row):
            self._take_entry(EntryFields(*row))

    def _take_entry(self, row: EntryFields) -> None:
        # a float without a fraction is stored as an integer
        self.entries[row.id].append(row if row.seconds is None else row._replace(seconds=float(row.seconds)))

    def _take_part(self, part: PartRow) -> None:
        self.parts[part.entry].setdefault(part.position, part)

    def _take_old(self, number: int, rest: tuple[Any, ...]) -> None:
        """A row of an earlier version, where run and number were two columns."""
        if len(rest) == 4 and fits(PartRow, (number, *rest)):
            self._take_part(PartRow(number, *rest))
        elif fits(EntryFields, row := (number, *rest, *(None,) * (11 - len(rest)))):
            self._take_entry(EntryFields(*row))


def salvage(pages: Pages, files: ContentFiles) -> Salvaged:
    """All rows that are sound, and of each run what is lost."""
    found, saved = _Found(), Salvaged()
    for record in pages.records():
        found.take(record)
    saved.measurements = list(found.measurements.values())
    for number, contents in found.contents.items():
        if (content := next((one for one in contents if content_fault(one, files) is None), None)) is not None:
            saved.contents[number] = content
    digests = {number: row.digest for number, row in saved.contents.items()}
    for number, runs in found.runs.items():
        _save_run(saved, number, runs, digests)
    _save_entries(saved, found, digests)
    _tell_gaps(saved, found)
    _cut_off_parents(saved)
    return saved


def _save_run(saved: Salvaged, number: int, rows: list[RunFields], digests: dict[int, bytes]) -> None:
    rows.sort(key=lambda row: row.ended_at or 0, reverse=True)
    faults = [run_fault(row, digests) for row in rows]
    row = next((row for row, fault in zip(rows, faults, strict=True) if fault is None), None)
    if row is None:
        saved.lost.append(Damage(f"run {rows[0].id}", f"the whole run: {faults[0]}"))
        return
    if row.summary is not None and row.summary not in digests:
        saved.lost.append(Damage(f"run {row.id}", "its summary"))
        row = row._replace(summary=None)
    saved.runs[number] = row


def _save_entries(saved: Salvaged, found: _Found, digests: dict[int, bytes]) -> None:
    for number in sorted(found.entries):
        if number >> 32 not in saved.runs:
            continue
        named = found.parts.get(number, {})
        parts = [named[position] for position in sorted(named)]
        for row in found.entries[number]:
            if entry_fault(row, parts, digests) is None:
                saved.entries[number] = row
                if parts:
                    saved.parts[number] = parts
                break


def _tell_gaps(saved: Salvaged, found: _Found) -> None:
    """Which entries of each run are lost: their numbers have no gaps, and a run that has ended knows how many it had."""
    there: dict[int, set[int]] = defaultdict(set)
    for number in saved.entries:
        there[number >> 32].add(number & SEQ)
    for number, row in saved.runs.items():
        last = max(max(there[number], default=0), row.entries or 0)
        if last - len(there[number]) > _MOST:  # a number that is none, of a row without a sum
            saved.lost.append(Damage(f"run {row.id}", "it is not known which of its entries"))
        elif gaps := [seq for seq in range(1, last + 1) if seq not in there[number]]:
            saved.lost.append(Damage(f"run {row.id}", f"entries {', '.join(map(str, gaps))}"))
            saved.entries.update((number << 32 | seq, _lost(number << 32 | seq, row.started_at)) for seq in gaps)
    left: dict[int, int] = defaultdict(int)
    for number in found.entries:
        left[number >> 32] += 1
    for number in sorted(left.keys() - found.runs.keys()):
        saved.lost.append(
            Damage(f"run number {number}", f"the whole run: its row is lost, and with it {left[number]} entries")
        )


def _lost(number: int, when: int) -> EntryFields:
    """What stands in a lost entry's place, for whoever looks at the run."""
    row = EntryFields(number, "event", LOST, "", None, "lost", when, None, None, None, None, None)
    return row._replace(sum=entry_sum(number, row[1:-1], ()))


def _cut_off_parents(saved: Salvaged) -> None:
    for number, row in list(saved.runs.items()):
        if row.parent is not None and row.parent not in saved.runs:
            saved.lost.append(Damage(f"run {row.id}", "the run it was forked from"))
            alone = row._replace(parent=None, parent_seq=None)
            saved.runs[number] = alone._replace(sum=alone.summed(saved.contents[row.inputs].digest))
