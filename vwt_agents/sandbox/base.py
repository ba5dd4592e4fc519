"""The words of a sandboxed run: Limits, Mount, SandboxResult, and the Backend protocol. Never starts anything."""

from __future__ import annotations

import itertools
import os
import sys
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vwt_agents.types import Mib, Seconds

__all__ = [
    "BOX",
    "ENFORCED",
    "Backend",
    "Integrity",
    "Level",
    "Limits",
    "Mount",
    "SandboxResult",
    "Stopped",
    "own_uid",
    "python",
]

Level: TypeAlias = Literal["full", "reduced", "none"]
Integrity: TypeAlias = Literal["same-process", "isolated"]
Stopped: TypeAlias = Literal["timeout", "cpu", "memory", "output", "disk"]

BOX: Final = "/box"
"""The folder the program starts in: a copy of the work folder, the only place besides /tmp that it can write."""

ENFORCED: Final = frozenset(
    {
        "wall",
        "cpu",
        "memory",
        "address_space",
        "processes",
        "open_files",
        "file_size",
        "disk",
        "output",
        "network",
        "files",
        "syscalls",
        "other_processes",
        "file_names",
    }
)
"""What a backend of level `full` holds a program to. `other_processes`: none but its own can be signalled, traced or
changed; `file_names`: nothing of this machine's files can be seen, not even that they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use. `memory_mib` is for all its processes together, `cpu_s` and `address_space_mib` for each.

    `keep_kib` bytes of each output stream are kept (the head and the tail); the program is killed when it wrote `output_mib`.
    `address_space_mib` None leaves virtual memory free, which numpy and the like need.
    """

    wall_s: Seconds = 30.0
    cpu_s: int = 20
    memory_mib: Mib = 1024
    address_space_mib: Mib | None = 2048
    processes: int = 128
    open_files: int = 256
    file_mib: Mib = 64
    box_mib: Mib = 256
    tmp_mib: Mib = 64
    shm_mib: Mib = 16
    output_mib: Mib = 32
    keep_kib: int = 256
    collect_files: int = 64
    collect_mib: Mib = 16


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine that the program may read at `target`, never write."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """How a program ended, and under what protection it ran.

    `exit_code` is None when a signal or a limit ended it. `stdout` and `stderr` hold head and tail when `truncated`;
    the `*_total` count everything written. `enforced` names the limits that truly held in this run.
    """

    backend: str
    level: Level
    enforced: frozenset[str]
    exit_code: int | None
    signal: int | None
    stopped: Stopped | None
    wall_s: Seconds
    cpu_s: Seconds
    peak_rss_mib: Mib
    stdout: bytes
    stderr: bytes
    stdout_total: int
    stderr_total: int
    truncated: bool
    artifacts: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """The program ended by itself with exit code 0."""
        return self.exit_code == 0 and self.stopped is None


_turn = itertools.count()


def own_uid() -> int | None:
    """The uid to drop to as root, one per run: root's processes escape the limit on processes, and others' would count."""
    return 60100 + (os.getpid() * 16 + next(_turn)) % 5000 if os.geteuid() == 0 else None


def python() -> str:
    """This Python, by a path that a sandbox has: below its prefix, whatever link or roundabout way it was called by."""
    called = os.path.abspath(sys.executable)  # noqa: PTH100 - never resolved: the link decides which environment it is
    folder = os.path.dirname(called)  # noqa: PTH120
    if os.path.exists(called) and any(_is_below(folder, one) for one in ("/usr", sys.prefix, sys.base_prefix)):  # noqa: PTH110
        return called
    # Called by a link from elsewhere; or past one by `..`, which Python takes for the way back, so there may be no such file.
    own = os.path.join(sys.prefix, "bin", os.path.basename(called))  # noqa: PTH118, PTH119
    if sys.prefix != sys.base_prefix and os.access(own, os.X_OK):
        return own
    return os.path.realpath("/proc/self/exe") if os.path.exists("/proc/self/exe") else called  # noqa: PTH110


def _is_below(path: str, folder: str) -> bool:
    folder = os.path.abspath(folder)  # noqa: PTH100 - as above
    return path == folder or path.startswith(f"{folder}/")


class Backend(Protocol):
    """A way to run a program apart from this machine. Cancelling a run kills all of it before the cancellation goes on."""

    @property
    def name(self) -> str:
        """The word for it in settings and results, such as `bubblewrap`."""
        ...

    @property
    def level(self) -> Level:
        """How much it holds: everything, less, or nothing."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        workdir: Path | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] = MappingProxyType({}),
        read_only: Sequence[Mount] = (),
        collect: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        stdin: bytes = b"",
    ) -> SandboxResult:
        """Run `argv` in a copy of `workdir`; SandboxUnavailable when the sandbox itself cannot be set up."""
        ...
