"""The budget of each device that agents.toml names, from what the machine has. Owns no reading of devices."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.devices import Budget, budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.config import EndpointSettings, Settings
    from vwt_agents.devices import Device
    from vwt_agents.types import Mib

__all__ = ["measured_budgets", "misplaced", "place_hint"]

_NOTHING: Final[Mapping[str, Mib]] = MappingProxyType({})


def measured_budgets(
    settings: Settings, devices: Sequence[Device], ours: Mapping[str, Mib] = _NOTHING
) -> dict[str, Budget]:
    """By device: what models may take there now, and at most. One that is not there has 0 MiB unless a size was set.

    `ours` is the part of what is used on each that is not lost to models.
    """
    by_name = {device.name: device for device in devices}
    named = dict.fromkeys([*settings.budget.devices, *(endpoint.device for endpoint in settings.endpoints.values())])
    found: dict[str, Budget] = {}
    for name in named:
        device, setting = by_name.get(name), settings.budget.devices.get(name, "auto")
        if device is not None:
            found[name] = budget(device, setting, settings.budget.reserve, ours=ours.get(name, 0))
        elif setting == "auto":
            found[name] = Budget(0, "no such device on this machine", ceiling=0)
        else:
            how = f"{setting} MiB as agents.toml says; the device could not be measured"
            found[name] = Budget(setting, how, ceiling=setting)
    return found


def misplaced(endpoint: EndpointSettings, settings: Settings, devices: Sequence[Device]) -> str:
    """Why an endpoint's models have no memory there, naming the devices there are; empty where they have.

    A device that is not seen but has a size in agents.toml is believed: of another maker, or on another machine.
    """
    device = next((device for device in devices if device.name == endpoint.device), None)
    if device is not None:
        return f"its device {device.name} cannot be used: {device.problem}" if device.problem else ""
    if settings.budget.devices.get(endpoint.device, "auto") != "auto":
        return ""
    here = ", ".join(f"{device.name} ({device.detail})" for device in devices if not device.problem)
    return f"its device {endpoint.device} is not on this machine, which has {here}"


def place_hint(endpoint: EndpointSettings, settings: Settings) -> str:
    """What to write into agents.toml for an endpoint whose device is not there."""
    key = endpoint.device if endpoint.device.isalnum() else f'"{endpoint.device}"'
    return (
        f"name another device for endpoints.{endpoint.name} in {settings.source or 'agents.toml'}; a card that cannot be "
        f'measured from here needs a size there: [budget] {key} = "14 GiB"'
    )
