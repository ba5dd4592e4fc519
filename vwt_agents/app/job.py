"""A run as it is asked for: the job, the run that it goes on with or is begun from, and its inputs.

Owns how what is asked meets the pipeline as it is now: inputs an earlier run had, stages that are to be done again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vwt_agents.errors import UsageError, did_you_mean
from vwt_agents.inputs import from_file, read_inputs
from vwt_agents.limits import RunLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vwt_agents.app.world import World
    from vwt_agents.config import Settings
    from vwt_agents.entries import Entry
    from vwt_agents.graph import Graph
    from vwt_agents.messages import Priority
    from vwt_agents.past import Past
    from vwt_agents.routing import Plan

__all__ = ["Fork", "Job", "PlannedRun", "inputs_of", "redone"]


@dataclass(frozen=True, slots=True)
class Fork:
    """A run begun from another: whose entries count as its own, up to which of its numbers; but for the stage `redo` and
    all that depend on it, where one is named. `code` has the marks of the parent's stages.
    """

    parent: str
    seq: int
    entries: tuple[Entry, ...]
    code: Mapping[str, str]
    redo: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do, as the command line says it.

    `resume` is the run to go on with and `past` what it has done; `fork` is the run that another one is begun from. In both
    cases `values` are its inputs as JSON data; `pairs` go over them. `priority` and `limits` go over those of agents.toml.
    `approve_all` says yes to every question to a person; with `use_cache` False, no other run's results are used.
    """

    pipeline: Path
    pairs: Sequence[str] = ()
    inputs_file: Path | None = None
    config: Path | None = None
    out: Path | None = None
    seed: int = 0
    resume: str | None = None
    values: Mapping[str, Any] | None = None
    past: Past | None = None
    fork: Fork | None = None
    priority: Priority | None = None
    limits: RunLimits = field(default_factory=RunLimits)
    approve_all: bool = False
    use_cache: bool = True


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A job whose texts are all in order, and where each of its calls will go."""

    job: Job
    settings: Settings
    graph: Graph
    inputs: Mapping[str, Any]
    plan: Plan
    world: World


def inputs_of(job: Job, graph: Graph, say: Callable[[str], None]) -> dict[str, Any]:
    """The inputs of the job's run, each checked; `say` is told what those of an earlier run have that the pipeline has not."""
    if job.values is None:
        return read_inputs(graph, job.pairs, job.inputs_file)
    known = {item.name for item in graph.inputs}
    before = {name: value for name, value in job.values.items() if name in known}
    for name in job.values.keys() - known:
        say(f"note: the pipeline takes no input {name!r} any more")
    run = job.resume or (job.fork.parent if job.fork is not None else "")
    source = Path(f"the inputs of {run}")
    return read_inputs(
        graph,
        job.pairs,
        source,
        lambda path: json.dumps(before) if path is source else from_file(path),
    )


def redone(fork: Fork | None, graph: Graph) -> tuple[str, ...]:
    """The stages that a fork does again: the one it names, and all that depend on it; UsageError where the pipeline has none
    of this name.
    """
    if fork is None or fork.redo is None:
        return ()
    stage = fork.redo
    names = [one.name for one in graph.stages]
    if stage not in names:
        raise UsageError(f"pipeline {graph.name} has no stage {stage!r}", hint=did_you_mean(stage, names))
    found = {stage}
    for one in graph.stages:  # each after all it needs
        if not found.isdisjoint(one.needs):
            found.add(one.name)
    return tuple(name for name in names if name in found)
