"""Jobs from the graphs of `pipelines/`: each stage becomes the calls and the CPU work it is made of.

What waits for what, which agents a stage asks and where it is repeated come from the pipelines themselves. A profile says
what no graph can: how long a call or a sandbox run takes, how many items a stage is repeated for, how often code has to be
repaired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.graph import build_graph
from vwt_agents.pipeline_file import load_pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from swapsim.drafts import Draft, Klass
    from vwt_agents.graph import Graph

__all__ = ["PROFILES", "Call", "Cpu", "Part", "add_run", "graph_of"]

PIPELINES: Final = Path(__file__).parents[2] / "pipelines"


@dataclass(frozen=True, slots=True)
class Call:
    """A call to the stage's agent, of typically `low` to `high` seconds."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cpu:
    """Work without a model, such as a run of the tests in the sandbox."""

    low: float
    high: float


Part = Call | Cpu
Profile = dict[str, tuple[tuple[Part, ...], tuple[Part, ...], tuple[int, ...]]]

PROFILES: Final[dict[str, Profile]] = {
    "codegen": {
        "folder": ((), (), ()),  # nothing to read: a task without a folder
        "brief": ((Cpu(0.1, 0.2),), (), (0,)),
        "draft": ((Call(8, 18),), (), (0,)),
        "tests": ((Call(6, 12),), (Call(6, 12),), (0, 0, 1)),
        "proven": ((Cpu(2, 6),), (Call(6, 14), Cpu(2, 6)), (0, 1, 2)),
        "review": ((Call(3, 6),), (), (0,)),
        "deliver": ((Cpu(0.1, 0.2),), (), (0,)),
    },
    "review": {
        "files": ((Cpu(0.1, 0.4),), (), (0,)),
        "lint": ((Call(3, 6),), (), (0,)),
        "critique": ((Call(3, 7),), (), (0,)),
        "summary": ((Cpu(0.1, 0.2),), (), (0,)),
    },
    "analysis": {"analysis": ((Call(15, 30),), (), (0,))},
    "hybrid": {"drafts": ((Call(3, 7),), (), (0,)), "decision": ((Call(5, 10),), (), (0,))},
}
"""By pipeline and stage: its parts, the parts it may repeat after these, and how often it does (one is drawn)."""


@cache
def graph_of(name: str) -> Graph:
    """The checked graph of a pipeline."""
    return build_graph(load_pipeline(PIPELINES / f"{name}.py"))


def add_run(
    draft: Draft,
    pipeline: str,
    run: str,
    served: Mapping[str, str],
    *,
    items: int = 1,
    release: float = 0.0,
    klass: Klass = "batch",
) -> None:
    """One run of a pipeline. `served` names each agent's model, `items` is how often a stage with `each` is repeated."""
    ends: dict[str, list[int]] = {}
    for stage in graph_of(pipeline).stages:
        parts, again, times = PROFILES[pipeline][stage.name]
        after = [job for need in stage.needs for job in ends[need]]
        if not parts:
            ends[stage.name] = after
            continue
        ends[stage.name] = []
        for _ in range(items if stage.each else 1):
            chain = [*parts, *again * draft.rng.choice(times)]
            model = served[stage.agents[0]] if stage.agents else None
            ends[stage.name].append(_add_chain(draft, chain, run, model, after, release, klass))


def _add_chain(
    draft: Draft,
    chain: Sequence[Part],
    run: str,
    model: str | None,
    after: list[int],
    release: float,
    klass: Klass,
) -> int:
    """Parts one after the other; the last one's job."""
    for part in chain:
        asked = model if isinstance(part, Call) else None
        seconds = draft.seconds(part.low, part.high)
        after = [draft.add(run, asked, seconds, after, release, klass)]
    return after[-1]
