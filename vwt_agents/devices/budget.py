"""What models may take on a device, as arithmetic that people can follow. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from vwt_agents.devices.device import Device
    from vwt_agents.types import Mib

__all__ = ["Budget", "budget"]

_HOST_SHARE: Final = 10  # the tenth of host memory that models never get


@dataclass(frozen=True, slots=True)
class Budget:
    """What models may take on a device: `mib` of it now, `ceiling` once nobody else takes any; how that was come by.

    `kept` MiB of the device's total are never offered to models: what others take comes out of the rest.
    """

    mib: Mib
    arithmetic: str
    ceiling: Mib
    kept: Mib = 0

    @property
    def occupied(self) -> Mib:
        """The part of the ceiling that others take now."""
        return self.ceiling - self.mib


def budget(device: Device, setting: Mib | Literal["auto"], reserve: Mib, *, ours: Mib = 0) -> Budget:
    """What models may take on a device: the `setting`, or what it has less the `reserve` when set to "auto".

    `ours` is the part of `used_mib` that our own models take, so that looking while they are loaded changes nothing. Who
    sets a size has chosen what stays free, so no reserve comes on top of that; the memory still has to be there.
    """
    if device.problem:
        return Budget(0, f"{device.name}: 0 MiB: {device.problem}", ceiling=0)
    kept, ceiling, how = _ceiling(device, setting, reserve)
    others = max(0, device.used_mib - ours)
    mib = max(0, min(ceiling, device.total_mib - kept - others))
    if mib < ceiling:
        # All of what others take where it comes out of the ceiling as a whole, else what is short of the ceiling.
        take = (
            f"{others} MiB that others take now" if setting == "auto" else f"{ceiling - mib} MiB that others take of it"
        )
        who = f" ({device.taken_by})" if device.taken_by else ""
        how = f"{how}, less {take}{who} = {mib} MiB"
    return Budget(mib, f"{device.name}: {how}", ceiling, kept)


def _ceiling(device: Device, setting: Mib | Literal["auto"], reserve: Mib) -> tuple[Mib, Mib, str]:
    """What is kept free, what models may take at most, and how that was come by."""
    total = device.total_mib
    if setting != "auto":
        if setting <= total:
            return 0, setting, f"{setting} MiB as set, of {total} MiB"
        return 0, total, f"{setting} MiB were set, but it has only {total} MiB"
    if device.kind == "cpu" or device.shares_host:
        kept = max(reserve, -(-total // _HOST_SHARE))
        why = f"{kept} MiB kept (the greater of {reserve} MiB reserve and 10 % of it)"
    else:
        kept, why = reserve, f"{reserve} MiB reserve"
    ceiling = max(0, total - kept)
    return kept, ceiling, f"{total} MiB total - {why} = {ceiling} MiB"
