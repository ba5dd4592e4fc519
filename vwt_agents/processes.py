"""Which process wrote something, and whether it is still there. Owns the mark a process leaves; never signals or ends
one.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["ProcessMark"]


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process, told from a later one with the same pid by its start and the machine's boot.

    `started` is in clock ticks since the boot (0 where the system does not say), `boot` the boot's id, and `host` the
    machine's name with the pid namespace: a container's pids mean nothing outside of it.
    """

    pid: int
    started: int
    boot: str
    host: str

    @classmethod
    def here(cls) -> ProcessMark:
        """The mark of this process: read once in each, for every run is marked with it."""
        return _mark(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """The mark of a process of this machine that is there now."""
        return cls(pid, _start_ticks(pid) or 0, _boot_id(), _host())

    def gone(self) -> bool:
        """Whether that process has surely ended; False also where this process cannot see it (another machine or
        container).
        """
        if self.host.partition("/")[0] == platform.node() and self.boot != _boot_id():
            return True  # this machine has been started anew since
        if self.boot != _boot_id() or self.host != _host():
            return False
        if self.started:
            return _start_ticks(self.pid) != self.started
        return not _answers(self.pid)


@lru_cache(maxsize=1)
def _mark(pid: int) -> ProcessMark:
    return ProcessMark.of(pid)


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for a process that is not there, or is dead and only waits for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name, in brackets, may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _host() -> str:
    try:
        return f"{platform.node()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, and someone else's
    return True
