"""The memory models live in: what there is, what is taken, what may be used. Owns the import of `pynvml`.

A machine without a GPU, a driver or the library has no GPU devices and a reason why; that is a value, never an error.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vwt_agents.types import MIB, Mib

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Budget", "Device", "Found", "budget", "cpu", "discover", "find"]

DeviceKind: TypeAlias = Literal["gpu", "cpu"]

_ROOT: Final = Path("/")
_UNLIMITED: Final = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63
_CPU_SHARE: Final = 10  # the tenth of host memory that models never get


@dataclass(frozen=True, slots=True)
class Device:
    """A place with memory: `gpu0`, `gpu1`, ... or `cpu`. `used_mib` counts everybody; `detail` is for people."""

    name: str
    kind: DeviceKind
    total_mib: Mib
    used_mib: Mib
    free_mib: Mib
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """The devices of this machine; `reason` says in one sentence why a GPU is missing, empty when none is."""

    devices: tuple[Device, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """What models may take on a device, and the arithmetic that led to it."""

    mib: Mib
    arithmetic: str


def discover() -> tuple[Device, ...]:
    """The GPUs, in the driver's order, then the CPU. Never raises."""
    return find().devices


def find() -> Found:
    """The devices, and why a GPU is missing if one is. Never raises."""
    gpus, reason = _gpus()
    return Found((*gpus, cpu()), reason)


def budget(device: Device, setting: Mib | Literal["auto"], reserve: Mib, *, ours: Mib = 0) -> Budget:
    """What models may take on a device: the `setting`, or what is left of it when set to "auto".

    `ours` is the part of `used_mib` that our own models take, so that looking while they are loaded changes nothing.
    """
    if setting != "auto":
        ceiling = max(0, device.total_mib)
        if setting <= ceiling:
            return Budget(setting, f"{device.name}: {setting} MiB as set, of {device.total_mib} MiB")
        return Budget(ceiling, f"{device.name}: {setting} MiB were set, but it has only {ceiling} MiB")
    if device.kind == "cpu":
        kept = max(reserve, -(-device.total_mib // _CPU_SHARE))
        free = min(device.free_mib + ours, device.total_mib)
        return Budget(
            max(0, free - kept),
            f"{device.name}: {free} MiB free - {kept} MiB kept (the greater of {reserve} MiB reserve and 10 % of "
            f"{device.total_mib} MiB) = {max(0, free - kept)} MiB",
        )
    others = max(0, device.used_mib - ours)
    mib = max(0, device.total_mib - others - reserve)
    return Budget(
        mib,
        f"{device.name}: {device.total_mib} MiB total - {others} MiB used by others - {reserve} MiB reserve"
        f" = {mib} MiB",
    )


def cpu(root: Path = _ROOT) -> Device:
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


def _gpus() -> tuple[tuple[Device, ...], str]:
    try:
        import pynvml
    except ImportError as error:
        return (), f"no NVIDIA GPU is seen: the Python package nvidia-ml-py is not here ({error})"
    found: list[Device] = []
    lost: list[str] = []
    try:
        with _driver(pynvml):
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    found.append(_gpu(pynvml, index))
                except pynvml.NVMLError as error:
                    lost.append(f"gpu{index} does not answer: {error}")
    except pynvml.NVMLError as error:
        return (), f"no NVIDIA GPU is seen: {error}"
    if not found and not lost:
        return (), "no NVIDIA GPU is seen: the driver knows none"
    return tuple(found), "; ".join(lost)


@contextmanager
def _driver(pynvml: Any) -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, index: int) -> Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = pynvml.nvmlDeviceGetName(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    total, free = int(memory.total), int(memory.free)
    # total - free, not `used`: the driver's own reservation cannot be had either
    used_mib = -(-(total - free) // MIB)
    detail = name.decode() if isinstance(name, bytes) else str(name)
    return Device(f"gpu{index}", "gpu", total // MIB, used_mib, free // MIB, detail)
