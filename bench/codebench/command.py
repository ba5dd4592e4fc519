"""What the two command lines have in common: their options, and the way from them to records and a report."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from codebench.contenders import Contender, FullPipeline
from codebench.lab import bench_settings, open_lab, settings_of
from codebench.measure import measure, turns
from codebench.records import Records, read_records
from codebench.table import report
from codebench.tasks import SETS, load_problems
from vwt_agents.errors import UsageError, VwtError
from vwt_agents.graph import build_graph
from vwt_agents.pipeline_file import load_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bench", "options", "perform", "switches"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is to be measured, and with what."""

    set: str
    tasks: str | None
    contenders: Sequence[Contender]
    model: str
    config: Path | None
    pipeline: Path
    results: Path
    seed: int = 0
    against: str | None = None


def options(doc: str | None, name: str) -> argparse.ArgumentParser:
    """The options both have; `name` is in the name of the results file."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="humaneval")
    parser.add_argument("--tasks", help="such as 0-163 or 3,7,9-20; all of the set where it is left out")
    parser.add_argument("--model", default="qwen2.5-coder:0.5b", help="a model of the embedded engine")
    parser.add_argument("--config", type=Path, help="an agents.toml in place of the benchmark's own: its coder's model")
    parser.add_argument("--pipeline", type=Path, default=ROOT / "pipelines" / "codegen.py")
    parser.add_argument("--inputs", nargs="+", default=[], metavar="NAME=VALUE", help="inputs of the pipeline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help=f"by default runs/bench/{name}-SET.jsonl")
    parser.add_argument("--report", action="store_true", help="measure nothing, print what is there")
    return parser


def switches(pipeline: Path) -> frozenset[str]:
    """The names of a pipeline's inputs; DefinitionError where it is none."""
    agents = bench_settings("any").agents
    return frozenset(item.name for item in build_graph(load_pipeline(pipeline), agents=agents).inputs)


def perform(bench: Bench, *, only_report: bool) -> int:
    """Measure what is missing and print the report; the exit code. Errors go to stderr with what to do next."""
    try:
        if not only_report:
            anyio.run(_measure, bench)
        if not bench.results.exists():
            raise UsageError(f"there is no {bench.results}", hint="leave --report out to measure")
        print(report(read_records(bench.results), against=bench.against))
    except VwtError as error:
        print(error.message, file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


async def _measure(bench: Bench) -> None:
    problems = load_problems(bench.set, bench.tasks)
    model = bench.model if bench.config is None else str(bench.config)
    with Records(bench.results) as records:
        left = turns(bench.set, problems, bench.contenders, records, model, bench.seed)
        if not left:
            return
        async with open_lab(settings_of(bench.config, bench.model), bench.pipeline, seed=bench.seed) as lab:
            for contender in bench.contenders:
                if isinstance(contender, FullPipeline):
                    contender.check(lab)
            await measure(lab, left, records, partial(print, file=sys.stderr, flush=True))
