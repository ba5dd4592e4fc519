"""`runs`: what the journal remembers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli import upkeep
from vwt_agents.cli.options import approval_option, emit_json, limit_options, run_async, terminal_width

if TYPE_CHECKING:
    from vwt_agents.app import Job
    from vwt_agents.entries import Entry, RunLine, RunRecord
    from vwt_agents.journal import JournalReader
    from vwt_agents.messages import Priority
    from vwt_agents.past import Question

__all__ = ["runs"]


@click.group()
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

    async def work() -> tuple[list[RunLine], dict[str, list[Question]]]:
        reader = JournalReader()
        found = list(await reader.list_runs(limit, pipeline=pipeline))
        return found, {one.id: await _open_questions(reader, one.id) for one in found if one.status == "running"}

    records, asked = run_async(work)
    if as_json:
        emit_json(records)
    elif not records:
        click.echo("no runs yet: python -m vwt_agents run pipelines/codegen.py")
    else:
        head = ["run", "pipeline", "status", "seconds", "folder"]
        rows = [_row(record, asked.get(record.id, [])) for record in records]
        click.echo(columns(head, rows, width=terminal_width()))
    return 0


async def _open_questions(reader: JournalReader, run: str) -> list[Question]:
    from vwt_agents.past import pending, questions

    asked = questions(await reader.entries(run, "event"))
    return pending(await reader.entries(run)) if asked else []


def _row(record: RunLine, asked: list[Question]) -> list[str]:
    seconds = f"{(record.ended_at - record.started_at).total_seconds():.1f}" if record.ended_at is not None else "-"
    status = f"waits for a person: {asked[0].stage}" if asked else record.status
    return [record.id, record.pipeline, status, seconds, record.out_dir]


@runs.command("show")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_run(run: str, as_json: bool) -> int:
    """Show a run: how it ended, its stages, attempts and calls, and what it waits for."""
    from vwt_agents.journal import JournalReader
    from vwt_agents.past import pending
    from vwt_agents.render.columns import columns

    async def work() -> tuple[RunRecord, list[Entry]]:
        reader = JournalReader()
        record = await reader.run(run)
        return record, list(await reader.entries(record.id))

    record, entries = run_async(work)
    if as_json:
        summary = json.loads(record.summary) if record.summary else None
        emit_json({"run": record, "summary": summary, "entries": entries})
        return 0
    click.echo(f"{record.id}: {record.status} ({record.pipeline}, {record.file})")
    click.echo(f"started {record.started_at:%Y-%m-%d %H:%M:%S} UTC, folder {record.out_dir}")
    rows = [
        [
            str(entry.seq),
            entry.kind,
            entry.name,
            entry.key[:12] if entry.kind == "stage" else entry.key,
            entry.status,
            f"{entry.seconds:.1f}" if entry.seconds else "",
        ]
        for entry in entries
    ]
    click.echo(columns(["entry", "kind", "stage", "key", "status", "seconds"], rows, width=terminal_width()))
    if record.parent is not None:
        click.echo(f"begun from run {record.parent}, of which it has the first {record.parent_seq} entries")
    if record.status in {"running", "interrupted"}:
        for one in pending(entries):
            until = f"; {'yes' if one.default else 'no'} at {one.until}" if one.until else ""
            click.echo(f"waits for a person, stage {one.stage}: {one.question}{until}")
            click.echo(f"  python -m vwt_agents runs approve {record.id} {one.stage} [--deny]")
    if record.status == "interrupted":
        click.echo(f"go on with it: python -m vwt_agents runs resume {record.id}")
    return 0


@runs.command("report")
@click.argument("run")
def report_run(run: str) -> int:
    """Print a run's report."""
    from vwt_agents.errors import UsageError
    from vwt_agents.journal import JournalReader

    async def work() -> RunRecord:
        return await JournalReader().run(run)

    record = run_async(work)
    path = Path(record.out_dir) / "report.md"
    if not path.exists():
        raise UsageError(
            f"run {record.id} has no report at {path}", hint="its folder was moved or deleted, or it never ended"
        )
    click.echo(path.read_text(encoding="utf-8"), nl=False)
    return 0


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
