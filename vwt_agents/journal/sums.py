"""How an entry's texts stand in its row, and the sums that tell a damaged row from a whole one. Pure: bytes in, bytes out.

SQLite sees when its own pages make no sense, not when a letter of a value has changed. So every entry carries the crc32 of
all it says, and a run that of what never changes of it. Longer values are known by their sha256, which goes into the sum.

The columns of an entry are summed as bytes: their numbers and lengths, then their texts, so that no two entries have the
same. Up to version 5 they were summed as Python words them, which takes twice as long; the bit `_AS_BYTES` tells the two apart.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Text", "entry_sum", "is_sum_of", "joined", "parted", "run_sum"]

_AS_BYTES: Final = 1 << 32  # beyond the 32 bits of a crc32
_HEAD: Final = struct.Struct(
    "<qqd8q"
)  # number, started_at, seconds, is_text, and the lengths of the others in their order
_NO_SECONDS: Final = math.nan  # no column holds it: SQLite takes it for NULL

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


def entry_sum(number: int, columns: Sequence[Any], digests: Iterable[bytes]) -> int:
    """Of an entry: its number, its columns from kind to texts, and the digests of its long values in their order.

    Needed for every entry, so made in few steps. TypeError, struct.error or OverflowError for columns that no entry has.
    """
    kind, name, key, mark, status, started, seconds, flag, payload, texts = columns
    head = _HEAD.pack(
        number,
        started,
        _NO_SECONDS if seconds is None else seconds,
        -1 if flag is None else 2 * flag,
        len(kind),
        len(name),
        len(key),
        len(status),
        -1 if mark is None else len(mark),
        -1 if payload is None else len(payload),
        -1 if texts is None else len(texts),
    )
    words = f"{kind}{name}{key}{status}".encode("utf-8", "surrogatepass")
    rest = (b"" if mark is None else mark, b"" if payload is None else payload, b"" if texts is None else texts)
    total = zlib.crc32(b"".join((head, words, *rest)))
    for digest in digests:
        total = zlib.crc32(digest, total)
    return total | _AS_BYTES


def is_sum_of(total: int, number: int, columns: Sequence[Any], digests: Iterable[bytes]) -> bool:
    """Whether an entry with this sum is what was written, by whichever version."""
    try:
        sum_of = entry_sum if total & _AS_BYTES else _worded_sum
        return total == sum_of(number, columns, digests)
    except (TypeError, struct.error, OverflowError):  # a column of a type it was not written with
        return False


def _worded_sum(number: int, columns: Sequence[Any], digests: Iterable[bytes]) -> int:
    *eight, payload, texts = columns
    total = zlib.crc32(b"%d%a" % (number, eight))
    total = zlib.crc32(b"%b/%b" % (payload or b"", texts or b""), total)
    for digest in digests:
        total = zlib.crc32(digest, total)
    return total


def run_sum(columns: Sequence[object], inputs: bytes) -> int:
    """Of a run: the columns that are written once, and the digest of its inputs."""
    return zlib.crc32(inputs, zlib.crc32(b"%a" % (list(columns),)))
