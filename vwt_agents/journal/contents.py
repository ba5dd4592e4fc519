"""Long values, each kept once, by the sha256 of its bytes. Owns the contents table and the folder of files beside the
journal; never says who refers to a value.

Up to 64 KiB, packed, a value is a row: written and read quicker than a file. A longer one is a file named by its
digest: it would be written twice, into the log and from there into the database, and moved about with every vacuum
(`bench/journal.py` measures both). A file is there before the row that counts on it is committed. Files are written
within the transaction that inserts their row, so who holds the write lock sees no file that somebody still means to use.
"""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import JournalError
from vwt_agents.whole import write_whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ContentFiles", "digest_of", "keep", "packed", "unpacked"]

FILE_FROM: Final = 65_536
"""Packed bytes from which on a value is a file."""


class ContentFiles:
    """The folder of a journal's long values. `full` makes a file survive a power cut before its row is committed."""

    def __init__(self, journal: Path, *, full: bool = False) -> None:
        self.folder = journal.with_name(f"{journal.name}.contents")
        self._full = full

    def path(self, digest: bytes) -> Path:
        """Where the value with this sha256 is."""
        name = digest.hex()
        return self.folder / name[:2] / name[2:]

    def write(self, digest: bytes, data: bytes) -> None:
        """Keep a value's packed bytes, whole or not at all."""
        path = self.path(digest)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, data, mode=0o600, durable=self._full)

    def read(self, digest: bytes) -> bytes:
        """A value's packed bytes; JournalError where the file is gone."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise JournalError(
                f"the journal's file {self.path(digest)} is gone", hint="python -m vwt_agents runs check"
            ) from error

    def all(self) -> Iterator[tuple[bytes | None, Path]]:
        """Every file of the folder, with the digest its name says; None for one that is no value, such as half a one."""
        for path in sorted(self.folder.glob("*/*")):
            try:
                digest = bytes.fromhex(path.parent.name + path.name)
            except ValueError:
                digest = b""
            yield digest if len(digest) == 32 else None, path


def keep(connection: sqlite3.Connection, files: ContentFiles, raw: bytes, digest: bytes) -> int:
    """The number of these bytes in contents, which holds them once."""
    found = connection.execute("SELECT n FROM contents WHERE digest = ?", (digest,)).fetchone()
    if found is not None:
        return int(found[0])
    is_packed, data = packed(raw)
    is_file = len(data) > FILE_FROM
    if is_file:
        files.write(digest, data)
    inserted = connection.execute(
        "INSERT INTO contents (digest, size, packed, data, file) VALUES (?, ?, ?, ?, ?)",
        (digest, len(raw), is_packed, b"" if is_file else data, is_file),
    )
    assert inserted.lastrowid is not None
    return inserted.lastrowid


def packed(raw: bytes) -> tuple[bool, bytes]:
    """Whether packing pays, and the bytes to keep."""
    data = zlib.compress(raw, 6) if len(raw) > 128 else raw
    pays = len(data) <= len(raw) * 0.9
    return pays, data if pays else raw


def unpacked(data: bytes, *, is_packed: bool, size: int) -> bytes:
    """The bytes as they were given; ValueError where these cannot have been made of them."""
    try:
        raw = zlib.decompress(data) if is_packed else data
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) != size:
        raise ValueError(f"a value of {size} bytes has {len(raw)}")
    return raw


def digest_of(raw: bytes) -> bytes:
    """The name of a value."""
    return sha256(raw).digest()
