"""Looks at what others take, every second, and tells what has changed. Owns the looking; `taken` has the arithmetic.

A source that fails or does not answer in time is no reason to stop: its last figure stands, and the log says so once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from vwt_agents.eventlog import get_logger
from vwt_agents.occupancy.taken import STEP, Sample, Taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from vwt_agents.devices import Budget, Device, Found
    from vwt_agents.types import Mib, Seconds

__all__ = ["Monitor", "Sources"]

log = get_logger(__name__)

_ANSWER_S: Final[Seconds] = 5.0  # a driver that has lost its card, or a server that is stuck, may never answer
_SETTLE_S: Final[Seconds] = 5.0
_PAUSE_S: Final[Seconds] = 0.05


async def _none(_device: str) -> Mib:
    return 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from; all but `read` by device, in MiB.

    - `read` looks at the devices (`devices.Reader.read`); it may block, and is called in a thread.
    - `ours`: all our residencies there, from the start of their load to the end of their unload.
    - `changing`: whether one of them is loading or unloading.
    - `ledger`: what other processes have reserved; `loading`: the part of it whose load has not ended.
    - `foreign`: what our servers show and neither we nor anyone in the ledger loaded. A model that is in the ledger must not
      be counted here again.
    """

    read: Callable[[], Found]
    ours: Callable[[str], Mib]
    changing: Callable[[str], bool]
    ledger: Callable[[str], Awaitable[Mib]] = _none
    loading: Callable[[str], Awaitable[Mib]] = _none
    foreign: Callable[[str], Awaitable[Mib]] = _none


class Monitor:
    """What others take of each device of `allowances`, kept up to date.

    `tell(device, mib)` is called when that has changed; `limit(device, mib)` when a device was lost (0) or is back (its
    ceiling). Both are called in the event loop, from `look` and so from `run`.
    """

    def __init__(
        self,
        sources: Sources,
        allowances: Mapping[str, Budget],
        tell: Callable[[str, Mib], object],
        *,
        limit: Callable[[str, Mib], object] = lambda _device, _mib: None,
        interval: Seconds = 1.0,
        answer_within: Seconds = _ANSWER_S,
    ) -> None:
        self._sources = sources
        self._tell = tell
        self._limit = limit
        self._interval = interval
        self._answer_within = answer_within
        self._allowances = dict(allowances)
        self._taken = {device: _fresh(device, allowance) for device, allowance in allowances.items()}
        self._devices: dict[str, Device] = {}
        self._found: Found | None = None
        self._ours_then: dict[str, Mib] = {}  # at the last look that the devices answered
        self._last: dict[tuple[str, str], Any] = {}
        self._failing: set[tuple[str, str]] = set()
        self._lost: set[str] = set()

    async def run(self) -> None:
        """Look now and at every interval, until cancelled."""
        while True:
            await self.look()
            await anyio.sleep(self._interval)

    async def look(self) -> None:
        """Look once at everything, and tell what has changed."""
        before = self._found
        ours, moving = self._own()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read)
            for device in self._taken:
                for what in ("ledger", "loading", "foreign"):
                    tasks.start_soon(self._sample, what, device)
        ours_after, moving_after = self._own()
        answered = self._found is not before
        for device, taken in self._taken.items():
            if self._is_lost(device):
                continue
            # Had ours changed while we looked, the lesser figure would make our own memory look like somebody else's.
            most = max(ours[device], ours_after[device])
            same = ours[device] == ours_after[device]
            steady = same and answered and not moving[device] and not moving_after[device]
            # An old figure of the device is only to be read together with what was ours at that time.
            most = self._ours_then[device] = most if answered else self._ours_then.get(device, most)
            if (mib := taken.look(self._sample_of(device, most), steady=steady)) is not None:
                log.info("memory.occupied", device=device, mib=mib, ceiling=taken.ceiling)
                self._tell(device, mib)

    async def settled(self, device: str, leaving: Mib, *, within: Seconds = _SETTLE_S) -> bool:
        """Wait until the device shows that `leaving` MiB of ours are free again; False when it does not in time.

        To be called once the server says that the model is gone, and before the core is told: a driver frees memory a
        while after the process that held it has ended. What is still taken after that counts as taken by others.
        """
        with anyio.move_on_after(within):
            while not self._free_again(device, leaving):
                await anyio.sleep(_PAUSE_S)
                await self._read()
            return True
        log.warning("memory.not_freed", device=device, mib=leaving, seconds=within)
        return False

    def _own(self) -> tuple[dict[str, Mib], dict[str, bool]]:
        devices = self._taken
        return (
            {device: self._sources.ours(device) for device in devices},
            {device: self._sources.changing(device) for device in devices},
        )

    def _sample_of(self, device: str, ours: Mib) -> Sample:
        there = self._devices.get(device)
        ledger, loading, foreign = (self._last.get((what, device), 0) for what in ("ledger", "loading", "foreign"))
        if there is None:
            return Sample(None, ours=ours, ledger=ledger, loading=loading, foreign=foreign)
        return Sample(there.total_mib, there.used_mib, ours, ledger, loading, foreign)

    def _is_lost(self, device: str) -> bool:
        """Whether the device cannot be used; says so once, and once it can again."""
        there = self._devices.get(device)
        lost = there is not None and bool(there.problem)
        if lost and device not in self._lost:
            self._lost.add(device)
            log.warning("device.lost", device=device, problem=there.problem if there is not None else "")
            self._limit(device, 0)
        elif not lost and device in self._lost:
            self._lost.remove(device)
            log.info("device.returned", device=device)
            self._limit(device, self._allowances[device].ceiling)
        return lost

    def _free_again(self, device: str, leaving: Mib) -> bool:
        there, others = self._devices.get(device), self._taken[device].others if device in self._taken else None
        if there is None or others is None or there.problem or there.kind == "cpu" or there.shares_host:
            return True  # nothing there could show it: host memory has the weights of models as mapped files
        return there.used_mib <= others + max(0, self._sources.ours(device) - leaving) + STEP

    async def _read(self) -> None:
        async def ask() -> Found:
            return await anyio.to_thread.run_sync(self._sources.read, abandon_on_cancel=True)

        # A reader that hangs gives the last Found again, the very same one.
        found: Found | None = await self._answer("read", "", ask)
        if found is not None and found is not self._found:
            self._found = found
            self._devices = {device.name: device for device in found.devices}

    async def _sample(self, what: str, device: str) -> None:
        source = getattr(self._sources, what)
        await self._answer(what, device, lambda: source(device))

    async def _answer(self, what: str, device: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What a source says, remembered; its last answer where it fails, None where there was none."""
        key = (what, device)
        why = f"no answer within {self._answer_within:g} s"
        try:
            with anyio.move_on_after(self._answer_within):
                self._last[key] = await ask()
                self._failing.discard(key)
                return self._last[key]
        except Exception as error:  # noqa: BLE001 - whatever ails a source, looking at the others goes on
            why = f"{type(error).__name__}: {error}"
        if key not in self._failing:
            self._failing.add(key)
            log.warning("memory.source_failed", source=what, device=device, error=why)
        return self._last.get(key)


def _fresh(device: str, allowance: Budget) -> Taken:
    return Taken(ceiling=allowance.ceiling, kept=allowance.kept, mapped=device == "cpu")
