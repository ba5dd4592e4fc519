"""The sans-IO core: events in, actions out. Owns residencies, leases, queues, the budget; imports no I/O, no clock."""

from __future__ import annotations

from vwt_agents.core.actions import Action, Grant, Load, Reject, Unload
from vwt_agents.core.events import (
    BudgetSet,
    Cancelled,
    Closing,
    Event,
    Loaded,
    LoadFailed,
    Registered,
    Released,
    Submitted,
    Unloaded,
    UnloadFailed,
    Vanished,
    Woken,
)
from vwt_agents.core.explain import explain
from vwt_agents.core.placement import Exhaustive, Placement, Policy
from vwt_agents.core.queue import Waiting
from vwt_agents.core.scheduler import Scheduler
from vwt_agents.core.specs import ModelKey, ModelSpec, RequestClass
from vwt_agents.core.state import Residency, State

__all__ = [
    "Action",
    "BudgetSet",
    "Cancelled",
    "Closing",
    "Event",
    "Exhaustive",
    "Grant",
    "Load",
    "LoadFailed",
    "Loaded",
    "ModelKey",
    "ModelSpec",
    "Placement",
    "Policy",
    "Registered",
    "Reject",
    "Released",
    "RequestClass",
    "Residency",
    "Scheduler",
    "State",
    "Submitted",
    "Unload",
    "UnloadFailed",
    "Unloaded",
    "Vanished",
    "Waiting",
    "Woken",
    "explain",
]
