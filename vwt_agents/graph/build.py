"""From a declared pipeline to a checked graph: wires every parameter, orders the stages, collects the inputs.

Every fault is kept until the end, so that one run of the check shows all of them, in the order of the user's files.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vwt_agents.errors import DefinitionError, Fault, did_you_mean
from vwt_agents.graph.scope import Found, Scope, same
from vwt_agents.graph.shape import REQUIRED, Graph, Input, Param, Stage
from vwt_agents.graph.signature import Parameter, Signature
from vwt_agents.graph.typenames import contradict, item_type, type_name, unwrapped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from vwt_agents.pipeline import Pipeline

__all__ = ["build_graph"]


@dataclass(frozen=True, slots=True)
class _Use:
    """One parameter that is fed by an input; `item` when it gets the input's items one by one."""

    input: str
    annotation: Any
    default: Any
    stage: str
    where: str
    item: bool
    names: tuple[str, ...]

    @property
    def type(self) -> Any:
        return list[self.annotation] if self.item else self.annotation  # type: ignore[name-defined]


def build_graph(pipeline: Pipeline, *, agents: Collection[str] | None = None) -> Graph:
    """The pipeline wired, ordered and checked; DefinitionError with every fault at once.

    `agents` are the names that agents.toml defines; None leaves them unchecked.
    """
    faults: list[Fault] = []
    uses: list[_Use] = []
    root = Scope(pipeline, faults)
    stages = [_wire(scope, signature, uses, faults) for scope, signature in root.walk()]
    if agents is not None:
        faults += [fault for stage in stages for fault in _unknown_agents(stage, agents)]
    ordered = _ordered(stages, faults)
    inputs = [
        _input(name, [use for use in uses if use.input == name], faults)
        for name in dict.fromkeys(u.input for u in uses)
    ]
    if faults:
        raise DefinitionError(sorted(dict.fromkeys(faults), key=_by_line))
    needed = {need for stage in ordered for need in stage.needs}
    terminals = tuple(stage.name for stage in ordered if stage.name not in needed)
    output = _stage_param("output", root.result(), Any)
    return Graph(pipeline.name, pipeline.doc, tuple(ordered), tuple(inputs), terminals, output)


def _by_line(fault: Fault) -> tuple[str, int]:
    file, _, line = fault.where.rpartition(":")
    return file, int(line)


def _wire(scope: Scope, signature: Signature, uses: list[_Use], faults: list[Fault]) -> Stage:
    name = scope.prefix + signature.name
    params: list[Param] = []
    for parameter in signature.parameters:
        if parameter.role == "agent":
            params.append(Param(parameter.name, "agent", parameter.name, parameter.annotation))
            continue
        if parameter.role == "service":
            service = unwrapped(parameter.annotation)
            params.append(Param(parameter.name, "service", str(service.__name__), parameter.annotation))
            continue
        found = scope.lookup(parameter.source, parameter.default)
        item = signature.each is not None and signature.each.parameter == parameter.name
        if found.is_input:
            params.append(Param(parameter.name, "input", found.source, parameter.annotation))
            use = _Use(found.source, parameter.annotation, found.default, name, signature.where, item, scope.names)
            uses.append(use)
            continue
        faults += [
            Fault(signature.where, f"stage {signature.name}: {text}") for text in _mismatch(parameter, found, item=item)
        ]
        params.append(_stage_param(parameter.name, found, parameter.annotation))
    return _stage(name, signature, params)


def _stage(name: str, signature: Signature, params: Sequence[Param]) -> Stage:
    declaration = signature.declaration
    each = signature.each
    if each is not None:
        wired = next((param.source for param in params if param.name == each.parameter), each.source)
        each = type(each)(each.parameter, wired)
    asked = (declaration.agent,) if declaration.agent is not None else ()
    return Stage(
        name=name,
        func=declaration.func,
        params=tuple(params),
        needs=tuple(dict.fromkeys(stage for param in params for stage in param.stages)),
        agents=tuple(dict.fromkeys((*asked, *(param.source for param in params if param.role == "agent")))),
        importance="high" if declaration.importance == "high" else "normal",
        each=each,
        timeout=signature.timeout,
        returns=signature.returns,
        kind="stage" if declaration.agent is None else "ask",
        where=signature.where,
        agent=declaration.agent,
        policy=signature.policy,
    )


def _stage_param(name: str, found: Found, annotation: Any) -> Param:
    if len(found.stages) == 1:
        return Param(name, "stage", found.stages[0][1], annotation)
    return Param(name, "stage", found.source, annotation, found.stages)


def _mismatch(parameter: Parameter, found: Found, *, item: bool) -> Iterable[str]:
    given, wanted = found.annotation, parameter.annotation
    if item:
        given = item_type(found.annotation)
        if given is None:
            yield f"each={parameter.source!r}: {found.source} gives {type_name(found.annotation)}, which has no items"
            return
    if contradict(given, wanted):
        what = f"an item of {found.source}" if item else found.source
        yield f"parameter {parameter.name} is {type_name(wanted)}, but {what} is {type_name(given)}"


def _unknown_agents(stage: Stage, agents: Collection[str]) -> Iterable[Fault]:
    for agent in stage.agents:
        if agent not in agents:
            yield Fault(
                stage.where, f"stage {stage.name}: no agent {agent!r} in agents.toml", did_you_mean(agent, agents)
            )


def _ordered(stages: Sequence[Stage], faults: list[Fault]) -> list[Stage]:
    """The stages, each after all it needs, otherwise as they were written; a cycle is reported, then taken out."""
    waiting = {stage.name: stage for stage in stages}
    ordered: list[Stage] = []
    while waiting:
        ready = next((stage for stage in waiting.values() if not any(need in waiting for need in stage.needs)), None)
        if ready is not None:
            ordered.append(waiting.pop(ready.name))
            continue
        cycle = _cycle(waiting)
        path = " -> ".join([*cycle, cycle[0]])
        message = f"stages wait for each other: {path}" if len(cycle) > 1 else f"stage waits for itself: {path}"
        faults.append(Fault(waiting[cycle[0]].where, message, "a loop is plain Python inside one stage"))
        for name in cycle:
            del waiting[name]
    return ordered


def _cycle(waiting: dict[str, Stage]) -> list[str]:
    """One cycle among stages of which each waits for another, beginning with the one written first."""
    path = [next(iter(waiting))]
    while True:
        following = next(need for need in waiting[path[-1]].needs if need in waiting)
        if following in path:
            cycle = path[path.index(following) :]
            first = next(index for name in waiting for index, member in enumerate(cycle) if member == name)
            return [*cycle[first:], *cycle[:first]]
        path.append(following)


def _input(name: str, uses: Sequence[_Use], faults: list[Fault]) -> Input:
    typed = (
        [use for use in uses if not use.item and use.annotation is not Any] or [use for use in uses if use.item] or uses
    )
    for use in typed:
        if use.type != typed[0].type:
            here, there = type_name(use.type), type_name(typed[0].type)
            message = f"stage {use.stage}: input {name} is {here} here and {there} in stage {typed[0].stage}"
            faults.append(Fault(use.where, message))
    annotation = typed[0].type
    for use in (use for use in uses if use.item):
        given = Found((), annotation, f"input {name}")
        parameter = Parameter(name, "value", use.annotation, REQUIRED, name)
        faults += [Fault(use.where, f"stage {use.stage}: {text}") for text in _mismatch(parameter, given, item=True)]
    defaults = [use for use in uses if use.default is not REQUIRED]
    for use in defaults:
        if not same(use.default, defaults[0].default):
            there = f"{defaults[0].default!r} in stage {defaults[0].stage}"
            message = f"stage {use.stage}: input {name} has the default {use.default!r} here and {there}"
            faults.append(Fault(use.where, message, "keep one of them"))
    default = defaults[0].default if defaults else REQUIRED
    near = None if defaults else next(iter(difflib.get_close_matches(name, _stage_names(uses), n=1, cutoff=0.75)), None)
    return Input(name, annotation, default, tuple(dict.fromkeys(use.stage for use in uses)), near)


def _stage_names(uses: Iterable[_Use]) -> list[str]:
    return sorted({name for use in uses for name in use.names})
