"""What was measured, one JSON line for each task and contender: durable once written, and never measured twice.

A killed run leaves at most half a line, which the next one cuts off. Lines that were made by another method than the one
now asked for are refused, because a table over both would compare nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from vwt_agents.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Key", "Record", "Records", "read_records"]


class Key(NamedTuple):
    """What is measured once."""

    set: str
    task: str
    contender: str
    model: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One contender's answer to one task.

    `method` is a fingerprint of how it was made, and of the task. `hidden`: every hidden test passed. `verdict` is the
    contender's own word on its code, None where it gives none. `evaluated_tokens` are those of the prompts that the engine
    had not cached, None where it does not say. `seconds` run from the first call to the chosen code, without the load of
    the model.
    """

    set: str
    task: str
    contender: str
    model: str
    seed: int
    method: str
    hidden: bool
    visible_passed: int
    visible_total: int
    verdict: bool | None
    calls: int
    prompt_tokens: int
    evaluated_tokens: int | None
    output_tokens: int
    seconds: float
    code: str
    error: str | None = None

    @property
    def key(self) -> Key:
        """What it is the measurement of."""
        return Key(self.set, self.task, self.contender, self.model, self.seed)

    @property
    def tokens(self) -> int:
        """Of prompts and answers together."""
        return self.prompt_tokens + self.output_tokens


class Records:
    """A file of records, open for one writer. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[Key, Record] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(
                f"another run is writing {self.path}", hint="wait for it, or name another --results"
            ) from None
        self._cut_half_a_line()
        self.known = {record.key: record for record in read_records(self.path)}
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def has(self, key: Key, method: str) -> bool:
        """Whether it has been measured; UsageError where it was, by another method."""
        record = self.known.get(key)
        if record is not None and record.method != method:
            raise UsageError(
                f"{self.path} has {key.contender} on {key.task}, measured by another method "
                "(the pipeline, its inputs, the prompts or the task have changed since)",
                hint="name another --results, or remove those lines",
            )
        return record is not None

    def add(self, record: Record) -> None:
        """Append a record; it is on the disk when this returns."""
        self._file.write(json.dumps(asdict(record)).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.known[record.key] = record

    def _cut_half_a_line(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)


def read_records(path: Path) -> list[Record]:
    """The whole lines of a file, in order; UsageError for a line that is no record."""
    known = {field.name for field in fields(Record)}
    found = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            raw = json.loads(line)
            found.append(Record(**{name: value for name, value in raw.items() if name in known}))
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}:{number}: not a record: {error}", hint="remove the line") from None
    return found
