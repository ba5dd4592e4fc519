"""The memory models live in: what there is, what is taken, what may be used.

A machine without a GPU, a driver or the library has no GPU devices and a reason why; a GPU that is lost is a device with a
problem and no memory. Both are values, never errors.
"""

from vwt_agents.devices.budget import Budget, budget
from vwt_agents.devices.device import Device, Found
from vwt_agents.devices.host import cpu
from vwt_agents.devices.reader import Reader, find

__all__ = ["Budget", "Device", "Found", "Reader", "budget", "cpu", "find"]
