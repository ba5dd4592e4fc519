"""Real models swapped for real: four runs over two models on the embedded engine, in a budget that holds only one of them.

python bench/real_swaps.py [--rounds 3] [--policies ours fifo exhaustive] [--priors learned|none] [--log] [--json]

The real Runner, Dispatcher, journal and embedded engine; only the core's policy differs. Rounds are interleaved in one
process (ours, fifo, exhaustive, ours, ...), every model unloaded in between; figures are medians. Each round makes the
same requests: the prompts are fixed, sampling is greedy, and the script fails if their fingerprints differ. `ours` is the
default policy and knows what each run announces; the rivals (bench/swapsim/rivals.py) are told the same and cannot use it.

Priors are the same for all: with `learned` the habits of one round of FIFO before the first, as a pipeline's second run
has them; with `none` what a first run has (10 s a call, which is ten times too long here).

MiB are those of the core's books, and, as `seen`, the most that the worker processes really took: the proportional
memory (Pss) of all children of this process, read from the kernel five times a second (Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from swapsim.rivals import RIVALS

from vwt_agents.app.foresight import serving
from vwt_agents.app.world import open_world
from vwt_agents.board import Board, Swap
from vwt_agents.config import parse_settings
from vwt_agents.core import Policy, Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.embedded.memory import process_mib
from vwt_agents.entries import request_fingerprint
from vwt_agents.errors import VwtError
from vwt_agents.graph import Graph, build_graph
from vwt_agents.habits import Habits, learn
from vwt_agents.journal import Journal
from vwt_agents.lookahead import steps
from vwt_agents.pipeline import Pipeline
from vwt_agents.routing import Plan, plan_routes
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from vwt_agents.app.world import World
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.types import Mib, Seconds

AGENTS_TOML = """
[budget]
cpu = "{budget} MiB"

[scheduler]
max_agents = 4

[endpoints.embedded]
kind = "embedded"
device = "cpu"
parallel = 4

[tiers.small]
endpoint = "embedded"
models = ["qwen2.5-coder:0.5b", "smollm2:135m"]
num_ctx = 1024

[routing]
substitute = false

[agents.coder]
task = "code"
model = "qwen2.5-coder:0.5b"
system = "You are a careful Python programmer."
options = {{ temperature = 0.0, num_predict = 16 }}

[agents.reader]
model = "smollm2:135m"
system = "You read code and answer in one sentence."
options = {{ temperature = 0.0, num_predict = 24 }}
"""

BUDGET: Mib = 700
"""Either model fits with its four slots; both do not, whatever is given up."""

RUNS = {
    "writer": "coder reader coder reader coder reader coder reader",
    "fixer": "reader coder reader coder reader coder reader coder",
    "tester": "coder coder reader coder reader reader coder reader",
    "explainer": "reader reader coder reader coder coder reader coder",
}
"""By run, the agents its stages ask, one after the other: both models, out of phase."""

ASKED = {
    "coder": "Write a Python function that {what}. Only the code.",
    "reader": "A Python function {what}. Name the most likely mistake in it.",
}
WHAT = ("adds two numbers", "reverses a string", "counts vowels", "finds a maximum", "sorts words", "sums squares")

SAMPLE_S: Seconds = 0.2


def chain(name: str, pipelines: Sequence[Pipeline]) -> None:
    """Declare a run's stages, each after the one before it, in these pipelines."""
    before = ""
    for number, agent in enumerate(RUNS[name].split()):
        stage, prompt = f"{name}{number}", ASKED[agent].format(what=WHAT[(len(name) + number) % len(WHAT)])
        made: dict[str, Any] = {}
        exec(f"def {stage}({before and before + ': str'}) -> str:\n    return {prompt!r}", made)
        for pipeline in pipelines:
            pipeline.ask(agent=agent)(made[stage])
        before = stage


def graphs(agents: Sequence[str]) -> tuple[Graph, dict[str, Graph]]:
    """All stages in one graph, to plan for them together; and a graph for each run."""
    team, alone = Pipeline("team"), {name: Pipeline(name) for name in RUNS}
    for name, pipeline in alone.items():
        chain(name, (team, pipeline))
    built = {name: build_graph(pipeline, agents=agents) for name, pipeline in alone.items()}
    return build_graph(team, agents=agents), built


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who asked, when (seconds into the round), and when its slot was granted and its answer there."""

    stage: str
    model: str
    asked: Seconds
    granted: Seconds
    ended: Seconds
    tokens: int
    fingerprint: str


@dataclass(slots=True)
class Watch:
    """A Caller that times what passes through it."""

    dispatcher: Dispatcher
    began: Seconds
    calls: list[Call] = field(default_factory=list)

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The dispatcher's answer."""
        asked = anyio.current_time() - self.began
        response = await self.dispatcher.call(request, on_chunk)
        usage = response.usage
        self.calls.append(
            Call(
                request.labels["stage"],
                request.model,
                asked,
                asked + usage.wait_s,
                anyio.current_time() - self.began,
                usage.output_tokens,
                request_fingerprint(request),
            )
        )
        return response


@dataclass(frozen=True, slots=True)
class Visit:
    """A model's stay in memory: its load, the calls it served, and the seconds it was idle while others waited."""

    model: str
    began: Seconds
    load_s: Seconds
    mib: Mib
    left: Seconds
    calls: int
    waited_for: int
    idle_s: Seconds


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one round under one policy, in seconds and MiB.

    `idle_s` is the time in which somebody waited while no call and no swap was under way.
    """

    policy: str
    makespan: Seconds
    mean_run: Seconds
    loads: int
    swap_s: Seconds
    idle_s: Seconds
    longest_wait: Seconds
    peak: Mib
    seen: Mib
    tokens: int
    visits: tuple[Visit, ...]
    requests: Counter[str]


FIGURES = {
    "loads": "loads",
    "makespan": "makespan s",
    "mean_run": "mean run s",
    "longest_wait": "worst wait s",
    "swap_s": "swapping s",
    "idle_s": "held idle s",
    "peak": "peak MiB",
    "seen": "seen MiB",
}
"""What is reported of a round, and what the table calls it."""


def idle(calls: Sequence[Call], swaps: Sequence[tuple[Seconds, Seconds]], since: Seconds, until: Seconds) -> Seconds:
    """Seconds between two moments in which a request waited while no call ran and nothing was loaded or unloaded."""
    edges: list[tuple[Seconds, int, int]] = []
    for call in calls:
        edges += [(call.asked, 1, 0), (call.granted, -1, 1), (call.ended, 0, -1)]
    for start, end in swaps:
        edges += [(start, 0, 1), (end, 0, -1)]
    total, last, waiting, busy = 0.0, 0.0, 0, 0
    for at, waits, works in sorted(edges):
        if waiting and not busy:
            total += max(0.0, min(at, until) - max(last, since))
        last, waiting, busy = at, waiting + waits, busy + works
    return total


def visits(swaps: Sequence[Swap], calls: Sequence[Call], began: Seconds) -> tuple[Visit, ...]:
    """Each load with what followed from it."""
    found: list[Visit] = []
    under_way = [(swap.at - swap.seconds - began, swap.at - began) for swap in swaps]
    for place, swap in enumerate(swaps):
        if swap.kind != "load":
            continue
        there = swap.at - began
        ends = (later for later in swaps[place:] if later.kind == "unload" and later.model == swap.model)
        left = next((end.at - end.seconds - began for end in ends), max(call.ended for call in calls))
        found.append(
            Visit(
                swap.model,
                there - swap.seconds,
                swap.seconds,
                swap.mib,
                left,
                sum(call.model == swap.model and there - 0.01 <= call.granted <= left for call in calls),
                sum(call.model == swap.model and call.asked <= there <= call.granted + 0.01 for call in calls),
                idle(calls, under_way, there, left),
            )
        )
    return tuple(found)


def children_mib() -> Mib:
    """What all processes started by this one take, as the kernel counts it."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids.update(int(pid) for pid in task.read_text("ascii").split())
        except OSError:
            continue
    return sum(process_mib(pid) for pid in pids)


@asynccontextmanager
async def sampled() -> AsyncIterator[list[Mib]]:
    """What the workers took, again and again, for the length of the block."""
    seen: list[Mib] = [0]

    async def sample() -> None:
        while True:
            seen.append(await anyio.to_thread.run_sync(children_mib))
            await anyio.sleep(SAMPLE_S)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sample)
        yield seen
        tasks.cancel_scope.cancel()


@dataclass(slots=True)
class Bench:
    """The world all rounds share: one endpoint, one plan, one journal, and what is known of the runs beforehand."""

    world: World
    plan: Plan
    graphs: dict[str, Graph]
    journal: Journal
    habits: Habits = field(default_factory=Habits)
    ids: dict[str, str] = field(default_factory=dict)

    async def round(self, name: str, policy: Policy | None) -> Round:
        """All four runs at once, from empty memory to the last answer."""
        settings, board = self.world.settings, Board()
        scheduler = Scheduler(
            max_agents=settings.scheduler.max_agents, max_wait=settings.scheduler.max_wait, policy=policy
        )
        took: list[Seconds] = []
        async with sampled() as seen, Dispatcher(scheduler, self.world.endpoints, board=board) as dispatcher:
            for device, mib in self.world.budgets.items():
                dispatcher.set_budget(device, mib)
            for spec in self.plan.specs:
                dispatcher.serve(serving(spec, settings, self.habits))
            began = anyio.current_time()
            watch = Watch(dispatcher, began)

            async def one(run: str, graph: Graph) -> None:
                self.ids[run] = run_id = await self.journal.new_run(run)
                await Runner(
                    graph,
                    self.plan,
                    settings,
                    run_id=run_id,
                    caller=watch,
                    journal=self.journal,
                    folder=RunFolder(Path()),
                    services={},
                    board=Board(),
                    steps=steps(graph, self.plan, self.habits),
                    tell=dispatcher.post,
                ).run({})
                took.append(anyio.current_time() - began)

            async with anyio.create_task_group() as tasks:
                for run, graph in self.graphs.items():
                    tasks.start_soon(one, run, graph)
            makespan, swaps = anyio.current_time() - began, tuple(board.swaps)
        under_way = [(swap.at - swap.seconds - began, swap.at - began) for swap in swaps]
        return Round(
            name,
            makespan,
            statistics.mean(took),
            sum(swap.kind == "load" for swap in swaps),
            sum(swap.seconds for swap in swaps),
            idle(watch.calls, under_way, 0.0, makespan),
            max(call.granted - call.asked for call in watch.calls),
            max(board.peaks.values()),
            max(seen),
            sum(call.tokens for call in watch.calls),
            visits(swaps, watch.calls, began),
            Counter(call.fingerprint for call in watch.calls),
        )

    async def learn(self) -> None:
        """Take what the last round's runs did as the habits of all later ones."""
        learned = [learn([await self.journal.entries(run)]) for run in self.ids.values()]
        stages = {stage: habit for each in learned for stage, habit in each.stages.items()}
        loads: dict[tuple[str, str], list[Seconds]] = {}
        for each in learned:
            for where, seconds in each.loads.items():
                loads.setdefault(where, []).append(seconds)
        self.habits = Habits(stages, {where: max(seconds) for where, seconds in loads.items()})


SHARED = 0.9
"""A load measured below this share of what the plan believes shares its weights' pages with a process of somebody else."""


def check_alone(plan: Plan, done: Round) -> None:
    """SystemExit where the models were measured as smaller than they are: both may have fitted, and nothing is compared."""
    believed = {spec.model: spec.footprint for spec in plan.specs}
    for visit in done.visits:
        if visit.mib < SHARED * believed[visit.model]:
            raise SystemExit(
                f"{visit.model} was measured at {visit.mib} of {believed[visit.model]} MiB: another process has the same "
                "weights in memory and is charged for a part of them; end it, or wait for it, and run this again"
            )


POLICIES: dict[str, Callable[[], Policy | None]] = {"ours": lambda: None, **RIVALS}


async def measured(rounds: int, names: Sequence[str], priors: str, budget: Mib) -> tuple[Bench, list[Round]]:
    """The rounds, interleaved, after one that is not counted: it fills the file cache, and teaches where it may."""
    settings = parse_settings(AGENTS_TOML.format(budget=budget))
    team, alone = graphs(list(settings.agents))
    with tempfile.TemporaryDirectory() as folder:
        async with open_world(settings) as world, Journal.open(Path(folder) / "journal.db") as journal:
            bench = Bench(world, plan_routes(team, world.settings, world.offers, world.budgets), alone, journal)
            missing = [spec.model for spec in bench.plan.specs if spec.needs_pull]
            if missing:
                commands = "\n".join(f"    python -m vwt_agents models pull {model}" for model in missing)
                raise SystemExit(f"not all models are here; bring them with\n{commands}")
            shared = bench.plan.residency(world.budgets)
            if any(residency.side_by_side for residency in shared):
                raise SystemExit(f"nothing to swap: {'; '.join(map(str, shared))}; use another --budget")
            warm = await bench.round("fifo", RIVALS["fifo"]())
            check_alone(bench.plan, warm)
            if priors == "learned":
                await bench.learn()
            done: list[Round] = []
            for _ in range(rounds):
                for name in names:
                    done.append(await bench.round(name, POLICIES[name]()))
                    check_alone(bench.plan, done[-1])
                    if done[-1].requests != warm.requests:
                        raise SystemExit(f"{name}: other requests than in the first round; nothing can be compared")
            return bench, done


def medians(done: Sequence[Round], name: str) -> dict[str, float]:
    """The median of each figure over a policy's rounds."""
    return {
        figure: statistics.median(getattr(each, figure) for each in done if each.policy == name) for figure in FIGURES
    }


def table(bench: Bench, done: Sequence[Round], names: Sequence[str], priors: str) -> None:
    """Medians, a line a policy, then the single makespans."""
    print(f"{machine()}; budget {max(bench.world.budgets.values())} MiB")
    for spec in bench.plan.specs:
        print(f"  {spec.model}: {spec.footprint} MiB believed, {spec.slots} slots x {spec.num_ctx} tokens")
    requests, tokens = sum(done[0].requests.values()), [one.tokens for one in done]
    print(
        f"  {requests} requests by {len(RUNS)} runs side by side, {min(tokens)} to {max(tokens)} tokens answered a round"
    )
    print(f"  medians of {len(done) // len(names)}, interleaved; priors: {priors}")
    print()
    print(f"{'policy':<12}" + "".join(f"{heading:>14}" for heading in FIGURES.values()) + "   each makespan (loads)")
    for name in names:
        row = medians(done, name)
        each = ", ".join(f"{one.makespan:.1f} ({one.loads})" for one in done if one.policy == name)
        print(f"{name:<12}" + "".join(f"{row[figure]:>14.1f}" for figure in FIGURES) + f"   {each}")


def log(done: Sequence[Round]) -> None:
    """Every load of every round."""
    for number, one in enumerate(done, 1):
        print(f"\nround {number}, {one.policy}: {one.makespan:.1f} s")
        for visit in one.visits:
            print(
                f"  {visit.began:6.2f} load {visit.model:<20} {visit.load_s:5.2f} s, {visit.mib} MiB, "
                f"{visit.waited_for} waiting; {visit.calls:2d} calls until {visit.left:6.2f}, "
                f"idle {visit.idle_s:.2f} s while others waited"
            )


def machine() -> str:
    """The processor, and how many cores of it are ours."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {cores} cores, Python {platform.python_version()}"


def main() -> None:
    """Arguments in, the table out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", nargs="+", default=["ours", "fifo", "exhaustive"], choices=POLICIES)
    parser.add_argument("--priors", choices=("learned", "none"), default="learned")
    parser.add_argument("--budget", type=int, default=BUDGET, help="MiB")
    parser.add_argument("--log", action="store_true", help="every load, and what came of it")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    names = list(dict.fromkeys(args.policies))
    if args.rounds < 1:
        parser.error("--rounds is at least 1")
    try:
        bench, done = asyncio.run(measured(args.rounds, names, args.priors, args.budget))
    except VwtError as error:
        raise SystemExit(str(error)) from None
    if args.json:
        rounds = [{**{f: getattr(one, f) for f in ("policy", *FIGURES, "tokens")}} for one in done]
        figures = {name: medians(done, name) for name in names}
        print(json.dumps({"machine": machine(), "priors": args.priors, "medians": figures, "rounds": rounds}, indent=2))
        return
    table(bench, done, names, args.priors)
    if args.log:
        log(done)


if __name__ == "__main__":
    main()
