"""The model store: weights on this disk by the sha256 of their bytes, and the names that point at them.

Owns: `blobs/sha256-<hex>` (whole files, only ever moved into place), `manifests/<name>.json`, and the lock a pull holds. Looks
into Ollama's own store, which names its blobs alike, and never writes there. Never touches the network. Every method blocks on
the disk; async callers go through a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from vwt_agents.endpoints.embedded.gguf import BrokenFile, read_header
from vwt_agents.errors import ModelMissing, PullFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vwt_agents.endpoints.embedded.catalogue import Catalogue, ModelEntry

__all__ = ["CHUNK", "Manifest", "Store", "default_root", "sha256_of"]

CHUNK: Final = 1 << 20


def default_root() -> Path:
    """`VWT_MODELS`, or `models` in the user's cache folder of this package."""
    if named := os.environ.get("VWT_MODELS"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("vwt-agents") / "models"


def _ollama_blobs() -> Path:
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models") / "blobs"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One name in the store: the weights it points at, and what was known of them when they came."""

    name: str
    sha256: str
    size: int
    licence: str = ""
    tasks: tuple[str, ...] = ()
    source: str = ""
    added: str = ""


class Store:
    """The models on this disk, under `root`; `borrowed` is a folder of blobs that is read and never written."""

    def __init__(self, root: Path | None = None, *, borrowed: Path | None = None) -> None:
        self.root = default_root() if root is None else root
        self.borrowed = _ollama_blobs() if borrowed is None else borrowed

    def blob(self, sha256: str) -> Path:
        """Where the weights of that digest belong, whether they are there or not."""
        return self.root / "blobs" / f"sha256-{sha256}"

    def partial(self, sha256: str) -> Path:
        """Where a pull collects them."""
        return self.root / "blobs" / f"sha256-{sha256}.partial"

    def lock(self, sha256: str) -> Path:
        """The file whose lock a pull of that digest holds."""
        return self.root / "blobs" / f"sha256-{sha256}.lock"

    def find(self, sha256: str, size: int | None = None) -> Path | None:
        """The file of that digest, ours or Ollama's, read in place; None when neither is there (in that size)."""
        for path in (self.blob(sha256), self.borrowed / f"sha256-{sha256}"):
            try:
                if path.stat().st_size == size or size is None:
                    return path
            except OSError:
                continue
        return None

    def manifests(self) -> tuple[Manifest, ...]:
        """The names whose weights are here, sorted."""
        found = (self._read(path) for path in sorted((self.root / "manifests").glob("*.json")))
        return tuple(one for one in found if one is not None and self.find(one.sha256, one.size) is not None)

    def named(self, name: str) -> Manifest | None:
        """The manifest of that name, or None when it or its weights are not here."""
        one = self._read(self._manifest_path(name))
        return one if one is not None and self.find(one.sha256, one.size) is not None else None

    def record(self, entry: ModelEntry, *, source: str) -> Manifest:
        """Name weights that are here, and say where they came from."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(entry.name, entry.sha256, entry.size, entry.licence, entry.tasks, source, now)
        path = self._manifest_path(entry.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(asdict(manifest), indent=2), "utf-8")
        draft.replace(path)
        return manifest

    def accept(self, partial: Path, sha256: str) -> Path:
        """Move a whole, verified file into place, so that it is there entirely or not at all, also after a power cut."""
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        target = self.blob(sha256)
        partial.replace(target)
        return target

    def bring_in(self, file: Path, *, name: str | None = None, catalogue: Catalogue) -> Manifest:
        """Copy a GGUF file into the store; its name is the one given, else the catalogue's for these bytes, else its own.

        UsageError when the file is not a whole GGUF file or `name` is a catalogue name of other bytes.
        """
        from vwt_agents.endpoints.embedded.catalogue import ModelEntry

        try:
            header = read_header(file)
        except (BrokenFile, OSError) as error:
            raise UsageError(f"{file} cannot be imported: {error}") from None
        digest = sha256_of(file)
        known = next((entry for entry in catalogue if entry.sha256 == digest), None)
        claimed = catalogue.find(name) if name else None
        if claimed is not None and claimed is not known:
            raise UsageError(
                f"{file} is not the catalogue's {name!r}: its sha256 is {digest}, the catalogue's {claimed.sha256}",
                hint="import it under another name",
            )
        entry = known or ModelEntry(
            name=name or file.stem.lower(),
            size=file.stat().st_size,
            sha256=digest,
            licence=str(header.metadata.get("general.license", "")).lower(),
            tasks=("chat", "general"),
        )
        if self.find(digest, entry.size) is None:
            self._copy(file, digest)
        return self.record(entry, source=f"file {file.name}")

    def verify(self, name: str, on_bytes: Callable[[int], None] | None = None) -> bool:
        """Whether the weights of that name still have the bytes they are named after; ModelMissing when they are not here."""
        manifest = self._require(name)
        path = self.find(manifest.sha256, manifest.size)
        return path is not None and sha256_of(path, on_bytes) == manifest.sha256

    def remove(self, name: str) -> int:
        """Forget a name, and delete its weights when no other name needs them; the bytes that came free."""
        manifest = self._require(name)
        self._manifest_path(name).unlink(missing_ok=True)
        blob = self.blob(manifest.sha256)
        if not blob.exists() or any(other.sha256 == manifest.sha256 for other in self.manifests()):
            return 0
        blob.unlink()
        self.lock(manifest.sha256).unlink(missing_ok=True)
        return manifest.size

    def require_space(self, size: int) -> None:
        """PullFailed when the disk has not that many bytes free, with a tenth to spare."""
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < size * 1.1:
            raise PullFailed(
                f"{self.root} has {free / 1e6:.0f} MB free and {size * 1.1 / 1e6:.0f} MB are needed",
                hint="make room there, or set VWT_MODELS to a folder on another disk",
            )

    def _copy(self, file: Path, digest: str) -> None:
        self.require_space(file.stat().st_size)
        draft = self.partial(digest).with_suffix(f".{os.getpid()}.import")
        try:
            shutil.copyfile(file, draft)
            if sha256_of(draft) != digest:
                raise UsageError(f"{file} changed while it was copied; import it again")
            self.accept(draft, digest)
        finally:
            draft.unlink(missing_ok=True)

    def _require(self, name: str) -> Manifest:
        manifest = self.named(name)
        if manifest is None:
            here = ", ".join(one.name for one in self.manifests()) or "nothing"
            raise ModelMissing(f"the store at {self.root} has no model {name!r}; it has {here}")
        return manifest

    def _manifest_path(self, name: str) -> Path:
        return self.root / "manifests" / f"{quote(name, safe='')}.json"

    def _read(self, path: Path) -> Manifest | None:
        try:
            fields = json.loads(path.read_text("utf-8"))
            return Manifest(**{**fields, "tasks": tuple(fields["tasks"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None  # gone, or not ours: the weights can be pulled again


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The file's sha256 in hex; `on_bytes` hears how many bytes are done."""
    hasher = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            done += len(chunk)
            if on_bytes is not None:
                on_bytes(done)
    return hasher.hexdigest()
