"""One look at all memory of this machine, or many: GPUs, then the CPU. Never raises, never waits behind another look."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from vwt_agents.devices.device import Found
from vwt_agents.devices.host import ROOT, cpu
from vwt_agents.devices.nvml import Nvml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vwt_agents.types import Seconds

__all__ = ["Reader", "find"]


class Reader:
    """Looks again and again, with NVML kept open in between; a context manager. May be used from several threads.

    A look can hang in a driver that has lost its card. Who looks meanwhile gets the last one that came back.
    """

    def __init__(self, *, root: Path = ROOT, clock: Callable[[], Seconds] = time.monotonic) -> None:
        self._root = root
        self._nvml = Nvml(root=root, clock=clock)
        self._last: Found | None = None
        self._looking = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def read(self, *, who: bool = False) -> Found:
        """The devices, and why a GPU is missing if one is. `who` names the process that takes the most of each GPU."""
        if not self._looking.acquire(blocking=False):
            return self._last or Found((cpu(self._root),), "the NVIDIA driver has not answered yet")
        try:
            gpus = self._nvml.look(who=who)
            self._last = Found((*gpus.devices, cpu(self._root)), gpus.reason, gpus.hint)
            return self._last
        finally:
            self._looking.release()

    def close(self) -> None:
        """Let go of NVML, unless a look hangs in it."""
        if self._looking.acquire(blocking=False):
            try:
                self._nvml.close()
            finally:
                self._looking.release()


def find() -> Found:
    """One look: the devices, who takes the most of each, and why a GPU is missing if one is. Never raises."""
    with Reader() as reader:
        return reader.read(who=True)
