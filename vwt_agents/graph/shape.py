"""Graph, Stage, Param, Input, Each: a checked pipeline as frozen values.

Owns what can be asked of them (width, the picture, fingerprints); never builds or judges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vwt_agents.graph.fingerprint import fingerprint
from vwt_agents.graph.policy import PLAIN, Policy
from vwt_agents.graph.typenames import type_name
from vwt_agents.graph.width import width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vwt_agents.types import Importance, Seconds

__all__ = ["REQUIRED", "Each", "Graph", "Input", "Kind", "Param", "ParamRole", "Required", "Stage"]

ParamRole: TypeAlias = Literal["agent", "service", "stage", "input"]
Kind: TypeAlias = Literal["stage", "ask"]


class Required(Enum):
    """The type of REQUIRED, the default of an input that has none."""

    REQUIRED = "required"

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required.REQUIRED


@dataclass(frozen=True, slots=True)
class Param:
    """Where one parameter's value comes from.

    `source` is the agent's name, the service's class name, the stage's or the input's name. `parts` is set where an
    included pipeline ends in several stages: the value is then a dict of these keys to these stages' results.
    """

    name: str
    role: ParamRole
    source: str
    annotation: Any
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages whose results it needs."""
        if self.role != "stage":
            return ()
        return tuple(stage for _, stage in self.parts) or (self.source,)

    def value(self, results: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """The value of a parameter with the role stage or input, from the stages' results and the run's inputs."""
        if self.parts:
            return {key: results[stage] for key, stage in self.parts}
        return results[self.source] if self.role == "stage" else inputs[self.source]


@dataclass(frozen=True, slots=True)
class Each:
    """A stage runs once per item of `source` (a stage or an input); its parameter `parameter` receives the item."""

    parameter: str
    source: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: call `func` with every parameter by its name. `needs` are the stages whose results it waits for.

    For the kind `ask`, `func` only builds the prompt (and may be a plain function), `agent` is asked, and `returns` is
    the type of the answer. `agents` are all it may call. With `each`, `returns` is the type of one item of the result.
    """

    name: str
    func: Callable[..., Any]
    params: tuple[Param, ...]
    needs: tuple[str, ...]
    agents: tuple[str, ...]
    importance: Importance
    each: Each | None
    timeout: Seconds | None
    returns: Any
    kind: Kind
    where: str
    agent: str | None = None
    policy: Policy = PLAIN
    fed: tuple[Param, ...] = field(init=False, repr=False, compare=False)
    """The parameters that are fed with values: all but agents, services and the item of an `each`."""
    introduced: bool = field(init=False, repr=False, compare=False)
    """Whether it is handed agents or services, which are told who asks."""
    _mark: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        item = self.each.parameter if self.each is not None else None
        fed = tuple(param for param in self.params if param.role in {"stage", "input"} and param.name != item)
        object.__setattr__(self, "fed", fed)
        introduced = bool(self.agents) or any(param.role == "service" for param in self.params)
        object.__setattr__(self, "introduced", introduced)

    @property
    def result(self) -> Any:
        """The type of what the stages that need it get: a list where it runs once per item."""
        return self.returns if self.each is None else list[self.returns]  # type: ignore[name-defined]

    def fingerprint(self) -> str:
        """The sha256 of what the stage does (for the journal): its code with the helpers and types of the user's own that
        it uses, and for an ask whom it asks for what.

        Taken once: neither changes.
        """
        if not self._mark:
            more = (self.agent, type_name(self.returns)) if self.agent is not None else ()
            types = (*(param.annotation for param in self.params), self.returns)
            object.__setattr__(self, "_mark", fingerprint(self.func, *more, types=types))
        return self._mark


@dataclass(frozen=True, slots=True)
class Input:
    """A value the run has to be given. `near` is a stage of nearly this name: the parameter may be a slip."""

    name: str
    annotation: Any
    default: Any
    used_by: tuple[str, ...]
    near: str | None = None

    @property
    def required(self) -> bool:
        """Whether a run must be given it."""
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Graph:
    """A pipeline that was checked. `stages` are in an order in which they could run one after the other.

    `terminals` are the stages nobody waits for; `output` says where the pipeline's own result comes from.
    """

    name: str
    doc: str
    stages: tuple[Stage, ...]
    inputs: tuple[Input, ...]
    terminals: tuple[str, ...]
    output: Param
    followers: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """The stages that wait for each stage, by its name."""

    def __post_init__(self) -> None:
        found: dict[str, list[str]] = {stage.name: [] for stage in self.stages}
        for stage in self.stages:
            for need in dict.fromkeys(stage.needs):
                found[need].append(stage.name)
        followers = MappingProxyType({name: tuple(names) for name, names in found.items()})
        object.__setattr__(self, "followers", followers)

    def stage(self, name: str) -> Stage:
        """The stage of that name; KeyError if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @property
    def agents(self) -> tuple[str, ...]:
        """Every agent that any stage may call, in order of first use."""
        return tuple(dict.fromkeys(agent for stage in self.stages for agent in stage.agents))

    @property
    def high(self) -> int:
        """How many stages are of high importance."""
        return sum(stage.importance == "high" for stage in self.stages)

    def width(self) -> int:
        """How many stages may at most run side by side, whatever each takes; a stage with `each` counts as one."""
        return width({stage.name: tuple(dict.fromkeys(stage.needs)) for stage in self.stages})

    def mermaid(self) -> str:
        """The graph as Mermaid text: inputs round, stages square with their agents, high importance in bold."""
        ids = {("stage", stage.name): f"s{index}" for index, stage in enumerate(self.stages)}
        ids |= {("input", item.name): f"i{index}" for index, item in enumerate(self.inputs)}
        lines = ["flowchart TD"]
        for item in self.inputs:
            label = _label(f"{item.name}: {type_name(item.annotation)}")
            lines.append(f"  {ids['input', item.name]}([{label}])")
        for stage in self.stages:
            label = _label(stage.name + (" (each)" if stage.each else ""), *stage.agents)
            lines.append(f"  {ids['stage', stage.name]}[{label}]{':::high' if stage.importance == 'high' else ''}")
        for stage in self.stages:
            sources = [("input", param.source) for param in stage.params if param.role == "input"]
            sources += [("stage", need) for need in stage.needs]
            lines += [f"  {ids[source]} --> {ids['stage', stage.name]}" for source in dict.fromkeys(sources)]
        if self.high:
            lines.append("  classDef high stroke-width:3px")
        return "\n".join(lines) + "\n"


def _label(*lines: str) -> str:
    escaped = (line.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;") for line in lines)
    return '"' + "<br/>".join(escaped) + '"'
