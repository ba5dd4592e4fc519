"""What happened, told to the core. Owns the events; never decides what follows from them (scheduler.py does).

Every Load action is answered by exactly one Loaded, LoadFailed or LoadDeferred, every Unload by exactly one Unloaded or
UnloadFailed, and every Grant by one Released. A report about a model that is not registered changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from vwt_agents.core.specs import ModelKey, ModelSpec, RequestClass
    from vwt_agents.core.steps import Step
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = [
    "Announced",
    "BudgetSet",
    "Cancelled",
    "Closing",
    "Event",
    "LoadDeferred",
    "LoadFailed",
    "Loaded",
    "Occupied",
    "Pressed",
    "Registered",
    "Released",
    "RequestEvent",
    "ResidencyEvent",
    "RunEnded",
    "RunEvent",
    "SettingEvent",
    "StepBegan",
    "StepEnded",
    "Submitted",
    "UnloadFailed",
    "Unloaded",
    "Vanished",
    "Woken",
]


@dataclass(frozen=True, slots=True)
class Registered:
    """A model may now be asked for. Told again, the new spec holds from the model's next load on."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class BudgetSet:
    """The memory all models together may take on a device; may be less than what is resident now."""

    device: str
    mib: Mib


@dataclass(frozen=True, slots=True)
class Occupied:
    """What others take of a device's budget for now: other processes, models we did not load, other programs.

    It lessens what may be loaded. Requests that need it wait until it is free again, for as long as patience lasts.
    """

    device: str
    mib: Mib


@dataclass(frozen=True, slots=True)
class Pressed:
    """Another process waits for `mib` of free memory on a device; 0 MiB: nobody waits any more.

    With `key` it waits for that very model of ours, which it would load otherwise: `wanted` says how, for people. Models that
    nobody asks for make way at once, from `due` on those in use do too, once their visits were long enough.
    """

    device: str
    mib: Mib
    due: Seconds = 0.0
    key: ModelKey | None = None
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """A run says what it will do, once and before its first request: its steps, each after those it waits for."""

    run: str
    steps: tuple[Step, ...]
    klass: RequestClass = "batch"


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step that was announced has begun."""

    run: str
    step: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step that was announced is over; it makes no more requests."""

    run: str
    step: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over; nothing more of it comes."""

    run: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """A request wants a slot. Runs on the tier `large` are served in order of arrival, whatever their class.

    `step` is the announced step it belongs to, `seconds` how long it is believed to hold its slot (None: as announced),
    `prefix` names the text its prompt shares with others. From `deadline` on nobody wants its answer: still waiting
    then, it is rejected.
    """

    request: RequestId
    key: ModelKey
    run: str
    tier: str = "small"
    klass: RequestClass = "batch"
    step: str = ""
    seconds: Seconds | None = None
    prefix: str = ""
    deadline: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller left before its call began. Frees the slot too when the grant crossed the cancelling."""

    request: RequestId


@dataclass(frozen=True, slots=True)
class Released:
    """The call of a granted request is over, well or badly; its slot is free."""

    request: RequestId


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model can serve, and takes `measured` MiB (None: not known, so the estimate stands).

    A model the core did not load is adopted: its memory is taken, whoever asked for it.
    """

    key: ModelKey
    measured: Mib | None = None


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model could not be loaded and takes no memory; `reason` is in the engine's words."""

    key: ModelKey
    reason: str


@dataclass(frozen=True, slots=True)
class LoadDeferred:
    """The load was not begun, because others hold the memory at this moment: `reason` says who. It is tried again."""

    key: ModelKey
    reason: str


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The model's memory is free."""

    key: ModelKey


@dataclass(frozen=True, slots=True)
class UnloadFailed:
    """The model is still in memory; `reason` is in the engine's words. It is tried again later."""

    key: ModelKey
    reason: str


@dataclass(frozen=True, slots=True)
class Vanished:
    """A resident model is gone without being told to. Its leases still end with Released, before or after this.

    While a load or an unload is under way its own answer counts, and this changes nothing.
    """

    key: ModelKey
    reason: str


@dataclass(frozen=True, slots=True)
class Woken:
    """The deadline has passed."""


@dataclass(frozen=True, slots=True)
class Closing:
    """Drain everything: what waits is rejected, what is resident is unloaded once idle, nothing is admitted."""


SettingEvent: TypeAlias = Registered | BudgetSet | Occupied | Pressed | Closing
RunEvent: TypeAlias = Announced | StepBegan | StepEnded | RunEnded
RequestEvent: TypeAlias = Submitted | Cancelled | Released
ResidencyEvent: TypeAlias = Loaded | LoadFailed | LoadDeferred | Unloaded | UnloadFailed | Vanished
Event: TypeAlias = SettingEvent | RunEvent | RequestEvent | ResidencyEvent | Woken
