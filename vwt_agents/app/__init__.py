"""The composition root: settings, endpoints, core, journal and sandbox put together for one command.

`world` opens what the settings name and measures it, `execute` plans and runs a `job` in it.
Everything below is handed what it needs; only here are things made.
"""

from vwt_agents.app.execute import App
from vwt_agents.app.job import Job, PlannedRun
from vwt_agents.app.resuming import forked, resumed
from vwt_agents.app.world import World, open_world

__all__ = ["App", "Job", "PlannedRun", "World", "forked", "open_world", "resumed"]
