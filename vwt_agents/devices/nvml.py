"""The GPUs as NVIDIA's driver sees them. Owns the import of `pynvml` (nvidia-ml-py) and how its errors are read.

NVML is opened once and asked often: opening it takes tens of milliseconds, a look far less than one. It is opened again once
a GPU has been lost. Only functions that also old drivers have are relied on.
"""

from __future__ import annotations

import itertools
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.devices.device import Device, Found
from vwt_agents.devices.host import ROOT, contained, cpu, process_name
from vwt_agents.types import MIB, Mib, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["REOPEN_S", "Nvml"]

REOPEN_S: Final[Seconds] = 30.0
"""Seconds between two attempts to find a lost GPU, or a driver, again."""

_NONE: Final = "no NVIDIA GPU is seen"
_INSTALL: Final = "install the NVIDIA driver, if this machine has such a card"
_REBOOT: Final = "restart the machine: the driver was updated and the old one is still in the kernel"
_CONTAINER: Final = "start the container with its GPUs: docker run --gpus all (or the compose overlay for GPUs)"
_RESET: Final = (
    "restart the machine, or reset the card (nvidia-smi --gpu-reset); the kernel's log (dmesg) says why as Xid"
)

_FOR_GOOD: Final = frozenset({2, 6, 15, 16, 28})
"""Errors after which a card is not there: INVALID_ARGUMENT (no such number), NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED,
GPU_NOT_FOUND. Any other may be gone with the next look."""


class Nvml:
    """The GPUs of this machine, look after look; never raises. A name, once given, stays with its card (by its UUID)."""

    def __init__(self, *, root: Path = ROOT, clock: Callable[[], Seconds] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._lib: Any = None
        self._opened = False
        self._unseen = Found(())  # why NVML is not open
        self._open_after = -math.inf
        self._cards: dict[str, str] = {}  # UUID -> name
        self._at: dict[int, str] = {}  # the driver's number in the last look -> name
        self._seen: dict[str, Device] = {}  # every device that ever answered, as it last did

    def look(self, *, who: bool = False) -> Found:
        """The GPUs now. One that was there and does not answer any more is a device with a problem.

        With `who`, each names the process that takes the most of it (`Device.taken_by`), as far as the driver tells.
        """
        if not self._opened and self._clock() >= self._open_after:
            self._open()
        found = self._look(who=who) if self._opened else self._unseen
        here = {device.name: device for device in found.devices}
        self._seen |= {name: device for name, device in here.items() if not device.problem}
        gone = {name: _lost(seen, "it is not there any more") for name, seen in self._seen.items() if name not in here}
        devices = sorted((here | gone).values(), key=lambda device: _order(device.name))
        problems = [f"{device.name}: {device.problem}" for device in devices if device.problem]
        if problems and self._opened and self._clock() >= self._open_after:
            self.close()  # a card that comes back is only seen by who opens NVML anew
        hint = found.hint or (_RESET if problems else "")
        return Found(tuple(devices), "; ".join(problems) if devices else found.reason, hint)

    def close(self) -> None:
        """Let go of NVML; a later look opens it again."""
        if self._opened:
            self._opened = False
            with suppress(self._lib.NVMLError):  # a driver that is gone has nothing left to let go of
                self._lib.nvmlShutdown()

    def _open(self) -> None:
        self._open_after = self._clock() + REOPEN_S
        try:
            import pynvml
        except ImportError as error:
            why = f"{_NONE}: the Python package nvidia-ml-py is not here ({error})"
            self._unseen = Found((), why, "pip install nvidia-ml-py")
            return
        self._lib = pynvml
        try:
            pynvml.nvmlInit()
            self._opened = True
        except pynvml.NVMLError as error:
            mismatch = error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
            why = "the driver's library and its kernel module are of different versions" if mismatch else str(error)
            self._unseen = Found((), f"{_NONE}: {why}", _REBOOT if mismatch else self._install)

    @property
    def _install(self) -> str:
        return _CONTAINER if contained(self._root) else _INSTALL

    def _look(self, *, who: bool) -> Found:
        lib = self._lib
        try:
            count = lib.nvmlDeviceGetCount()
        except lib.NVMLError as error:
            return Found((), f"{_NONE}: {error}", self._install)
        if not count:
            return Found((), f"{_NONE}: the driver knows none", self._install)
        devices: list[Device] = []
        for index in range(count):
            try:
                devices += self._card(index, who=who)
            except lib.NVMLError as error:
                devices += self._silent(self._at.get(index, f"gpu{index}"), error)
        return Found(tuple(devices))

    def _silent(self, card: str, error: Any) -> list[Device]:
        """A card that gave an error for an answer: as it last was, unless the error is for good."""
        before = [seen for seen in self._seen.values() if seen.name.partition(":")[0] == card]
        if before and error.value not in _FOR_GOOD:
            return before
        return [
            _lost(seen, f"it does not answer: {error}")
            for seen in before or [Device(card, "gpu", 0, 0, 0, "NVIDIA GPU")]
        ]

    def _card(self, index: int, *, who: bool) -> list[Device]:
        handle = self._lib.nvmlDeviceGetHandleByIndex(index)
        uuid = self._text(self._lib.nvmlDeviceGetUUID, handle)
        card = self._at[index] = self._named(index, uuid)
        return list(self._gpu(handle, card, uuid, who=who))

    def _named(self, index: int, uuid: str) -> str:
        """The name the card had before: once another is lost, the driver may number those that are left anew."""
        if not uuid:
            return f"gpu{index}"
        taken = set(self._cards.values())
        free = (f"gpu{number}" for number in itertools.count(index) if f"gpu{number}" not in taken)
        return self._cards.setdefault(uuid, self._cards.get(uuid) or next(free))

    def _gpu(self, handle: Any, name: str, uuid: str, *, who: bool) -> Iterator[Device]:
        lib = self._lib
        title = self._text(lib.nvmlDeviceGetName, handle) or "NVIDIA GPU"
        if self._is_divided(handle):
            yield from self._instances(handle, name, title, who=who)
            return
        try:
            memory = lib.nvmlDeviceGetMemoryInfo(handle)
        except lib.NVMLError_NotSupported:
            host = cpu(self._root)
            yield replace(
                host, name=name, kind="gpu", detail=f"{title}, memory shared with the CPU", uuid=uuid, shares_host=True
            )
            return
        yield self._device(name, title, uuid, memory, self._taken_by(handle) if who else "")

    def _is_divided(self, handle: Any) -> bool:
        try:
            return bool(self._lib.nvmlDeviceGetMigMode(handle)[0])
        except (self._lib.NVMLError_NotSupported, self._lib.NVMLError_FunctionNotFound):
            return False

    def _instances(self, handle: Any, name: str, title: str, *, who: bool) -> Iterator[Device]:
        """The GPU instances of a GPU in MIG mode. Those compute instances that share one share its memory: one device."""
        lib, instances = self._lib, set[int]()
        for index in range(lib.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                part = lib.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            except (lib.NVMLError_NotFound, lib.NVMLError_InvalidArgument):
                continue  # numbers may have gaps
            instance = lib.nvmlDeviceGetGpuInstanceId(part)
            if instance in instances:
                continue
            part_title = self._text(lib.nvmlDeviceGetName, part) or f"{title} MIG"
            uuid, memory = self._text(lib.nvmlDeviceGetUUID, part), lib.nvmlDeviceGetMemoryInfo(part)
            taken_by = self._taken_by(part) if who else ""
            yield self._device(f"{name}:{len(instances)}", part_title, uuid, memory, taken_by)
            instances.add(instance)
        if not instances:
            yield Device(
                name, "gpu", 0, 0, 0, title, problem="MIG is on, but it has no instances (nvidia-smi mig -cgi)"
            )

    @staticmethod
    def _device(name: str, title: str, uuid: str, memory: Any, taken_by: str) -> Device:
        total, free = int(memory.total), int(memory.free)
        # total - free, not `used`: the driver's own reservation cannot be had either
        used_mib: Mib = -(-(total - free) // MIB)
        return Device(name, "gpu", total // MIB, used_mib, free // MIB, title, uuid=uuid, taken_by=taken_by)

    def _text(self, ask: Callable[[Any], Any], handle: Any) -> str:
        """What is only good to know: empty where this card or this driver does not say. A lost card still raises."""
        try:
            said = ask(handle)
        except (self._lib.NVMLError_NotSupported, self._lib.NVMLError_FunctionNotFound):
            return ""
        return said.decode() if isinstance(said, bytes) else str(said)

    def _taken_by(self, handle: Any) -> str:
        """Who takes the most, such as `3100 MiB by process 4242 (ollama)`; empty where the driver does not tell."""
        listed = [*self._processes(handle, "Compute"), *self._processes(handle, "Graphics")]
        if not listed:
            return ""
        mib, pid = max(listed)
        # the driver counts in the host's pids, which mean another process, or none, in a container
        name = "" if contained(self._root) else process_name(pid, self._root)
        return f"{mib} MiB by process {pid}" + (f" ({name})" if name else "")

    def _processes(self, handle: Any, kind: str) -> list[tuple[Mib, int]]:
        """(MiB, pid) of those whose memory the driver tells: under WSL and on a Windows desktop it tells none."""
        lib = self._lib
        for version in ("_v3", "_v2"):
            try:
                listed = getattr(lib, f"nvmlDeviceGet{kind}RunningProcesses{version}")(handle)
            except lib.NVMLError_FunctionNotFound:
                continue
            except lib.NVMLError:
                return []
            return [(-(-int(one.usedGpuMemory) // MIB), int(one.pid)) for one in listed if one.usedGpuMemory]
        return []


def _lost(device: Device, problem: str) -> Device:
    return replace(device, used_mib=device.total_mib, free_mib=0, problem=problem)


def _order(name: str) -> tuple[int, int]:
    card, _, part = name.removeprefix("gpu").partition(":")
    return int(card), int(part or -1)
