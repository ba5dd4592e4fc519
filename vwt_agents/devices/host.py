"""Host memory, within the limits of the control groups this process is in. Owns the reading of /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.devices.device import Device
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROOT", "contained", "cpu", "process_name"]

ROOT: Final = Path("/")
_UNLIMITED: Final = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63


def cpu(root: Path = ROOT) -> Device:
    """Host memory, within the limits of the control groups this process is in."""
    total, free = _host_memory(root)
    source = "host memory"
    for limit, used in _cgroups(root):
        if limit - used < free or limit < total:
            source = "host memory within a control group's limit"
        total, free = min(total, limit), min(free, max(0, limit - used))
    total_mib, free_mib = total // MIB, free // MIB
    return Device("cpu", "cpu", total_mib, max(0, total_mib - free_mib), free_mib, f"{source}, {os.cpu_count()} CPUs")


def _host_memory(root: Path) -> tuple[int, int]:
    """Bytes in all, and bytes that can be had without swapping."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kib = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)}
        return kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return _sysconf_memory()


def _sysconf_memory() -> tuple[int, int]:
    """As `_host_memory`, where there is no /proc: half of the memory counts as free when the system does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0, 0
    try:
        return total, page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):
        return total, total // 2


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each limited control group above this process; page cache does not count as used."""
    try:
        entries = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if not controllers:
            yield from _limits(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            yield from _limits(base, path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _limits(base: Path, path: str, maximum: str, current: str, cache: str) -> Iterator[tuple[int, int]]:
    group = base / path.strip("/")
    # within a container the path may be the host's, which is not there; the mount itself is then our group
    for place in (group, *group.parents) if group.is_dir() else (base,):
        try:
            limit = int((place / maximum).read_text())  # "max" is no number: no limit
            used = int((place / current).read_text())
        except (OSError, ValueError):
            limit = used = _UNLIMITED
        if limit < _UNLIMITED:
            yield limit, max(0, used - _statistic(place / "memory.stat", cache))
        if place == base:
            return


def _statistic(file: Path, name: str) -> int:
    try:
        return next((int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name} ")), 0)
    except (OSError, ValueError):
        return 0


def contained(root: Path = ROOT) -> bool:
    """Whether this process is in a container, as Docker and Podman mark theirs."""
    return (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()


def process_name(pid: int, root: Path = ROOT) -> str:
    """The name of a process; empty where it is not known."""
    try:
        return (root / f"proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return ""
