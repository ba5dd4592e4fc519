"""The form of agents.toml as pydantic models, and their conversion to settings. Only imported while a file is read.

Owns which keys there are, their types and bounds. Never checks one table against another: `references` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from vwt_agents.config.settings import (
    AgentSettings,
    Backend,
    BudgetSettings,
    EndpointKind,
    EndpointSettings,
    LicenceSettings,
    RoutingSettings,
    RunSettings,
    SandboxSettings,
    SchedulerSettings,
    Scope,
    Settings,
    StartSettings,
    TierSettings,
    frozen,
)
from vwt_agents.core import RequestClass  # noqa: TC001 - pydantic reads this module's annotations
from vwt_agents.limits import RunLimits
from vwt_agents.messages import Options, Priority, Think
from vwt_agents.types import Mib, Seconds, TierName, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AgentsToml"]


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else _refuse(value, "a size in quotes, such as '14 GiB'")


def _size_or_auto(value: Any) -> Any:
    return value if value == "auto" else _size(value)


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else _refuse(value, "a duration in quotes, such as '15s'")


def _url(value: str) -> str:
    return value if re.match(r"https?://[^/\s]", value) else _refuse(value, "a URL such as 'http://127.0.0.1:11434'")


def _line(value: str) -> str:
    return (
        value if value.isprintable() and value.strip() == value else _refuse(value, "one line without spaces around it")
    )


def _think(value: Any) -> Any:
    known = isinstance(value, bool) or value in ("low", "medium", "high")
    return value if known else _refuse(value, "true, false, 'low', 'medium' or 'high'")


def _refuse(value: Any, wanted: str) -> Any:
    raise ValueError(f"{value!r} is not {wanted}")


Size = Annotated[Mib, BeforeValidator(_size), Field(ge=0)]
SizeOrAuto = Annotated[Mib | Literal["auto"], BeforeValidator(_size_or_auto)]
Duration = Annotated[Seconds, BeforeValidator(_duration)]
Url = Annotated[str, AfterValidator(_url)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_line)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

# The engines' own numbers: a larger one is cut off there, or answered with a fault of the server.
_INT32: Final = 2**31 - 1
_LAST_SEED: Final = 2**32 - 2  # the next one means "any" to llama.cpp
_PULL_S: Final = 1800.0  # a first `up` brings the image: 2 GB take half an hour at 10 Mbit/s


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Budget(_Table):
    """[budget]: any device (gpu0, gpu1, "gpu0:0", ..., cpu) may be named."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, SizeOrAuto] = Field(init=False)
    gpu0: SizeOrAuto = "auto"
    cpu: SizeOrAuto = "auto"
    reserve: Size = BudgetSettings().reserve

    def settings(self) -> BudgetSettings:
        """The same as settings."""
        devices: dict[str, Mib | Literal["auto"]] = {"gpu0": self.gpu0, "cpu": self.cpu, **self.__pydantic_extra__}
        return BudgetSettings(devices=frozen(devices), reserve=self.reserve)


class MaxWait(_Table):
    """[scheduler] max_wait."""

    interactive: Duration = SchedulerSettings().max_wait["interactive"]
    batch: Duration = SchedulerSettings().max_wait["batch"]


class Scheduler(_Table):
    """[scheduler]."""

    max_agents: Count = SchedulerSettings().max_agents
    max_wait: MaxWait = MaxWait()
    keep_alive: Duration = SchedulerSettings().keep_alive
    patience: Duration = SchedulerSettings().patience

    def settings(self) -> SchedulerSettings:
        """The same as settings."""
        waits: dict[RequestClass, float] = {"interactive": self.max_wait.interactive, "batch": self.max_wait.batch}
        return SchedulerSettings(self.max_agents, frozen(waits), self.keep_alive, self.patience)


class Start(_Table):
    """An endpoint's `start`."""

    compose: Annotated[list[Name], Field(min_length=1)] | None = None
    service: Name | None = None
    project: Name | None = None
    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    env: dict[Variable, str] = {}
    timeout: Duration | None = None

    def settings(self, folder: Path, idle_stop: Seconds | None) -> StartSettings:
        """The same as settings, with paths relative to `folder`; a program named without a slash is sought on the PATH."""
        program, *arguments = self.command or [""]
        if "/" in program:
            program = str(folder / program)
        usual = StartSettings()
        return StartSettings(
            compose=tuple(folder / name for name in self.compose or ()),
            service=self.service,
            project=self.project,
            command=(program, *arguments) if self.command else (),
            env=frozen(self.env),
            folder=folder,
            timeout=self.timeout or (_PULL_S if self.compose else usual.timeout),
            idle_stop=idle_stop or usual.idle_stop,
        )


class Endpoint(_Table):
    """[endpoints.NAME]."""

    kind: EndpointKind
    url: Url | None = None
    device: Name | None = None
    parallel: Count = 4
    threads: Count | None = None
    start: Start | None = None
    idle_stop: Duration | None = None
    cache_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    flash_attention: bool = True

    def settings(self, name: str, folder: Path) -> EndpointSettings:
        """The same as settings; where no device is named, an embedded engine's is the CPU, and Ollama's is found out."""
        device = self.device or ("cpu" if self.kind == "embedded" else "auto")
        start = self.start.settings(folder, self.idle_stop) if self.start is not None else None
        return EndpointSettings(
            name,
            self.kind,
            device,
            self.url,
            self.parallel,
            self.threads,
            start,
            self.cache_type,
            self.flash_attention,
        )


class Pool(_Table):
    """A tier's `otherwise`."""

    endpoint: Name
    models: Annotated[list[Name], Field(min_length=1)]
    workers: Count | None = None
    num_ctx: Annotated[int, Field(ge=256)] | None = None

    def settings(self, name: TierName) -> TierSettings:
        """The same as settings."""
        return TierSettings(name, self.endpoint, tuple(self.models), self.workers, self.num_ctx)


class Tier(Pool):
    """[tiers.small] and [tiers.large]."""

    otherwise: Pool | None = None

    def settings(self, name: TierName) -> TierSettings:
        """The same as settings."""
        otherwise = self.otherwise.settings(name) if self.otherwise else None
        return TierSettings(name, self.endpoint, tuple(self.models), self.workers, self.num_ctx, otherwise)


class Tiers(_Table):
    """[tiers]."""

    small: Tier
    large: Tier | None = None


class Routing(_Table):
    """[routing]."""

    promote_at: Count = RoutingSettings().promote_at
    scope: Scope = RoutingSettings().scope
    substitute: bool = RoutingSettings().substitute


class Sampling(_Table):
    """An agent's `options`, and those of one call: what `messages.Options` has, and nothing that would reload a model."""

    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_INT32)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=_LAST_SEED)] | None = None
    num_predict: Annotated[int, Field(ge=1, le=_INT32)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1)]], Field(strict=False)] = []  # a line break is a good one
    think: Annotated[Think, BeforeValidator(_think)] | None = None

    def settings(self) -> Options:
        """The same as options of a request."""
        return Options(**{**self.model_dump(), "stop": tuple(self.stop)})


class Agent(_Table):
    """[agents.NAME]."""

    task: Name = "general"
    model: Name | None = None
    tier: TierName | None = None
    fallback: list[Name] = []
    num_ctx: Annotated[int, Field(ge=256)] | None = None
    system: str = ""
    options: Sampling = Sampling()
    timeout: Duration = 600.0
    deadline: Duration | None = None
    priority: Priority | None = None

    def settings(self, name: str) -> AgentSettings:
        """The same as settings."""
        return AgentSettings(
            name=name,
            task=self.task,
            model=self.model,
            tier=self.tier,
            fallback=tuple(self.fallback),
            num_ctx=self.num_ctx,
            system=self.system.strip(),
            options=self.options.settings(),
            timeout=self.timeout,
            deadline=self.deadline,
            priority=self.priority,
        )


class Run(_Table):
    """[run]."""

    priority: Priority = RunSettings().priority
    deadline: Duration | None = None
    max_calls: Count | None = None
    max_tokens: Count | None = None
    max_seconds: Annotated[Seconds, Field(gt=0, allow_inf_nan=False)] | None = None

    def settings(self) -> RunSettings:
        """The same as settings."""
        limits = RunLimits(self.deadline, self.max_calls, self.max_tokens, self.max_seconds)
        return RunSettings(self.priority, limits)


class Licences(_Table):
    """[licences]."""

    allow: list[Name] = list(LicenceSettings().allow)
    accept: list[Name] = []


class Sandbox(_Table):
    """[sandbox]."""

    backend: Backend = SandboxSettings().backend
    timeout: Duration = SandboxSettings().timeout
    memory: Annotated[Mib, BeforeValidator(_size), Field(gt=0)] = SandboxSettings().memory
    allow_reduced: bool = SandboxSettings().allow_reduced


class AgentsToml(_Table):
    """The whole file."""

    budget: Budget = Budget()
    scheduler: Scheduler = Scheduler()
    endpoints: dict[str, Endpoint]
    tiers: Tiers
    routing: Routing = Routing()
    agents: dict[str, Agent] = {}
    licences: Licences = Licences()
    sandbox: Sandbox = Sandbox()
    run: Run = Run()

    def settings(self, source: Path | None) -> Settings:
        """The same as settings."""
        tiers: dict[TierName, TierSettings] = {"small": self.tiers.small.settings("small")}
        if self.tiers.large is not None:
            tiers["large"] = self.tiers.large.settings("large")
        folder = source.parent if source is not None else Path()
        return Settings(
            source=source,
            endpoints=frozen({name: table.settings(name, folder) for name, table in self.endpoints.items()}),
            tiers=frozen(tiers),
            agents=_named(self.agents),
            budget=self.budget.settings(),
            scheduler=self.scheduler.settings(),
            routing=RoutingSettings(self.routing.promote_at, self.routing.scope, self.routing.substitute),
            licences=LicenceSettings(tuple(self.licences.allow), tuple(self.licences.accept)),
            sandbox=SandboxSettings(**dict(self.sandbox)),
            run=self.run.settings(),
        )


def _named(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    return frozen({name: table.settings(name) for name, table in tables.items()})
