"""agents.toml as settings. Owns its schema, its defaults and its faults with file and line; never talks to an endpoint.

`settings` is what the rest of the package sees; `schema` and `located` are only imported while a file is being read.
"""

from vwt_agents.config.licences import licence_id
from vwt_agents.config.load import load_settings, parse_settings
from vwt_agents.config.settings import (
    DEFAULT_NUM_CTX,
    AgentSettings,
    BudgetSettings,
    EndpointSettings,
    LicenceSettings,
    RoutingSettings,
    RunSettings,
    SandboxSettings,
    SchedulerSettings,
    Settings,
    StartSettings,
    TierSettings,
    canonical,
)

__all__ = [
    "DEFAULT_NUM_CTX",
    "AgentSettings",
    "BudgetSettings",
    "EndpointSettings",
    "LicenceSettings",
    "RoutingSettings",
    "RunSettings",
    "SandboxSettings",
    "SchedulerSettings",
    "Settings",
    "StartSettings",
    "TierSettings",
    "canonical",
    "licence_id",
    "load_settings",
    "parse_settings",
]
