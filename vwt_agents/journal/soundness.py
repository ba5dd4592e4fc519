"""Whether a row is what was written: its types, its sum, and the values it counts on. Pure, but for reading a value's file.

Rows are tuples in the order of today's tables, from SQL (`check`) or from a page (`repair`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, get_args

from vwt_agents.entries import EntryKind, RunStatus
from vwt_agents.errors import JournalError
from vwt_agents.journal.contents import digest_of, unpacked
from vwt_agents.journal.rows import moment
from vwt_agents.journal.sums import is_sum_of, parted, run_sum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.journal.contents import ContentFiles

__all__ = [
    "CONTENTS",
    "RUNS",
    "ContentRow",
    "EntryFields",
    "PartRow",
    "RunFields",
    "content_fault",
    "entry_fault",
    "fits",
    "run_fault",
]

_Shape: TypeAlias = tuple[type | tuple[type, ...], ...]
_NONE: Final = type(None)
_NO_INT: Final = (int, _NONE)
_NO_BYTES: Final = (bytes, _NONE)


CONTENTS: Final = "SELECT n, digest, size, packed, data, file FROM contents"
RUNS: Final = """
    SELECT n, id, pipeline, file, started_at, ended_at, status, promoted, tier, inputs, settings, out_dir, exit_code,
           summary, parent, parent_seq, pid, pid_started, boot, host, sum, entries
    FROM runs"""


class ContentRow(NamedTuple):
    """A row of contents."""

    n: int
    digest: bytes
    size: int
    packed: int
    data: bytes
    file: int


class RunFields(NamedTuple):
    """A row of runs."""

    n: int
    id: str
    pipeline: str
    file: str
    started_at: int
    ended_at: int | None
    status: str
    promoted: int
    tier: str
    inputs: int
    settings: str
    out_dir: str
    exit_code: int | None
    summary: int | None
    parent: int | None
    parent_seq: int | None
    pid: int
    pid_started: int
    boot: str
    host: str
    sum: int | None
    entries: int | None

    def summed(self, inputs: bytes) -> int:
        """The sum that what never changes of it should have."""
        once = (
            *(self.id, self.pipeline, self.file, self.started_at, self.promoted, self.tier),
            *(self.settings, self.out_dir, self.parent, self.parent_seq),
        )
        return run_sum(once, inputs)


class EntryFields(NamedTuple):
    """A row of entries."""

    id: int
    kind: str
    name: str
    key: str
    fingerprint: bytes | None
    status: str
    started_at: int
    seconds: float | None
    is_text: int | None
    payload: bytes | None
    texts: bytes | None
    sum: int | None


class PartRow(NamedTuple):
    """A row of parts."""

    entry: int
    position: int
    is_text: int
    data: bytes | None
    content: int | None


SHAPES: Final[dict[type, _Shape]] = {
    ContentRow: (int, bytes, int, int, bytes, int),
    RunFields: (
        *(int, str, str, str, int, _NO_INT, str, int, str, int, str, str, _NO_INT, _NO_INT, _NO_INT, _NO_INT),
        *(int, int, str, str, _NO_INT, _NO_INT),
    ),
    EntryFields: (
        *(int, str, str, str, _NO_BYTES, str, int, (float, int, _NONE)),
        *(_NO_INT, _NO_BYTES, _NO_BYTES, _NO_INT),
    ),
    PartRow: (int, int, int, _NO_BYTES, _NO_INT),
}


def fits(kind: type, row: Sequence[Any]) -> bool:
    """Whether these may be the columns of such a row."""
    shape = SHAPES[kind]
    return len(row) == len(shape) and all(isinstance(value, one) for value, one in zip(row, shape, strict=True))


def content_fault(row: ContentRow, files: ContentFiles) -> str | None:
    """What is wrong with a long value; None where it is what its digest says."""
    try:
        data = files.read(row.digest) if row.file else row.data
        raw = unpacked(data, is_packed=bool(row.packed), size=row.size)
    except (JournalError, OSError, ValueError) as error:
        return str(error).partition("\n")[0]
    return None if digest_of(raw) == row.digest else "its bytes are not those its digest says"


def run_fault(row: RunFields, digests: Mapping[int, bytes]) -> str | None:
    """What is wrong with a run's own row; `digests` are those of the values that are sound, by number."""
    if row.status not in get_args(RunStatus) or not _is_time(row.started_at):
        return "its row is not what was written"
    inputs = digests.get(row.inputs)
    if inputs is None:
        return "its inputs are lost"
    if row.sum is not None and row.sum != row.summed(inputs):
        return "its row is not what was written"
    return None


def entry_fault(row: EntryFields, parts: Sequence[PartRow], digests: Mapping[int, bytes]) -> str | None:
    """What is wrong with an entry; `parts` are its own, in their order, `digests` as for a run."""
    if row.kind not in get_args(EntryKind) or not _is_time(row.started_at):
        return "it is not what was written"
    longs: list[bytes] = []
    for part in parts:
        digest = digests.get(part.content or 0)
        if digest is not None:
            longs.append(digest)
        elif part.data is None:
            return "a value of it is lost"
    if row.sum is not None:
        same = is_sum_of(row.sum, row.id, row[1:-1], longs)
        return None if same else "it, or a value of it, is not what was written"
    return _unreadable(row, parts)


def _unreadable(row: EntryFields, parts: Sequence[PartRow]) -> str | None:
    """Of an entry without a sum, from before there were any: whether its values can be read at all."""
    try:
        texts = [] if row.texts is None else parted(row.texts)
        for is_text, raw in (
            *((row.is_text, row.payload), *texts),
            *((part.is_text, part.data) for part in parts),
        ):
            if is_text and raw is not None:
                raw.decode("utf-8", "surrogatepass")
    except ValueError as error:
        return str(error)
    return None


def _is_time(stamp: int) -> bool:
    with suppress(ValueError, OverflowError):
        moment(stamp)
        return True
    return False
