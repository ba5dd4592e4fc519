"""A page as text, written twice in turns, so that a write that was cut off leaves the one before it.

A file has two places of SLOT bytes. In each is one line: a checksum, the number of its turn, and the page as JSON. The whole
line with the later turn counts. Never raises for a text that is no page: that has no page.
"""

from __future__ import annotations

import errno
import math
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydantic import TypeAdapter, ValidationError

from vwt_agents.ledger.books import Claim, Page, Want

__all__ = ["SLOT", "page_of", "text_of"]

SLOT: Final = 1 << 14
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class _Written:
    version: int
    pid: int
    who: str
    user: str
    boot: str
    claims: tuple[Claim, ...]
    wants: tuple[Want, ...]


def text_of(page: Page, boot: str, turn: int) -> bytes:
    """The line to write of a page; OSError when it is longer than its place."""
    written = _Written(_VERSION, page.pid, page.who, page.user, boot, page.claims, page.wants)
    body = b"%d %s" % (turn, _adapter().dump_json(written))
    line = b"%08x %s\n" % (zlib.crc32(body), body)
    if len(line) > SLOT:
        raise OSError(errno.EFBIG, f"{len(page.claims)} claims and {len(page.wants)} wants are more than a page takes")
    return line


def page_of(owner: str, file: bytes) -> Page | None:
    """The page that was written last; None for anything else, also for one of another version."""
    _, text = max(_line(file[:SLOT]), _line(file[SLOT:]))
    try:
        found = _adapter().validate_json(text, strict=True)
    except (ValidationError, ValueError):
        return None
    figures = [claim.mib for claim in found.claims] + [want.mib for want in found.wants]
    moments = [moment for want in found.wants for moment in (want.since, want.renewed)]
    if found.version != _VERSION or min(figures, default=0) < 0 or not all(map(math.isfinite, moments)):
        return None
    return Page(owner, found.pid, found.who, found.user, found.boot, found.claims, found.wants)


def _line(place: bytes) -> tuple[int, bytes]:
    """Turn and JSON of a whole line; before all turns when it is not whole."""
    line, end, _ = place.partition(b"\n")
    checksum, _, body = line.partition(b" ")
    turn, _, text = body.partition(b" ")
    whole = end and checksum == b"%08x" % zlib.crc32(body) and turn.isdigit() and len(turn) < 20
    return (int(turn), text) if whole else (-1, b"")


@cache
def _adapter() -> TypeAdapter[_Written]:
    return TypeAdapter(_Written)
