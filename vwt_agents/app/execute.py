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
from typing import TYPE_CHECKING, Any, get_args

import anyio

from vwt_agents.app.engines import engine_of
from vwt_agents.app.foresight import habits_of, serving
from vwt_agents.app.neighbours import open_neighbours
from vwt_agents.app.outline import outline
from vwt_agents.app.pages import page_at_the_end
from vwt_agents.app.standby import with_failover
from vwt_agents.app.world import THIS_MACHINE, World, measuring, open_world
from vwt_agents.approvals import Approvals
from vwt_agents.board import Board
from vwt_agents.config import load_settings
from vwt_agents.core import Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.entries import fingerprint
from vwt_agents.errors import EndpointAsleep, RunError, UsageError, VwtError, did_you_mean, words_of
from vwt_agents.eventlog import bound, get_logger
from vwt_agents.graph import Graph, build_graph
from vwt_agents.habits import Habits
from vwt_agents.inputs import from_file, read_inputs
from vwt_agents.journal import Journal, new_run_id
from vwt_agents.limits import RunLimits, Spent, deadline_passed
from vwt_agents.lookahead import steps
from vwt_agents.past import Past, inherited, read_past
from vwt_agents.pipeline_file import load_pipeline
from vwt_agents.recall import code_marks
from vwt_agents.recording import recording
from vwt_agents.result import RunResult, Status
from vwt_agents.routing import Plan, plan_routes
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner
from vwt_agents.traces import Observer, Unobserved, observer
from vwt_agents.values import encode, jsonable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from vwt_agents.app.outside import Outside
    from vwt_agents.approvals import Terminal
    from vwt_agents.config import SandboxSettings, Settings
    from vwt_agents.endpoints.base import OnProgress
    from vwt_agents.entries import Entry
    from vwt_agents.graph import Stage
    from vwt_agents.messages import Priority
    from vwt_agents.sandbox.judge import Verdict
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["App", "Fork", "Job", "PlannedRun"]

log = get_logger(__name__)


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


class App:
    """Runs jobs. `board` is what views watch; `outside` is what a test puts in the place of this machine.

    `terminal` asks whoever sits there what a run asks a person.
    """

    def __init__(
        self, board: Board | None = None, *, outside: Outside = THIS_MACHINE, terminal: Terminal | None = None
    ) -> None:
        self.board = board if board is not None else Board()
        self.outside = outside
        self._terminal = terminal

    @asynccontextmanager
    async def planned(self, job: Job, *, need_inputs: bool = True, wake: bool = False) -> AsyncIterator[PlannedRun]:
        """The job checked and its routes planned, in a world that is open for the block; loads nothing.

        With `wake`, an endpoint is started for it where nothing else tells what it has.
        """
        settings = load_settings(job.config, pipeline=job.pipeline, cwd=Path.cwd())
        settings = self.outside.adjust(replace(settings, run=settings.run.under(job.priority, job.limits)))
        graph = build_graph(load_pipeline(job.pipeline), agents=settings.agents)
        inputs = _inputs(graph, job, self.board) if need_inputs else {}
        async with open_world(settings, say=self.board.say, outside=self.outside) as world:
            plan = await _plan(graph, world, wake=wake)
            yield PlannedRun(job, world.settings, graph, inputs, plan, world)

    async def run(self, job: Job, *, on_pull: OnProgress | None = None) -> RunResult:
        """Run the job to its end. A bad end is a result; an error before the run began is raised."""
        async with self.planned(job, wake=True) as planned, Journal.open() as journal:
            for note in planned.plan.notes:
                self.board.say(f"note: {note}")
            await pull_missing(planned, self.board, on_pull)
            return await _Execution(planned, journal, self.board, self._terminal).run()


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


def _inputs(graph: Graph, job: Job, board: Board) -> dict[str, Any]:
    if job.values is None:
        return read_inputs(graph, job.pairs, job.inputs_file)
    known = {item.name for item in graph.inputs}
    before = {name: value for name, value in job.values.items() if name in known}
    for name in job.values.keys() - known:
        board.say(f"note: the pipeline takes no input {name!r} any more")
    run = job.resume or (job.fork.parent if job.fork is not None else "")
    source = Path(f"the inputs of {run}")
    return read_inputs(
        graph,
        job.pairs,
        source,
        lambda path: json.dumps(before) if path is source else from_file(path),
    )


def _redone(graph: Graph, stage: str | None) -> tuple[str, ...]:
    """The stage, and all that depend on it; UsageError where the pipeline has none of this name."""
    if stage is None:
        return ()
    names = [one.name for one in graph.stages]
    if stage not in names:
        raise UsageError(f"pipeline {graph.name} has no stage {stage!r}", hint=did_you_mean(stage, names))
    found = {stage}
    for one in graph.stages:  # each after all it needs
        if not found.isdisjoint(one.needs):
            found.add(one.name)
    return tuple(name for name in names if name in found)


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

    def __init__(self, planned: PlannedRun, journal: Journal, board: Board, terminal: Terminal | None) -> None:
        self._terminal = terminal
        self.planned = planned
        self.journal = journal
        self.board = board
        job, graph = planned.job, planned.graph
        self.id = job.resume or new_run_id(graph.name, datetime.now(UTC))
        self.folder = RunFolder((job.out if job.out is not None else Path("runs") / self.id).absolute())
        self._habits = Habits()
        self._observer: Observer = Unobserved()
        self._redo = _redone(graph, job.fork.redo) if job.fork is not None else ()
        self._past = self._read_past()
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
            forked_from=job.fork.parent if job.fork is not None else None,
        )

    async def run(self) -> RunResult:
        """Everything between the first and the last entry of the run; the result is in the journal before it is returned."""
        from vwt_agents.logs import run_log

        self._began = anyio.current_time()
        self.folder.make()
        await self._begin()
        with bound(run=self.id), run_log(self.folder.path / "log.jsonl", run=self.id):
            log.info("run.started", pipeline=self.planned.graph.name, promoted=self.planned.plan.promoted)
            self._observe()
            try:
                await self._walk()
            except VwtError as error:
                self._end("bad" if isinstance(error, RunError) else "failed", error.exit_code, str(error))
            except Exception as error:
                # Nothing the user did: it is written down, and told with its traceback.
                self._end("failed", 1, words_of(error))
                raise
            except BaseException:
                self._end("interrupted", 130, None)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await self._finish()
        return self.result

    def _read_past(self) -> Past:
        job = self.planned.job
        if job.fork is None:
            return job.past or Past()
        return read_past(inherited(job.fork.entries, job.fork.parent, job.fork.seq, self._redo), job.fork.code)

    async def _begin(self) -> None:
        job = self.planned.job
        if job.resume is not None:
            await self.journal.reopen_run(self.id)
            self.result.forked_from = (await self.journal.run(self.id)).parent
            return
        source = self.planned.settings.source
        config = str(source.absolute()) if source is not None else None
        said = {
            "values": jsonable(dict(self.planned.inputs)),
            "seed": job.seed,
            "config": config,
            "priority": job.priority,
            "limits": asdict(job.limits),
            "code": code_marks(self.planned.graph.stages),
        }
        if self._redo:
            said["redo"] = self._redo
        self.id = await self.journal.new_run(
            self.planned.graph.name,
            run_id=self.id,
            file=str(job.pipeline.absolute()),
            inputs=encode(said),
            settings=fingerprint(repr(self.planned.settings)),
            promoted=self.planned.plan.promoted,
            tier=self.planned.plan.tier,
            out_dir=str(self.folder.path),
            parent=job.fork.parent if job.fork is not None else None,
            parent_seq=job.fork.seq if job.fork is not None else None,
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
            recording(self.journal, self.id, self.board, outline(planned.graph, planned.plan)) as timeline,
            open_neighbours(
                world, planned.plan, lambda name, used: measuring(world, name, self.journal, used), self.id
            ) as neighbours,
            Dispatcher(
                scheduler, neighbours.endpoints, board=self.board, priority=priority, timeline=timeline
            ) as dispatcher,
        ):
            self._prepare(dispatcher)
            runner = Runner(
                planned.graph,
                planned.plan,
                settings,
                run_id=self.id,
                caller=self._observer.caller(with_failover(planned, dispatcher, neighbours, self._habits, self.board)),
                journal=self.journal,
                folder=self.folder,
                services=services,
                board=self.board,
                seed=planned.job.seed,
                past=self._past,
                approvals=self._approvals(),
                digests={key: info.digest for key, info in world.infos.items()},
                use_cache=planned.job.use_cache,
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
        unproven = self._unproven(runner.values)
        why = f"no verdict: {', '.join(unproven)} was skipped, or some of its items, or gave none" if unproven else None
        self._end("good" if self._passed else "bad", 0 if self._passed else 1, why)

    def _approvals(self) -> Approvals:
        return Approvals(
            self.id,
            self.journal,
            self.board,
            past=self._past.approvals,
            everything=self.planned.job.approve_all,
            terminal=self._terminal,
        )

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
        return {"Sandbox": self._observer.sandbox(sandbox)}

    def _judge(self, values: Mapping[str, Any]) -> None:
        verdict = find_verdict(values, self.planned.graph)
        self.result.verdict = jsonable(verdict) if verdict is not None else None
        self._passed = (verdict is None or verdict.passed) and not self._unproven(values)
        self.result.outputs = {name: jsonable(values[name]) for name in self.planned.graph.terminals if name in values}

    def _unproven(self, values: Mapping[str, Any]) -> list[str]:
        """The stages that would have had a verdict and were skipped, or one for each item, of which some were left out, or
        that are to return a Verdict and did not: nobody may take the run for good without.
        """
        proving = [stage for stage in self.planned.graph.stages if _has_verdict(stage.returns)]
        status = {stage.name: self.board.stages[stage.name].status for stage in proving}
        left_out = [stage for stage in proving if stage.policy.on_error == "skip" and status[stage.name] == "partial"]
        return [
            stage.name
            for stage in proving
            if status[stage.name] == "skipped" or stage in left_out or _lacks_verdict(stage, values)
        ]

    def _end(self, status: Status, exit_code: int, error: str | None) -> None:
        self.result.status, self.result.exit_code, self.result.error = status, exit_code, error

    async def _finish(self) -> None:
        now = anyio.current_time()
        self.result.seconds = round(now - self._began, 3)
        self.result.limits = self._spent.against(now - self._began)
        self.result.count(self.board, now)
        self.result.artifacts = [str(path) for path in self.folder.delivered]
        try:
            await self._report()
        except VwtError as error:  # the folder went away, or the disk is full: the journal still has to know
            self.board.say(f"note: {error.message}")
        summary = encode(self.result)
        log.info("run.ended", status=self.result.status, exit_code=self.result.exit_code, seconds=self.result.seconds)
        await self.journal.finish_run(self.id, self.result.status, exit_code=self.result.exit_code, summary=summary)
        await self._observer.ended(self.result)

    def _observe(self) -> None:
        world, plan = self.planned.world, self.planned.plan
        self._observer = observer(
            world.outside.telemetry(self.board.say),
            run=self.id,
            pipeline=self.planned.graph.name,
            board=self.board,
            engines={name: engine_of(one) for name, one in world.settings.endpoints.items()},
            attributes={"vwt.tier": plan.tier, "vwt.promoted": plan.promoted},
        )

    async def _report(self) -> None:
        from vwt_agents.render.report import run_report

        result = self.result
        text = run_report(result, self.planned.plan, self.board, self.planned.graph)
        result.report = str(self.folder.write("report.md", text))
        result.artifacts = [*result.artifacts, result.report]
        if (page := await page_at_the_end(self.journal, result)) is not None:
            result.artifacts.append(str(self.folder.write("report.html", page)))
        self.folder.write("result.json", json.dumps(jsonable(result), indent=2) + "\n")


async def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """The sandbox agents.toml asks for; only the word `unsafe` there goes without one."""
    from vwt_agents.sandbox.base import Limits
    from vwt_agents.sandbox.service import Sandbox

    limits = Limits(wall_s=settings.timeout, memory_mib=settings.memory)
    unsafe = settings.backend == "unsafe"
    return await Sandbox.open(
        settings.backend, allow_reduced=settings.allow_reduced, allow_unsafe=unsafe, limits=limits
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


def _has_verdict(annotation: Any) -> bool:
    """Whether values of this type are verdicts, or have one as `.verdict`; also each of several."""
    from vwt_agents.sandbox.judge import Verdict

    parts = get_args(annotation)
    if parts:
        return any(_has_verdict(part) for part in parts)
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, Verdict) or "verdict" in getattr(annotation, "__annotations__", {})


def _lacks_verdict(stage: Stage, values: Mapping[str, Any]) -> bool:
    """Whether a stage that is to return a Verdict, no less, returned something else: a body without `return`, say."""
    from vwt_agents.sandbox.judge import Verdict

    if stage.name not in values or not isinstance(stage.returns, type) or not issubclass(stage.returns, Verdict):
        return False
    given = values[stage.name] if stage.each is not None else [values[stage.name]]
    return not all(isinstance(one, Verdict) for one in given)


def _verdicts(value: Any) -> Iterator[Verdict]:
    from vwt_agents.sandbox.judge import Verdict

    for one in value if isinstance(value, list | tuple) else (value,):
        carried = one if isinstance(one, Verdict) else getattr(one, "verdict", None)
        if isinstance(carried, Verdict):
            yield carried
