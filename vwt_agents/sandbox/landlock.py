"""The landlock backend, level `reduced`: for machines that close user namespaces. Only ever used when the user allows it.

Landlock fences files, signals and abstract sockets; the system call filter denies every socket but a pair of streams, and
changes of modes, owners, times and flags of files. What is then still open: names, sizes and dates of files can be asked
for, and the disk has no quota. Programs miss loopback sockets, /proc, POSIX semaphores (so multiprocessing's Pool and Lock),
chmod and utime.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox import fence
from vwt_agents.sandbox.base import ENFORCED, Level, own_uid
from vwt_agents.sandbox.layout import SYSTEM_FILES, interpreter_mounts
from vwt_agents.sandbox.seccomp import UNFENCED, UNSCOPED
from vwt_agents.sandbox.unsafe import OnThisMachine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.seccomp import Refused

__all__ = ["Landlock"]

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", *SYSTEM_FILES)
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SIGNALS_SCOPED: Final = 6


class Landlock(OnThisMachine):
    """A process on this machine's own file system that can open its folder and the interpreter, and nothing else."""

    name = "landlock"
    level: Level = "reduced"
    enforced = ENFORCED - {"disk", "file_names"}

    def __init__(self, version: int | None = None) -> None:
        self.version = fence.abi() if version is None else version

    def _uid(self) -> int | None:
        return own_uid()

    def _denied(self) -> Sequence[Refused]:
        return (UNFENCED,) if self.version >= _SIGNALS_SCOPED else (UNFENCED, UNSCOPED)

    def _extra(self, writable: Sequence[Path], readable: Sequence[str]) -> Mapping[str, Any]:
        read = [*_SYSTEM, *(str(mount.source) for mount in interpreter_mounts()), *readable]
        fenced = {
            "read": [path for path in read if Path(path).exists()],
            "write": [str(path) for path in writable],
            "devices": [path for path in _DEVICES if os.access(path, os.R_OK | os.W_OK)],
            "version": self.version,
        }
        return {"landlock": fenced}
