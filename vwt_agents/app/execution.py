"""A planned run, carried out: from its line in the journal to its result.

Owns the order of things: the journal knows of a run before its first call; what ends a run, also Ctrl-C, is written down
before the process goes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vwt_agents.app.engines import engine_of
from vwt_agents.app.foresight import habits_of, serving
from vwt_agents.app.job import redone
from vwt_agents.app.neighbours import open_neighbours
from vwt_agents.app.outline import outline
from vwt_agents.app.pages import page_at_the_end
from vwt_agents.app.sandbox import open_sandbox
from vwt_agents.app.standby import with_failover
from vwt_agents.app.verdicts import find_verdict, unproven
from vwt_agents.app.world import measuring
from vwt_agents.approvals import Approvals
from vwt_agents.cancellation import FROM_WITHIN
from vwt_agents.core import Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.entries import fingerprint
from vwt_agents.errors import RunError, VwtError, words_of
from vwt_agents.eventlog import bound, get_logger
from vwt_agents.habits import Habits
from vwt_agents.journal import Journal, new_run_id
from vwt_agents.limits import Spent, deadline_passed
from vwt_agents.lookahead import steps
from vwt_agents.past import Past, inherited, read_past
from vwt_agents.recall import code_marks
from vwt_agents.recording import recording
from vwt_agents.result import RunResult, Status
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner
from vwt_agents.traces import Observer, Unobserved, observer
from vwt_agents.values import encode, jsonable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.app.job import PlannedRun
    from vwt_agents.approvals import Terminal
    from vwt_agents.board import Board

__all__ = ["Execution"]

log = get_logger(__name__)


class Execution:
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
        self._redo = redone(job.fork, graph)
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
            except BaseException as error:
                if (failure := self._ended_from_within(error)) is None:
                    self._end("interrupted", 130, None)
                    raise
                self._end("bad", failure.exit_code, str(failure))
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
        owed = "; ".join(f"{stage} {did}" for stage, did in self._unproven.items())
        why = f"no verdict: {owed}" if owed else None
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
        statuses = {name: line.status for name, line in self.board.stages.items()}
        self._unproven = unproven(self.planned.graph, statuses, values)
        self._passed = (verdict is None or verdict.passed) and not self._unproven
        self.result.outputs = {name: jsonable(values[name]) for name in self.planned.graph.terminals if name in values}

    def _end(self, status: Status, exit_code: int, error: str | None) -> None:
        self.result.status, self.result.exit_code, self.result.error = status, exit_code, error

    def _ended_from_within(self, error: BaseException) -> RunError | None:
        """What a stage did to the event loop that all of them run in, where that is what ended them."""
        asked = FROM_WITHIN.get()
        why = asked() if asked is not None and isinstance(error, anyio.get_cancelled_exc_class()) else ""
        if not why:
            return None
        cut = [repr(line.name) for line in self.board.stages.values() if line.status in {"stopped", "failed"}]
        during = f", during stage{'s' if len(cut) > 1 else ''} {', '.join(cut)}" if cut else ""
        return RunError(f"{why}{during}", hint=f"go on with it: python -m vwt_agents runs resume {self.id}")

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
