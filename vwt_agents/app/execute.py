"""One command's work: find the pipeline, check it, plan its routes, and run it in an opened world.

Owns the order of things: every fault a text can have is found before anything loads; the journal knows of a run before its
first call; what ends a run, also Ctrl-C, is written down before the process goes.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vwt_agents.app.foresight import habits_of, serving
from vwt_agents.app.neighbours import open_neighbours
from vwt_agents.app.standby import with_failover
from vwt_agents.app.world import World, measuring, open_world
from vwt_agents.board import Board
from vwt_agents.config import load_settings
from vwt_agents.core import Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.entries import fingerprint, read_call, request_fingerprint
from vwt_agents.errors import EndpointAsleep, RunError, UsageError, VwtError
from vwt_agents.eventlog import bound, get_logger
from vwt_agents.graph import Graph, build_graph
from vwt_agents.habits import Habits
from vwt_agents.inputs import read_inputs
from vwt_agents.journal import Journal, JournalReader, new_run_id
from vwt_agents.limits import RunLimits, Spent, deadline_passed
from vwt_agents.lookahead import steps
from vwt_agents.pipeline_file import load_pipeline
from vwt_agents.result import RunResult, Status
from vwt_agents.routing import Plan, plan_routes
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner
from vwt_agents.values import encode, jsonable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from vwt_agents.config import SandboxSettings, Settings
    from vwt_agents.endpoints.base import OnProgress
    from vwt_agents.messages import Priority, Response
    from vwt_agents.sandbox.judge import Verdict
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["App", "Job", "PlannedRun", "resumed"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do, as the command line says it.

    `resume` is the run to go on with: then `values` are its inputs as JSON data, and `known` the answers its journal has
    to each request (by fingerprint), in the order in which they were given. `priority` and `limits` go over those of
    agents.toml.
    """

    pipeline: Path
    pairs: Sequence[str] = ()
    inputs_file: Path | None = None
    config: Path | None = None
    out: Path | None = None
    seed: int = 0
    resume: str | None = None
    values: Mapping[str, Any] | None = None
    known: Mapping[str, Sequence[Response]] = field(default_factory=dict)
    priority: Priority | None = None
    limits: RunLimits = field(default_factory=RunLimits)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A job whose texts are all in order, and where each of its calls will go."""

    job: Job
    settings: Settings
    graph: Graph
    inputs: Mapping[str, Any]
    plan: Plan
    world: World


class App:
    """Runs jobs. `board` is what views watch."""

    def __init__(self, board: Board | None = None) -> None:
        self.board = board if board is not None else Board()

    @asynccontextmanager
    async def planned(self, job: Job, *, need_inputs: bool = True, wake: bool = False) -> AsyncIterator[PlannedRun]:
        """The job checked and its routes planned, in a world that is open for the block; loads nothing.

        With `wake`, an endpoint is started for it where nothing else tells what it has.
        """
        settings = load_settings(job.config, pipeline=job.pipeline, cwd=Path.cwd())
        settings = replace(settings, run=settings.run.under(job.priority, job.limits))
        graph = build_graph(load_pipeline(job.pipeline), agents=settings.agents)
        inputs = _inputs(graph, job) if need_inputs else {}
        async with open_world(settings, say=self.board.say) as world:
            plan = await _plan(graph, world, wake=wake)
            yield PlannedRun(job, world.settings, graph, inputs, plan, world)

    async def run(self, job: Job, *, on_pull: OnProgress | None = None) -> RunResult:
        """Run the job to its end. A bad end is a result; an error before the run began is raised."""
        async with self.planned(job, wake=True) as planned, Journal.open() as journal:
            for note in planned.plan.notes:
                self.board.say(f"note: {note}")
            await pull_missing(planned, self.board, on_pull)
            return await _Execution(planned, journal, self.board).run()


async def _plan(graph: Graph, world: World, *, wake: bool) -> Plan:
    woken: set[str] = set()
    while True:
        try:
            return plan_routes(graph, world.settings, world.offers, world.budgets)
        except EndpointAsleep as error:
            if not wake or error.endpoint in woken:
                raise
            woken.add(error.endpoint)
            await world.wake(error.endpoint)


def _inputs(graph: Graph, job: Job) -> dict[str, Any]:
    if job.values is None:
        return read_inputs(graph, job.pairs, job.inputs_file)
    values = job.values
    return read_inputs(graph, (), Path(f"the inputs of {job.resume}"), lambda _path: json.dumps(values))


async def pull_missing(planned: PlannedRun, board: Board, on_pull: OnProgress | None) -> None:
    """Bring the models the plan needs and the endpoint only knows how to get; those of an escalation too."""
    for spec in planned.plan.specs:
        if spec.needs_pull:
            info = planned.world.infos.get((spec.endpoint, spec.model))
            size = f", {info.size_bytes / 1e6:.0f} MB, {info.licence}" if info is not None else ""
            board.say(f"pulling {spec.model} (once{size})")
            await planned.world.endpoints[spec.endpoint].pull(spec.model, on_pull)


class _Execution:
    """One run: from its line in the journal to its result."""

    def __init__(self, planned: PlannedRun, journal: Journal, board: Board) -> None:
        self.planned = planned
        self.journal = journal
        self.board = board
        job, graph = planned.job, planned.graph
        self.id = job.resume or new_run_id(graph.name, datetime.now(UTC))
        self.folder = RunFolder((job.out if job.out is not None else Path("runs") / self.id).absolute())
        self._habits = Habits()
        self._began = 0.0
        self._spent = Spent(planned.settings.run.limits)
        self.result = RunResult(
            run_id=self.id,
            pipeline=graph.name,
            status="failed",
            exit_code=3,
            promoted=planned.plan.promoted,
            tier=planned.plan.tier,
            seconds=0.0,
        )

    async def run(self) -> RunResult:
        """Everything between the first and the last entry of the run; the result is in the journal before it is returned."""
        from vwt_agents.logs import run_log

        self._began = anyio.current_time()
        self.folder.make()
        await self._begin()
        with bound(run=self.id), run_log(self.folder.path / "log.jsonl", run=self.id):
            log.info("run.started", pipeline=self.planned.graph.name, promoted=self.planned.plan.promoted)
            try:
                await self._walk()
            except VwtError as error:
                self._end("bad" if isinstance(error, RunError) else "failed", error.exit_code, str(error))
            except Exception as error:
                # Nothing the user did: it is written down, and told with its traceback.
                self._end("failed", 1, f"{type(error).__name__}: {error}")
                raise
            except BaseException:
                self._end("interrupted", 130, None)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await self._finish()
        return self.result

    async def _begin(self) -> None:
        job = self.planned.job
        if job.resume is not None:
            await self.journal.reopen_run(self.id)
            return
        source = self.planned.settings.source
        config = str(source.absolute()) if source is not None else None
        said = {
            "values": jsonable(dict(self.planned.inputs)),
            "seed": job.seed,
            "config": config,
            "priority": job.priority,
            "limits": asdict(job.limits),
        }
        self.id = await self.journal.new_run(
            self.planned.graph.name,
            run_id=self.id,
            file=str(job.pipeline.absolute()),
            inputs=encode(said),
            settings=fingerprint(repr(self.planned.settings)),
            promoted=self.planned.plan.promoted,
            tier=self.planned.plan.tier,
            out_dir=str(self.folder.path),
        )

    async def _walk(self) -> None:
        planned = self.planned
        settings = planned.settings
        tuned = settings.scheduler
        scheduler = Scheduler(max_agents=tuned.max_agents, max_wait=tuned.max_wait, patience=tuned.patience)
        self._habits = await habits_of(planned.graph.name, self.journal)
        services = await self._services()
        priority = settings.run.priority
        world = planned.world
        async with (
            open_neighbours(
                world, planned.plan, lambda name, used: measuring(world, name, self.journal, used), self.id
            ) as neighbours,
            Dispatcher(scheduler, neighbours.endpoints, board=self.board, priority=priority) as dispatcher,
        ):
            self._prepare(dispatcher)
            runner = Runner(
                planned.graph,
                planned.plan,
                settings,
                run_id=self.id,
                caller=with_failover(planned, dispatcher, neighbours, self._habits, self.board),
                journal=self.journal,
                folder=self.folder,
                services=services,
                board=self.board,
                seed=planned.job.seed,
                known=planned.job.known,
                steps=steps(planned.graph, planned.plan, self._habits),
                tell=dispatcher.post,
                priority=priority,
                spent=self._spent,
            )
            try:
                async with neighbours.beside(dispatcher):
                    await self._in_time(runner)
            finally:
                self._judge(runner.values)
        self._end("good" if self._passed else "bad", 0 if self._passed else 1, None)

    async def _in_time(self, runner: Runner) -> None:
        """Run the stages to their end; LimitReached when the run's deadline comes first, with all their calls ended."""
        deadline = self._spent.limits.deadline
        if deadline is None:
            await runner.run(self.planned.inputs)
            return
        with anyio.CancelScope(deadline=self._began + deadline) as scope:
            await runner.run(self.planned.inputs)
        if scope.cancelled_caught:
            cut = [line.name for line in self.board.stages.values() if line.status == "stopped"]
            raise deadline_passed(deadline, cut)

    def _prepare(self, dispatcher: Dispatcher) -> None:
        for device, allowance in self.planned.world.allowances.items():
            dispatcher.set_budget(device, allowance.ceiling)
        for spec in self.planned.plan.specs:
            dispatcher.serve(serving(spec, self.planned.settings, self._habits))

    async def _services(self) -> dict[str, Any]:
        """The services the stages name; a sandbox that cannot be had ends the run before anything is loaded."""
        wanted = {
            param.source for stage in self.planned.graph.stages for param in stage.params if param.role == "service"
        }
        if "Sandbox" not in wanted:
            return {}
        sandbox = await open_sandbox(self.planned.settings.sandbox)
        log.info("sandbox.chosen", backend=sandbox.backend.name, level=sandbox.backend.level)
        return {"Sandbox": sandbox}

    def _judge(self, values: Mapping[str, Any]) -> None:
        verdict = find_verdict(values, self.planned.graph)
        self.result.verdict = jsonable(verdict) if verdict is not None else None
        self._passed = verdict is None or verdict.passed
        self.result.outputs = {name: jsonable(values[name]) for name in self.planned.graph.terminals if name in values}

    def _end(self, status: Status, exit_code: int, error: str | None) -> None:
        self.result.status, self.result.exit_code, self.result.error = status, exit_code, error

    async def _finish(self) -> None:
        now = anyio.current_time()
        self.result.seconds = round(now - self._began, 3)
        self.result.limits = self._spent.against(now - self._began)
        self.result.count(self.board, now)
        self.result.artifacts = [str(path) for path in self.folder.delivered]
        try:
            self._report()
        except VwtError as error:  # the folder went away, or the disk is full: the journal still has to know
            self.board.say(f"note: {error.message}")
        summary = encode(self.result)
        log.info("run.ended", status=self.result.status, exit_code=self.result.exit_code, seconds=self.result.seconds)
        await self.journal.finish_run(self.id, self.result.status, exit_code=self.result.exit_code, summary=summary)

    def _report(self) -> None:
        from vwt_agents.render.report import run_report

        result = self.result
        text = run_report(result, self.planned.plan, self.board, self.planned.graph)
        result.report = str(self.folder.write("report.md", text))
        result.artifacts = [*result.artifacts, result.report]
        self.folder.write("result.json", json.dumps(jsonable(result), indent=2) + "\n")


async def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """The sandbox agents.toml asks for; only the word `unsafe` there goes without one."""
    from vwt_agents.sandbox.base import Limits
    from vwt_agents.sandbox.service import Sandbox

    limits = Limits(wall_s=settings.timeout, memory_mib=settings.memory)
    return await Sandbox.open(settings.backend, allow_unsafe=settings.backend == "unsafe", limits=limits)


async def resumed(journal: JournalReader, run: str) -> Job:
    """The job of a run in the journal, with every answer it already has; UsageError for a run that cannot be gone on with."""
    record = await journal.run(run)
    if record.status == "running":
        raise UsageError(
            f"run {record.id} is still running, in process {record.pid}",
            hint="wait until it has ended, or stop it there",
        )
    if record.status == "good":
        raise UsageError(f"run {record.id} has ended well; there is nothing to resume", hint="start it anew with `run`")
    said = json.loads(record.inputs)
    known: dict[str, list[Response]] = {}
    for entry in await journal.entries(record.id, kind="call"):
        if entry.status == "done":
            request, answer = read_call(entry)
            if not isinstance(answer, str):
                known.setdefault(request_fingerprint(request), []).append(answer)
    return Job(
        Path(record.file),
        values=said["values"],
        config=Path(said["config"]) if said["config"] else None,
        out=Path(record.out_dir),
        seed=said["seed"],
        resume=record.id,
        known=known,
        priority=said.get("priority"),  # a run of an earlier version has neither
        limits=RunLimits(**said.get("limits", {})),
    )


def find_verdict(values: Mapping[str, Any], graph: Graph) -> Verdict | None:
    """The verdict a run stands by: of those that count the first that is bad, else the last; None where there is none.

    A stage has a verdict where its value is one or carries one as `.verdict`; where it ran once per item, each item may.
    A stage's verdicts count unless a later one, of a stage that stands on it, has taken their place.
    """
    found = {name: verdicts for name in values if (verdicts := list(_verdicts(values[name])))}
    replaced: set[str] = set()
    before: dict[str, set[str]] = {}
    for stage in graph.stages:
        before[stage.name] = set(stage.needs).union(*(before[need] for need in stage.needs))
        if stage.name in found:
            replaced |= before[stage.name]
    counting = [verdict for name, verdicts in found.items() if name not in replaced for verdict in verdicts]
    return next((verdict for verdict in counting if not verdict.passed), counting[-1] if counting else None)


def _verdicts(value: Any) -> Iterator[Verdict]:
    from vwt_agents.sandbox.judge import Verdict

    for one in value if isinstance(value, list | tuple) else (value,):
        carried = one if isinstance(one, Verdict) else getattr(one, "verdict", None)
        if isinstance(carried, Verdict):
            yield carried
