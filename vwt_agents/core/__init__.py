"""The sans-IO core: events in, actions out. Owns residencies, leases, queues, the budget; imports no I/O, no clock."""

from __future__ import annotations

from vwt_agents.core.actions import Action, Grant, Load, Reject, Unload
from vwt_agents.core.events import (
    Announced,
    BudgetSet,
    Cancelled,
    Closing,
    Event,
    LoadDeferred,
    Loaded,
    LoadFailed,
    Occupied,
    Pressed,
    Registered,
    Released,
    RunEnded,
    StepBegan,
    StepEnded,
    Submitted,
    Unloaded,
    UnloadFailed,
    Vanished,
    Woken,
)
from vwt_agents.core.explain import explain
from vwt_agents.core.placement import NOTHING, Placement, Policy
from vwt_agents.core.program_aware import ProgramAware
from vwt_agents.core.queue import Waiting
from vwt_agents.core.scheduler import Scheduler
from vwt_agents.core.specs import ModelKey, ModelSpec, RequestClass
from vwt_agents.core.stages import Expected
from vwt_agents.core.state import Residency, State
from vwt_agents.core.steps import Step, Use

__all__ = [
    "NOTHING",
    "Action",
    "Announced",
    "BudgetSet",
    "Cancelled",
    "Closing",
    "Event",
    "Expected",
    "Grant",
    "Load",
    "LoadDeferred",
    "LoadFailed",
    "Loaded",
    "ModelKey",
    "ModelSpec",
    "Occupied",
    "Placement",
    "Policy",
    "Pressed",
    "ProgramAware",
    "Registered",
    "Reject",
    "Released",
    "RequestClass",
    "Residency",
    "RunEnded",
    "Scheduler",
    "State",
    "Step",
    "StepBegan",
    "StepEnded",
    "Submitted",
    "Unload",
    "UnloadFailed",
    "Unloaded",
    "Use",
    "Vanished",
    "Waiting",
    "Woken",
    "explain",
]
