"""What can be known of an Ollama server besides its API: how its version behaves, and the environment it was started with.

Only a server of this machine that this user may look at has an environment here; a container is not asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vwt_agents.endpoints.address import DEFAULT_URL, server_url
from vwt_agents.errors import EndpointUnavailable
from vwt_agents.hosts import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Era", "ServerEnvironment", "environment_of", "era_of"]

_PROC: Final = Path("/proc")
_FALSE: Final = {"0", "false", "f"}


@dataclass(frozen=True, slots=True)
class Era:
    """How servers of a version place models. `default_slots` is what OLLAMA_NUM_PARALLEL is when nobody sets it."""

    says: str
    default_slots: int | None
    current: bool = True


_LLAMA_SERVER: Final = Era(
    "each model has a llama-server process of its own; a second model stays beside the first only while Ollama's own "
    "prediction is within 80 % of what is free, so it may evict what would fit",
    1,
)
_MEASURED: Final = Era("Ollama measures a model as it lays it out, and keeps a second one only where all of it fits", 1)
_GUESSED: Final = Era(
    "Ollama guesses memory by a fixed formula, and how many slots it gives by what it thinks is free",
    None,
    current=False,
)
_UNKNOWN: Final = Era("a version of which nothing is known here; taken for a recent one", 1)


def era_of(version: str | None) -> Era:
    """The era of a version such as `0.33.0` or `0.30.0-rc1`."""
    numbers = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version or "")
    if numbers is None or numbers[0] in {"0.0.0", "0.0"}:  # a build of one's own
        return _UNKNOWN
    found = tuple(int(number or 0) for number in numbers.groups())
    return _LLAMA_SERVER if found >= (0, 30, 0) else _MEASURED if found >= (0, 9, 7) else _GUESSED


@dataclass(frozen=True, slots=True)
class ServerEnvironment:
    """The variables a server was started with, and how that is known."""

    values: Mapping[str, str]
    source: str

    def number(self, name: str) -> int | None:
        """A variable that is a whole number above 0; None where it is not set, or 0 for Ollama's own choice."""
        text = self.values.get(name, "").strip().strip("\"'")
        return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None

    @property
    def cache_type(self) -> str:
        """How it keeps the KV cache."""
        return self.values.get("OLLAMA_KV_CACHE_TYPE", "").strip().lower() or "f16"

    @property
    def flash_attention(self) -> bool | None:
        """On, off, or None: on where all its devices can."""
        text = self.values.get("OLLAMA_FLASH_ATTENTION", "").strip().lower()
        return None if not text else text not in _FALSE


def environment_of(url: str, *, root: Path = _PROC) -> ServerEnvironment | None:
    """The environment of the `ollama serve` of this machine that listens at `url`; None where it can't be seen."""
    if not is_loopback(url):
        return None
    for pid, values in _servers(root):
        try:
            there = server_url(values.get("OLLAMA_HOST") or DEFAULT_URL)
        except EndpointUnavailable:
            continue
        if urlsplit(there).port == urlsplit(url).port:
            return ServerEnvironment(values, f"the environment of process {pid}")
    return None


def _servers(root: Path) -> Iterator[tuple[int, dict[str, str]]]:
    here = _network(root / "self")
    for folder in root.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if Path(words[0].decode(errors="replace")).name != "ollama" or b"serve" not in words[1:]:
                continue
            if _network(folder) != here:  # in a container a port is another one
                continue
            pairs = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended, or it is somebody else's
            continue
        yield int(folder.name), dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _network(folder: Path) -> str:
    """The network namespace of a process; empty where the kernel does not say."""
    try:
        return str((folder / "ns/net").readlink())
    except OSError:
        return ""
