"""How an entry's texts stand in its row, and the sums that tell a damaged row from a whole one. Pure: bytes in, bytes out.

SQLite sees when its own pages make no sense, not when a letter of a value has changed. So every entry carries the crc32 of
all it says, and a run that of what never changes of it. Longer values are known by their sha256, which goes into the sum.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Text", "entry_sum", "joined", "parted", "run_sum"]

Text: TypeAlias = tuple[bool, bytes | None]
"""Whether it is a str, as UTF-8, and its bytes; None where they are too long to stand in the row."""


def joined(texts: Iterable[Text]) -> bytes:
    """Texts one after the other: `t` or `b`, length, `:`, bytes; `-` for a long one."""
    return b"".join(
        [b"-" if raw is None else b"%c%d:%b" % (b"t" if is_text else b"b", len(raw), raw) for is_text, raw in texts]
    )


def parted(data: bytes) -> list[Text]:
    """The texts that were joined; ValueError for bytes that `joined` does not make."""
    texts: list[Text] = []
    at = 0
    while at < len(data):
        kind = data[at : at + 1]
        if kind == b"-":
            texts.append((False, None))
            at += 1
            continue
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at + 1 : colon])
        if kind not in {b"t", b"b"} or not colon < end <= len(data):
            raise ValueError(f"no text at byte {at}")
        texts.append((kind == b"t", data[colon + 1 : end]))
        at = end
    return texts


def entry_sum(number: int, columns: Sequence[object], digests: Iterable[bytes]) -> int:
    """Of an entry: its number, its columns from kind to texts, and the digests of its long values in their order."""
    # As `ascii` of the list of the first eight, put together by hand: it is needed for every entry.
    kind, name, key, mark, status, started, seconds, flag, payload, texts = columns
    head = f"{number}[{kind!r}, {name!r}, {key!r}, {mark!r}, {status!r}, {started!r}, {seconds!r}, {flag!r}]"
    total = zlib.crc32(head.encode("ascii", "backslashreplace"))
    total = zlib.crc32(b"%b/%b" % (payload or b"", texts or b""), total)  # type: ignore[str-format] # bytes, both
    for digest in digests:
        total = zlib.crc32(digest, total)
    return total


def run_sum(columns: Sequence[object], inputs: bytes) -> int:
    """Of a run: the columns that are written once, and the digest of its inputs."""
    return zlib.crc32(inputs, zlib.crc32(b"%a" % (list(columns),)))
