"""What the framework itself costs, next to bare asyncio doing the same in the same process, interleaved, medians.

python bench/overhead.py [--rounds 20] [--only stages|memory|step|decisions] [--json]

stages     us per no-op stage of a run (Runner made and run) of 100: chain, fan-out, each=, and a loop of attempts; with the
           real journal (SQLite, WAL, synchronous NORMAL, a durable commit before whatever depends on it) and without.
           Bare: a task per stage; with a journal, and one row committed to a one-table SQLite file in WAL/NORMAL.
memory     kB of Python memory (tracemalloc) per run, 1,000 runs of three stages blocked: in a stage's own wait, and in the
           dispatcher's queue for a slot. Bare: a task that waits for an event. Graph, plan and settings are shared,
           as runs of one pipeline share them.
step       ms of one agent.ask through runner, journal, dispatcher and Ollama endpoint against an instant server on
           loopback in another process, next to the same call by a pooled ollama.AsyncClient and by pooled httpx.
decisions  us per Scheduler.handle, and bytes per waiting request, with 1k, 10k and 100k requests queued for four models.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vwt_agents.agents import Agent  # noqa: TC001 - annotations of stages are read when a pipeline is checked
from vwt_agents.board import Board
from vwt_agents.config import AgentSettings, SchedulerSettings, Settings
from vwt_agents.core import (
    BudgetSet,
    Grant,
    Load,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Released,
    Scheduler,
    Submitted,
    Unload,
    Unloaded,
)
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.endpoints.scripted import ScriptedEndpoint
from vwt_agents.graph import Graph, build_graph
from vwt_agents.journal import Journal
from vwt_agents.pipeline import Pipeline
from vwt_agents.routing import Plan, Route
from vwt_agents.run import Run, RunFolder
from vwt_agents.runner import Runner
from vwt_agents.swaps import Serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from vwt_agents.messages import Caller

STAGES = 100
RUNS = 1000
STEPS = 300
QUEUED = (1_000, 10_000, 100_000)
FILL_S = 20.0  # a queue that takes longer than this to fill is reported as such
MAX_WAIT = {"interactive": 15.0, "batch": 120.0}
MODEL = "stub:1b"
STUB = Path(__file__).parent / "loopback.py"


@dataclass
class Row:
    """One figure: ours, the bare one measured beside it, and the most it should be (issue 3), where there is one."""

    what: str
    unit: str
    ours: float
    bare: float | None = None
    aim: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over bare."""
        return self.ours / self.bare if self.bare else None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**vars(self), "ratio": self.ratio}


def route(stage: str) -> Route:
    """To the one model there is."""
    return Route(stage, "coder", "small", "here", MODEL, "gpu0", 2048, 4, 100, "", "")


HERE = Path()
AGENTS = {"coder": AgentSettings("coder", system="You are a careful programmer.")}
SETTINGS = Settings(None, {}, {}, AGENTS, scheduler=SchedulerSettings())
ROUTES = {(stage, "coder"): route(stage) for stage in ("draft", "steps")}
PLAN = Plan(promoted=False, tier="small", reason="", routes=ROUTES, specs=())


# -- pipelines that do nothing ------------------------------------------------------------------------------------------


@dataclass
class Bad:
    """An attempt's outcome that keeps the loop going."""

    passed: bool = False
    tests_passed: int = 0


def chain() -> Graph:
    """Each stage hands the value of the one before on."""
    pipeline, made = Pipeline("chain"), {}
    for number in range(STAGES):
        before = f"s{number - 1}" if number else ""
        exec(f"async def s{number}({before and before + ': int'}) -> int:\n    return {before or 1}", made)
        pipeline.stage(made[f"s{number}"])
    return build_graph(pipeline, agents=[])


def fan() -> Graph:
    """Stages that need nothing of each other."""
    pipeline, made = Pipeline("fan"), {}
    for number in range(STAGES):
        exec(f"async def s{number}() -> int:\n    return {number}", made)
        pipeline.stage(made[f"s{number}"])
    return build_graph(pipeline, agents=[])


def each() -> Graph:
    """One stage, once per item."""
    pipeline = Pipeline("each")

    @pipeline.stage(each={"item": "items"})
    async def one(item: int) -> int:
        return item

    return build_graph(pipeline, agents=[])


def loop() -> Graph:
    """One stage that makes attempts."""
    pipeline = Pipeline("loop")

    @pipeline.stage
    async def repaired(run: Run) -> int:
        made = 0
        async for attempt in run.attempts(STAGES):
            made += 1
            await attempt.record(Bad())
        return made

    return build_graph(pipeline, agents=[])


def runner(graph: Graph, journal: Journal | None, run: str, caller: Caller | None = None) -> Runner:
    """A real one, with a board of its own; without a caller for graphs that have no agents."""
    made: dict[str, Any] = {"caller": caller, "journal": journal, "folder": RunFolder(HERE), "services": {}}
    return Runner(graph, PLAN, SETTINGS, run_id=run, board=Board(), **made)


# -- stages -------------------------------------------------------------------------------------------------------------


async def nothing(value: int = 1) -> int:
    """What a stage does here."""
    return value


async def bare_chain() -> None:
    """A task per stage, one after the other."""
    for number in range(STAGES):
        await asyncio.create_task(nothing(number))


async def bare_fan() -> None:
    """A task per stage, side by side."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(STAGES):
            tasks.create_task(nothing(number))


class Table:
    """The least a durable stage can cost: a row of an SQLite file per commit, on the event loop."""

    def __init__(self, folder: str) -> None:
        self.connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute("CREATE TABLE done (run TEXT, stage INTEGER, value TEXT)")

    async def chain(self) -> None:
        """A task and a commit per stage."""
        for number in range(STAGES):
            value = await asyncio.create_task(nothing(number))
            self.connection.execute("INSERT INTO done VALUES (?, ?, ?)", ("run", number, str(value)))

    async def fan(self) -> None:
        """The same, side by side."""

        async def one(number: int) -> None:
            value = await nothing(number)
            self.connection.execute("INSERT INTO done VALUES (?, ?, ?)", ("run", number, str(value)))

        async with asyncio.TaskGroup() as tasks:
            for number in range(STAGES):
                tasks.create_task(one(number))


async def whole_run(graph: Graph, journal: Journal | None, run: str, inputs: dict[str, Any]) -> None:
    """A runner made, and run to its end."""
    await runner(graph, journal, run).run(inputs)


async def us_per_stage(work: Callable[[], Awaitable[object]]) -> float:
    """Microseconds."""
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) / STAGES * 1e6


async def stages(rounds: int) -> list[Row]:
    """Chain, fan-out, each and loop, with and without the journal."""
    graphs = {"chain": (chain(), {}), "fan-out": (fan(), {}), "each=": (each(), {"items": range(STAGES)})}
    graphs["loop"] = (loop(), {})
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        table = Table(folder)
        bare = {False: {"fan": bare_fan, "chain": bare_chain}, True: {"fan": table.fan, "chain": table.chain}}
        async with Journal.open(Path(folder) / "journal.db") as journal:
            for turn in range(rounds + 2):
                for kept in (False, True):
                    for shape, work in bare[kept].items():
                        taken.setdefault(f"{shape}{kept}", []).append(await us_per_stage(work))
                    for shape, (graph, inputs) in graphs.items():
                        run = await journal.new_run(shape)
                        us = await us_per_stage(partial(whole_run, graph, journal if kept else None, run, inputs))
                        taken.setdefault(f"{shape} {kept}", []).append(us)
                if turn == 1:  # the first two fill caches
                    taken.clear()
        table.connection.close()
    median = {what: statistics.median(times) for what, times in taken.items()}
    aims = {"chain False": "25", "fan-out False": "20", "each= False": "20", "chain True": "45"}
    return [
        Row(
            f"{shape}, {'one durable commit a stage' if kept else 'no journal'}".replace(
                "each=, one durable commit a stage", "each=, one durable commit in all"
            ),
            "us/stage",
            median[f"{shape} {kept}"],
            median[f"{'fan' if shape in {'fan-out', 'each='} else 'chain'}{kept}"],
            aims.get(f"{shape} {kept}", ""),
        )
        for kept in (False, True)
        for shape in graphs
    ]


# -- memory -------------------------------------------------------------------------------------------------------------


async def kb_each(start: Callable[[], Awaitable[object]], waiting: Callable[[], bool]) -> float:
    """kB of Python memory per task of `start()`, once all wait."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tasks = [asyncio.ensure_future(start()) for _ in range(RUNS)]
    while not waiting():  # noqa: ASYNC110 - what is waited for knows no events
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (after - before) / RUNS / 1000


async def memory(_rounds: int) -> list[Row]:
    """Runs that wait in a stage, and for a slot."""
    reached = 0
    gate = asyncio.Event()

    async def wait() -> None:
        nonlocal reached
        reached += 1
        await gate.wait()

    bare = await kb_each(wait, lambda: reached == RUNS)

    pipeline = Pipeline("waiting")

    @pipeline.stage
    async def plan() -> int:
        return 1

    @pipeline.stage
    async def write(plan: int) -> int:
        await wait()
        return plan

    @pipeline.stage
    async def test(write: int) -> int:
        return write

    asking = Pipeline("asking")

    @asking.stage
    async def draft(coder: Agent) -> str:
        return await coder.ask("Write a function that adds two numbers.")

    @asking.stage
    async def review(draft: str) -> str:
        return draft

    graph, queued = build_graph(pipeline, agents=[]), build_graph(asking, agents=["coder"])
    with tempfile.TemporaryDirectory() as folder:
        async with Journal.open(Path(folder) / "journal.db") as journal:

            async def blocked() -> None:
                await runner(graph, journal, await journal.new_run("waiting")).run({})

            gate.set()
            await blocked()  # what the first run of all makes, such as imports, is none of the others'
            gate.clear()
            reached = 0
            in_stage = await kb_each(blocked, lambda: reached == RUNS)
            endpoint = ScriptedEndpoint({MODEL: 100}, "answer", name="here")
            scheduler = Scheduler(max_agents=4, max_wait={**MAX_WAIT, "batch": 1e6})
            async with Dispatcher(scheduler, {"here": endpoint}) as dispatcher:
                dispatcher.set_budget("gpu0", 1000)
                dispatcher.serve(Serving(ModelSpec(ModelKey("here", MODEL), "gpu0", 100, 4), num_ctx=2048))

                async def asked() -> None:
                    run = await journal.new_run("asking")
                    await runner(queued, journal, run, dispatcher).run({})

                await asked()
                held = endpoint.hold("call", MODEL)

                for_slot = await kb_each(asked, lambda: len(dispatcher.board.queue) == RUNS - 4)
                held.set()
    return [
        Row("run blocked in a stage", "kB/run", in_stage, bare, "8"),
        Row("run waiting for a slot", "kB/run", for_slot, bare, "8"),
    ]


# -- one agent step -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def stub() -> AsyncIterator[str]:
    """The address of an instant Ollama server in a process of its own."""
    process = subprocess.Popen([sys.executable, str(STUB), MODEL], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - once
    try:
        assert process.stdout is not None
        yield await asyncio.to_thread(process.stdout.readline)
    finally:
        process.terminate()
        process.wait()


async def step(_rounds: int) -> list[Row]:
    """agent.ask, and the same call by the clients below it, in turn within one stage."""
    import httpx
    import ollama

    taken: dict[str, list[float]] = {"ours": [], "ollama": [], "httpx": []}
    prompt, system = "Write a function that adds two numbers, with a docstring.", AGENTS["coder"].system
    messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
    options = {"num_ctx": 2048, "seed": 1}
    body = {"model": MODEL, "messages": messages, "stream": True, "truncate": False, "options": options}

    async def by_ours(coder: Agent) -> None:
        await coder.ask(prompt)

    async with stub() as address, httpx.AsyncClient(trust_env=False) as http:
        url = address.strip()
        client = ollama.AsyncClient(url, trust_env=False)

        async def by_ollama(_coder: Agent) -> None:
            async for _part in await client.chat(MODEL, messages, stream=True, options=options):
                pass

        async def by_httpx(_coder: Agent) -> None:
            async with http.stream("POST", f"{url}/api/chat", json=body) as reply:
                async for line in reply.aiter_lines():
                    json.loads(line)

        pipeline = Pipeline("step")

        @pipeline.stage
        async def steps(coder: Agent) -> None:
            for turn in range(STEPS + 30):
                for name, call in (("ours", by_ours), ("ollama", by_ollama), ("httpx", by_httpx)):
                    began = time.perf_counter()
                    await call(coder)
                    if turn >= 30:
                        taken[name].append((time.perf_counter() - began) * 1e3)

        graph = build_graph(pipeline, agents=["coder"])
        scheduler = Scheduler(max_agents=4, max_wait=MAX_WAIT)
        with tempfile.TemporaryDirectory() as folder:
            async with (
                Journal.open(Path(folder) / "journal.db") as journal,
                OllamaEndpoint("here", url) as endpoint,
                Dispatcher(scheduler, {"here": endpoint}) as dispatcher,
            ):
                dispatcher.set_budget("gpu0", 1000)
                dispatcher.serve(Serving(ModelSpec(ModelKey("here", MODEL), "gpu0", 100, 4), num_ctx=2048))
                run = await journal.new_run("step")
                await runner(graph, journal, run, dispatcher).run({})
        await client.close()
    median = {name: statistics.median(times) for name, times in taken.items()}
    return [
        Row("agent step over pooled ollama client", "ms", median["ours"], median["ollama"], "+0.15 ms"),
        Row("agent step over pooled httpx", "ms", median["ours"], median["httpx"]),
    ]


# -- decisions ----------------------------------------------------------------------------------------------------------


class World:
    """Plays the world to a core: loads and unloads end at once, calls when it is told."""

    MODELS = tuple(ModelSpec(ModelKey("here", f"m{number}"), "gpu0", 500, 4) for number in range(4))

    def __init__(self) -> None:
        self.core = Scheduler(max_agents=8, max_wait={"interactive": 1e6, "batch": 1e6})
        self.now = 0.0
        self.running: list[int] = []
        self.next = 0
        for spec in self.MODELS:
            self.tell(Registered(spec))
        self.tell(BudgetSet("gpu0", 1100))

    def tell(self, event: Any, taken: list[float] | None = None) -> None:
        """One event and all it leads to; `taken` gets the us of each decision."""
        events = [event]
        while events:
            self.now += 0.001
            began = time.perf_counter()
            actions = self.core.handle(events.pop(), self.now)
            if taken is not None:
                taken.append((time.perf_counter() - began) * 1e6)
            for action in actions:
                match action:
                    case Grant(request=request):
                        self.running.append(request)
                    case Load(key=key):
                        events.append(Loaded(key, None))
                    case Unload(key=key):
                        events.append(Unloaded(key))

    def submit(self, taken: list[float] | None = None) -> None:
        """One more request: the next model's, of one of 50 runs."""
        self.next += 1
        spec = self.MODELS[self.next % len(self.MODELS)]
        self.tell(Submitted(self.next, spec.key, run=f"run{self.next % 50}"), taken)

    def fill(self, count: int) -> bool:
        """Queue that many; False when it takes too long."""
        began = time.perf_counter()
        for _ in range(count):
            self.submit()
            if time.perf_counter() - began > FILL_S:
                return False
        return True


async def decisions(_rounds: int) -> list[Row]:
    """How long the core thinks, and what a waiting request takes."""
    rows: list[Row] = []
    for queued in QUEUED:
        world = World()
        if not world.fill(queued):
            rows.append(Row(f"decision, {queued} queued: not filled in {FILL_S:g} s, reached {world.next}", "us", 0.0))
            continue
        taken: list[float] = []
        for _ in range(1000):
            world.tell(Released(world.running.pop(0)), taken)
            world.submit(taken)
        aim = "50" if queued == 100_000 else ""
        rows.append(Row(f"decision, {queued} queued, median", "us", statistics.median(taken), aim=aim))
        rows.append(Row(f"decision, {queued} queued, p99", "us", statistics.quantiles(taken, n=100)[98]))
        if queued == QUEUED[1]:
            del world
            gc.collect()
            tracemalloc.start()
            world = World()
            before, _ = tracemalloc.get_traced_memory()
            world.fill(queued)
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            rows.append(
                Row(f"memory per waiting request ({world.next} queued)", "bytes", (after - before) / world.next)
            )
    return rows


# -- the table ----------------------------------------------------------------------------------------------------------

PARTS = {"stages": stages, "memory": memory, "step": step, "decisions": decisions}


def shown(rows: Iterable[Row]) -> None:
    """One line a figure."""
    print(f"{'':48} {'ours':>9} {'bare':>9} {'ratio':>7} {'aim':>9}")
    for row in rows:
        bare = f"{row.bare:9.2f}" if row.bare is not None else " " * 9
        ratio = f"{row.ratio:6.2f}x" if row.ratio is not None else " " * 7
        print(f"{row.what:48} {row.ours:9.2f} {bare} {ratio} {row.aim:>9} {row.unit}")


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: list[Row] = []
    for name, part in PARTS.items():
        if given.only in {None, name}:
            rows += asyncio.run(part(given.rounds))
    if given.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        shown(rows)


if __name__ == "__main__":
    main()
