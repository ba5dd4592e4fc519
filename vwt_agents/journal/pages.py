"""Records out of the pages of an SQLite file, without its trees: what is left where SQLite itself reads no more.

Pure: bytes in, records out; knows SQLite's file format and nothing of a journal. A page that makes no sense gives no record,
and never an error. The log beside a file is read frame by frame: one that is damaged does not hide those after it, as it
does for SQLite, because every frame carries the checksum that the next one goes on from.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Column", "Log", "Pages", "Record", "read_log"]

Column: TypeAlias = int | float | bytes | str | None

_PAGE: Final = 4096
_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX = 0x0D, 0x0A, 0x02
_TRUNK, _FRAME = 32, 24
_SIZES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes of an integer, by serial type


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a table (`rowid`) or of an index or a table without rowids (None), as its stored columns."""

    rowid: int | None
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Log:
    """What a log adds to its file: the newest committed content of pages, and how many frames before that are damaged.

    `count` is how many pages the file has with them; 0 where there are none.
    """

    pages: dict[int, bytes]
    damaged: int = 0
    count: int = 0


def read_log(data: bytes) -> Log:
    """The pages of a log (`-wal`) up to the last commit that is whole; none for bytes that are no log."""
    if len(data) < _TRUNK or data[:4] not in {b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"}:
        return Log({})
    order = ">" if data[3] & 1 else "<"
    (size,) = struct.unpack_from(">I", data, 8)
    if size < 512 or size & (size - 1):
        return Log({})
    salt = data[16:24]
    before = struct.unpack_from(">II", data, 24)
    pages: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    damaged = unsure = count = 0
    for at in range(_TRUNK, len(data) - _FRAME - size + 1, _FRAME + size):
        number, commit = struct.unpack_from(">II", data, at)
        stored = struct.unpack_from(">II", data, at + 16)
        if data[at + 8 : at + 16] != salt:
            break  # of an earlier use of the log
        page = data[at + _FRAME : at + _FRAME + size]
        if _checksum(order, data[at : at + 8] + page, before) == stored and number:
            pending[number] = page
            if commit:
                pages |= pending
                pending = {}
                damaged += unsure
                unsure, count = 0, commit
        else:
            unsure += 1
        before = stored
    return Log(pages, damaged, count)


def _checksum(order: str, data: bytes, start: tuple[int, int]) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = one + first + two & 0xFFFFFFFF
        two = two + second + one & 0xFFFFFFFF
    return one, two


class Pages:
    """The pages of a file with its log applied. `records()` are all that can be read of them."""

    def __init__(self, file: bytes, log: Log) -> None:
        self._file = file
        self._log = log.pages
        first = self._log.get(1, file[:100])
        size = struct.unpack_from(">H", first.ljust(100, b"\0"), 16)[0]
        size = 65536 if size == 1 else size
        valid = first[:6] == b"SQLite" and size >= 512 and not size & (size - 1)
        self.size: int = size if valid else next((len(page) for page in self._log.values()), _PAGE)
        self.usable = self.size - (first[20] if valid and first[20] < 128 else 0)
        self.count = log.count or -(-len(file) // self.size)

    def page(self, number: int) -> bytes:
        """A page from 1 on; short or empty where the file ends before it does."""
        if number in self._log:
            return self._log[number]
        return self._file[(number - 1) * self.size : number * self.size] if number > 0 else b""

    def records(self) -> Iterator[Record]:
        """Every record of every page that is in use, the same one perhaps twice."""
        free = self._free()
        for number in range(1, self.count + 1):
            if number not in free:
                yield from self._of_page(number)

    def _free(self) -> set[int]:
        """The pages that hold what was deleted."""
        free: set[int] = set()
        head = self.page(1)
        trunk = struct.unpack_from(">I", head, 32)[0] if len(head) >= 100 else 0
        while 0 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            page = self.page(trunk)
            if len(page) < self.size:
                break
            following, leaves = struct.unpack_from(">II", page)
            if leaves > self.usable // 4 - 2:
                break
            free.update(struct.unpack_from(f">{leaves}I", page, 8))
            trunk = following
        return free

    def _of_page(self, number: int) -> Iterator[Record]:
        page = self.page(number)
        start = 100 if number == 1 else 0
        if len(page) < start + 12 or page[start] not in {_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX}:
            return
        kind = page[start]
        (cells,) = struct.unpack_from(">H", page, start + 3)
        first = start + (12 if kind == _INNER_INDEX else 8)
        for index in range(cells):
            at = first + 2 * index
            if at + 2 > len(page):
                return
            (cell,) = struct.unpack_from(">H", page, at)
            try:
                yield self._record(page, cell + (4 if kind == _INNER_INDEX else 0), with_rowid=kind == _LEAF_TABLE)
            except (IndexError, ValueError, struct.error):
                continue  # what stands there is no record

    def _record(self, page: bytes, at: int, *, with_rowid: bool) -> Record:
        length, at = _varint(page, at)
        rowid = None
        if with_rowid:
            rowid, at = _varint(page, at)
            rowid = rowid - (1 << 64) if rowid >> 63 else rowid
        return Record(rowid, _columns(self._payload(page, at, length, table=with_rowid)))

    def _payload(self, page: bytes, at: int, length: int, *, table: bool) -> bytes:
        """A record's bytes, from this page and those it runs over into."""
        usable = self.usable
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        if length > self.count * self.size:
            raise ValueError("longer than the file")
        if length <= most:
            return _cut(page, at, length)
        least = (usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
        pieces, left = [_cut(page, at, here)], length - here
        (following,) = struct.unpack_from(">I", page, at + here)
        while left:
            more = self.page(following)
            if len(more) < 4:
                raise ValueError("it goes on where nothing is")
            (following,) = struct.unpack_from(">I", more)
            pieces.append(_cut(more, 4, min(left, usable - 4)))
            left -= len(pieces[-1])
        return b"".join(pieces)


def _columns(payload: bytes) -> tuple[Column, ...]:
    header, at = _varint(payload, 0)
    if header > len(payload):
        raise ValueError("a header longer than its record")
    types: list[int] = []
    while at < header:
        kind, at = _varint(payload, at)
        types.append(kind)
    columns: list[Column] = []
    for kind in types:
        value, at = _value(payload, at, kind)
        columns.append(value)
    return tuple(columns)


def _value(payload: bytes, at: int, kind: int) -> tuple[Column, int]:
    if kind in {0, 8, 9}:
        return (None if kind == 0 else kind - 8), at
    if kind in _SIZES:
        size = _SIZES[kind]
        return int.from_bytes(_cut(payload, at, size), "big", signed=True), at + size
    if kind == 7:
        return float(struct.unpack(">d", _cut(payload, at, 8))[0]), at + 8
    if kind < 12:
        raise ValueError(f"no serial type: {kind}")
    size = (kind - 12) // 2
    raw = _cut(payload, at, size)
    return (raw.decode("utf-8") if kind & 1 else raw), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _cut(data: bytes, at: int, size: int) -> bytes:
    piece = data[at : at + size]
    if len(piece) < size or at < 0:
        raise ValueError("cut off")
    return piece
