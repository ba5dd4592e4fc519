"""Device and Found: the nouns of what was seen. Owns no arithmetic and no reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from vwt_agents.types import Mib

__all__ = ["Device", "DeviceKind", "Found"]

DeviceKind: TypeAlias = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class Device:
    """A place with memory: `gpu0`, `gpu1`, ..., a part of a divided GPU such as `gpu0:0`, or `cpu`.

    GPUs are numbered in the driver's order, which is that of the PCI bus, whatever CUDA_VISIBLE_DEVICES says; `uuid` is
    what that variable should name. `used_mib` counts everybody; `detail` is for people. `problem` says why a device that
    is there cannot be used, and it then has no free memory. `shares_host`: its memory is the host's. `taken_by` names
    the process that takes most of it, where that is known.
    """

    name: str
    kind: DeviceKind
    total_mib: Mib
    used_mib: Mib
    free_mib: Mib
    detail: str
    uuid: str = ""
    problem: str = ""
    shares_host: bool = False
    taken_by: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The devices of this machine; `reason` says in one sentence why a GPU is missing, empty when none is, and `hint` what
    to do about it.
    """

    devices: tuple[Device, ...]
    reason: str = ""
    hint: str = ""
