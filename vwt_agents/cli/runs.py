"""`runs`: what the journal remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli import upkeep
from vwt_agents.cli.options import Group, approval_option, emit_json, limit_options, run_async, terminal_width
from vwt_agents.cli.run_pages import report, trace, write
from vwt_agents.cli.run_show import show
from vwt_agents.cli.run_top import top

if TYPE_CHECKING:
    from vwt_agents.app import Job
    from vwt_agents.entries import RunLine, RunRecord
    from vwt_agents.journal import JournalReader
    from vwt_agents.messages import Priority
    from vwt_agents.past import Question
    from vwt_agents.types import Seconds

__all__ = ["runs"]


@click.group(cls=Group)
def runs() -> None:
    """The runs in the journal. RUN is a run's id, the beginning of one, or `last`."""


for _command in (upkeep.gc, upkeep.check, upkeep.repair):
    runs.add_command(_command)


@runs.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many.")
@click.option("--pipeline", help="Only runs of this pipeline.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_runs(limit: int, pipeline: str | None, as_json: bool) -> int:
    """List the newest runs."""
    from vwt_agents.journal import JournalReader
    from vwt_agents.render.columns import columns

    async def work() -> tuple[list[RunLine], dict[str, list[Question]], dict[str, Seconds]]:
        reader = JournalReader()
        found = list(await reader.list_runs(limit, pipeline=pipeline))
        asked = {one.id: await _open_questions(reader, one.id) for one in found if one.status == "running"}
        over = [] if as_json else [one.id for one in found if one.ended_at is not None]
        return found, asked, await reader.away(over)

    records, asked, away = run_async(work)
    if as_json:
        emit_json(records)
    elif not records:
        click.echo("no runs yet: python -m vwt_agents run pipelines/codegen.py")
    else:
        head = ["run", "pipeline", "status", "seconds", "folder"]
        rows = [_row(record, asked.get(record.id, []), away.get(record.id, 0.0)) for record in records]
        click.echo(columns(head, rows, width=terminal_width()))
    return 0


async def _open_questions(reader: JournalReader, run: str) -> list[Question]:
    from vwt_agents.past import pending, questions

    asked = questions(await reader.entries(run, "event"))
    return pending(await reader.entries(run)) if asked else []


def _row(record: RunLine, asked: list[Question], away: Seconds) -> list[str]:
    seconds = "-"
    if record.ended_at is not None:  # of a resumed run, the time between its sessions is left out
        seconds = f"{max(0.0, (record.ended_at - record.started_at).total_seconds() - away):.1f}"
    status = f"waits for a person: {asked[0].stage}" if asked else record.status
    return [record.id, record.pipeline, status, seconds, record.out_dir]


@runs.command("resume")
@click.argument("run")
@limit_options
@approval_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show nothing while it runs.")
def resume_run(run: str, priority: Priority | None, yes: bool, as_json: bool, quiet: bool, **limits: Any) -> int:
    """Go on with a run that did not end well: no stage that has ended is done again, no answer is asked for twice.

    A stage whose code or inputs have changed since is done again, with what depends on it, and said. Its limits are those
    it was begun with, counted anew; what is said here goes over them.
    """
    from vwt_agents.app import resumed
    from vwt_agents.cli.run import execute
    from vwt_agents.journal import JournalReader

    async def work() -> Job:
        return _with(await resumed(JournalReader(), run), priority, limits, yes=yes)

    return execute(run_async(work), as_json=as_json, quiet=quiet, verbose=False)


@runs.command("fork")
@click.argument("run")
@click.option("--from", "from_stage", metavar="STAGE", help="Do this stage again, and all that depend on it.")
@click.option(
    "-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE|NAME=@FILE", help="Another input; repeatable."
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of the run's own agents.toml.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where its files go.  [default: runs/RUN]")
@click.option("--seed", type=int, help="Another seed: what is done again is asked in another way.")
@limit_options
@approval_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show nothing while it runs.")
def fork_run(
    run: str,
    from_stage: str | None,
    pairs: tuple[str, ...],
    config: Path | None,
    out: Path | None,
    seed: int | None,
    priority: Priority | None,
    yes: bool,
    as_json: bool,
    quiet: bool,
    **limits: Any,
) -> int:
    """Begin a new run from one in the journal, whichever way that ended: it has what that has, and does the rest.

    Done are the stage of --from with all that depends on it, and every stage whose inputs or code are not what they were.
    """
    from vwt_agents.app import forked
    from vwt_agents.cli.run import execute
    from vwt_agents.journal import JournalReader

    async def work() -> Job:
        job = await forked(JournalReader(), run, pairs=pairs, from_stage=from_stage)
        job = replace(job, out=out, config=config or job.config, seed=job.seed if seed is None else seed)
        return _with(job, priority, limits, yes=yes)

    return execute(run_async(work), as_json=as_json, quiet=quiet, verbose=False)


def _with(job: Job, priority: Priority | None, limits: dict[str, Any], *, yes: bool) -> Job:
    from vwt_agents.limits import RunLimits

    over = job.limits.under(RunLimits(**limits))
    return replace(job, priority=priority or job.priority, limits=over, approve_all=yes)


@runs.command("approve")
@click.argument("run")
@click.argument("stage", required=False)
@click.option("--deny", is_flag=True, help="Say no instead of yes.")
@click.option("--note", default="", metavar="TEXT", help="Kept with the answer, and shown.")
def approve_run(run: str, stage: str | None, deny: bool, note: str) -> int:
    """Answer what a run asks a person; STAGE says which, where it asks several things.

    A run that is not running finds the answer when it is resumed.
    """
    from vwt_agents.app.answering import answer
    from vwt_agents.cli.prompt import user_name

    async def work() -> str:
        return await answer(run, stage, approved=not deny, by=user_name(), note=note)

    click.echo(run_async(work))
    return 0


@runs.command("metrics")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.prom", help="Write them there, atomically.")
def metrics(out: Path | None) -> int:
    """Print all runs in the journal as Prometheus text, for node_exporter's textfile collector."""
    from vwt_agents.journal import JournalReader
    from vwt_agents.render.prometheus import prometheus_text
    from vwt_agents.render.tallies import TALLIED, Tallies

    async def work() -> tuple[tuple[RunRecord, ...], Tallies]:
        reader = JournalReader()
        records = await reader.records()
        tallies = Tallies({record.id: record.pipeline for record in records})
        await reader.each(TALLIED, tallies.take)
        return records, tallies

    records, tallies = run_async(work)
    text = prometheus_text(records, tallies)
    if out is None or str(out) == "-":
        click.echo(text, nl=False)
    else:
        write(out, text)
    return 0


runs.add_command(report)
runs.add_command(show)
runs.add_command(trace)
runs.add_command(top)
