"""`runs`: what the journal remembers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli import upkeep
from vwt_agents.cli.options import emit_json, limit_options, run_async, terminal_width

if TYPE_CHECKING:
    from vwt_agents.app import Job
    from vwt_agents.entries import Entry, RunLine, RunRecord
    from vwt_agents.messages import Priority

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

    async def work() -> list[RunLine]:
        return list(await JournalReader().list_runs(limit, pipeline=pipeline))

    records = run_async(work)
    if as_json:
        emit_json(records)
    elif not records:
        click.echo("no runs yet: python -m vwt_agents run pipelines/codegen.py")
    else:
        head = ["run", "pipeline", "status", "seconds", "folder"]
        click.echo(columns(head, [_row(record) for record in records], width=terminal_width()))
    return 0


def _row(record: RunLine) -> list[str]:
    seconds = f"{(record.ended_at - record.started_at).total_seconds():.1f}" if record.ended_at is not None else "-"
    return [record.id, record.pipeline, record.status, seconds, record.out_dir]


@runs.command("show")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_run(run: str, as_json: bool) -> int:
    """Show a run: how it ended, its stages, attempts and calls."""
    from vwt_agents.journal import JournalReader
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
            entry.key,
            entry.status,
            f"{entry.seconds:.1f}" if entry.seconds else "",
        ]
        for entry in entries
    ]
    click.echo(columns(["entry", "kind", "stage", "key", "status", "seconds"], rows, width=terminal_width()))
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
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show nothing while it runs.")
def resume_run(run: str, priority: Priority | None, as_json: bool, quiet: bool, **limits: Any) -> int:
    """Go on with a run that did not end well: every answer the journal has is used again, none is asked for twice.

    Its limits are those it was begun with, counted anew; what is said here goes over them.
    """
    from vwt_agents.app import resumed
    from vwt_agents.cli.run import execute
    from vwt_agents.journal import JournalReader
    from vwt_agents.limits import RunLimits

    async def work() -> Job:
        job = await resumed(JournalReader(), run)
        return replace(job, priority=priority or job.priority, limits=job.limits.under(RunLimits(**limits)))

    return execute(run_async(work), as_json=as_json, quiet=quiet, verbose=False)
