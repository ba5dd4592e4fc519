"""What agents.toml says, as frozen values. Owns the defaults; never reads a file, never checks one name by another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from vwt_agents.config.licences import licence_id
from vwt_agents.limits import RunLimits
from vwt_agents.messages import Options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vwt_agents.core import RequestClass
    from vwt_agents.messages import Priority
    from vwt_agents.types import CacheType, Mib, Seconds, TierName

__all__ = [
    "DEFAULT_NUM_CTX",
    "AgentSettings",
    "Backend",
    "BudgetSettings",
    "EndpointKind",
    "EndpointSettings",
    "LicenceSettings",
    "RoutingSettings",
    "RunSettings",
    "SandboxSettings",
    "SchedulerSettings",
    "Scope",
    "Settings",
    "StartSettings",
    "TierSettings",
    "canonical",
    "frozen",
]

EndpointKind: TypeAlias = Literal["ollama", "embedded"]
Backend: TypeAlias = Literal["auto", "bubblewrap", "namespaces", "docker", "podman", "landlock", "unsafe"]
Scope: TypeAlias = Literal["run", "stage"]

DEFAULT_NUM_CTX: Final = 4096
"""Tokens per slot where neither the agent nor its tier says."""

_K = TypeVar("_K", bound=str)
_V = TypeVar("_V")


def frozen(items: Mapping[_K, _V]) -> Mapping[_K, _V]:
    """A read-only copy."""
    return MappingProxyType(dict(items))


def canonical(model: str) -> str:
    """A model's name as Ollama compares it: lower case, and `:latest` where no tag is given."""
    name = model.lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Memory the models may take, per device: MiB, or `"auto"` for what the device has less `reserve` MiB."""

    devices: Mapping[str, Mib | Literal["auto"]] = field(
        default_factory=lambda: frozen({"gpu0": "auto", "cpu": "auto"})
    )
    reserve: Mib = 1536


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How many agents run at once, how long a request of each class may wait, and how long an idle model stays.

    `patience` is how long requests wait for memory that other processes or programs hold, before they fail.
    """

    max_agents: int = 4
    max_wait: Mapping[RequestClass, Seconds] = field(
        default_factory=lambda: frozen({"interactive": 15.0, "batch": 120.0})
    )
    keep_alive: Seconds = 600.0
    patience: Seconds = 600.0


@dataclass(frozen=True, slots=True)
class StartSettings:
    """How an endpoint's server is brought up on demand: `service` of the `compose` files, or `command`; never both.

    Paths are absolute, or relative to the current folder; `folder` is where agents.toml is. `env` goes over what is
    derived from the endpoint. `timeout` bounds a start, in seconds; after `idle_stop` seconds without use it is stopped.
    """

    compose: tuple[Path, ...] = ()
    service: str | None = None
    project: str | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: frozen({}))
    folder: Path | None = None
    timeout: Seconds = 60.0
    idle_stop: Seconds = 600.0


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """A place that serves models; `url` None is the engine's own default.

    `threads` None are all cores but one, and two where there are two. `start` None: somebody else brings it up.
    `cache_type` and `flash_attention` say how an Ollama server keeps its KV cache, which its environment decides; the
    embedded engine is told.

    The device "auto" is resolved once the machine has been looked at: `gpu0` where there is a GPU, else `cpu`.
    """

    name: str
    kind: EndpointKind
    device: str
    url: str | None = None
    parallel: int = 4
    threads: int | None = None
    start: StartSettings | None = None
    cache_type: CacheType = "f16"
    flash_attention: bool = True


@dataclass(frozen=True, slots=True)
class TierSettings:
    """A pool of models on one endpoint, best first; `otherwise` takes its place when that endpoint does not answer."""

    name: TierName
    endpoint: str
    models: tuple[str, ...]
    workers: int | None = None
    num_ctx: int | None = None
    otherwise: TierSettings | None = None


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """When a run is promoted: at this many high-importance stages, and whether all its stages move or only those.

    `substitute`: agents that may share a model do, where their models would otherwise be swapped.
    """

    promote_at: int = 2
    scope: Scope = "run"
    substitute: bool = True


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent: what it is for, how it is told so, which model it prefers.

    `timeout` bounds one call, from grant to last token, and `deadline` its wait and the call together, both in seconds.
    `priority` is the class its calls wait in; None is the run's.
    """

    name: str
    task: str = "general"
    model: str | None = None
    tier: TierName | None = None
    fallback: tuple[str, ...] = ()
    num_ctx: int | None = None
    system: str = ""
    options: Options = field(default_factory=Options)
    timeout: Seconds = 600.0
    deadline: Seconds | None = None
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The class of a run's calls where nobody says otherwise, and what the run may take."""

    priority: Priority = "batch"
    limits: RunLimits = field(default_factory=RunLimits)

    def under(self, priority: Priority | None, limits: RunLimits) -> RunSettings:
        """These settings, with what is said for one run in place of theirs."""
        return RunSettings(priority or self.priority, self.limits.under(limits))


@dataclass(frozen=True, slots=True)
class LicenceSettings:
    """Licences that need no word, by id, and models that are accepted whatever theirs is."""

    allow: tuple[str, ...] = ("apache-2.0", "mit")
    accept: tuple[str, ...] = ()

    def allows(self, model: str, licence: str) -> bool:
        """Whether `model` may be used under `licence` (an id or the full text). No licence known at all is let pass."""
        if canonical(model) in {canonical(name) for name in self.accept}:
            return True
        return not licence.strip() or licence_id(licence) in {name.lower() for name in self.allow}


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How code from a model is run: the means, its limits (seconds of wall time, MiB), and whether less protection will do."""

    backend: Backend = "auto"
    timeout: Seconds = 30.0
    memory: Mib = 1024
    allow_reduced: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """All of agents.toml, checked. `source` is the file it came from, None for the packaged default."""

    source: Path | None
    endpoints: Mapping[str, EndpointSettings]
    tiers: Mapping[TierName, TierSettings]
    agents: Mapping[str, AgentSettings]
    budget: BudgetSettings = BudgetSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    routing: RoutingSettings = RoutingSettings()
    licences: LicenceSettings = LicenceSettings()
    sandbox: SandboxSettings = SandboxSettings()
    run: RunSettings = RunSettings()

    def on(self, device: str) -> Settings:
        """These settings with every endpoint on the device "auto" put on this one."""
        endpoints = {
            name: replace(endpoint, device=device) if endpoint.device == "auto" else endpoint
            for name, endpoint in self.endpoints.items()
        }
        return replace(self, endpoints=frozen(endpoints))

    def ways(self, endpoint: str) -> tuple[tuple[TierName, TierSettings], ...]:
        """Each tier, or the `otherwise` of one, that this endpoint serves, with the tier's name."""
        return tuple(
            (name, way)
            for name, tier in self.tiers.items()
            for way in (tier, tier.otherwise)
            if way is not None and way.endpoint == endpoint
        )

    def listed(self, endpoint: str) -> tuple[str, ...]:
        """The models the tiers would have this endpoint serve, in their order, each once."""
        return tuple(dict.fromkeys(model for _tier, way in self.ways(endpoint) for model in way.models))
