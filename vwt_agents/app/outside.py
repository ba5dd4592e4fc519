"""Outside: what a run meets of the machine it is on. A test puts something else in its place. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vwt_agents.traces import providers

if TYPE_CHECKING:
    from collections.abc import Callable

    from vwt_agents.config import EndpointSettings, Settings
    from vwt_agents.devices import Found
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.traces import Providers

__all__ = ["Looks", "Outside"]


class Looks(Protocol):
    """Looks at the devices, again and again: `devices.Reader`, or what stands in for it."""

    def read(self, *, who: bool = False) -> Found:
        """The devices now; may block, never raises."""
        ...

    def close(self) -> None:
        """No more looks."""
        ...


def _as_they_are(settings: Settings) -> Settings:
    return settings


@dataclass(frozen=True, slots=True)
class Outside:
    """What a world is made of: `endpoint` makes an endpoint from its settings, `reader` what looks at the devices.

    `adjust` is given the settings of agents.toml before anything is made by them; `telemetry` says where spans and metrics
    go, and is given what to tell the user by.
    """

    endpoint: Callable[[EndpointSettings], Endpoint]
    reader: Callable[[], Looks]
    adjust: Callable[[Settings], Settings] = _as_they_are
    telemetry: Callable[[Callable[[str], None]], Providers | None] = providers

    def look(self) -> Found:
        """One look at the devices, and who takes the most of each."""
        reader = self.reader()
        try:
            return reader.read(who=True)
        finally:
            reader.close()
