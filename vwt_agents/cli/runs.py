"""`runs`: what the journal remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli.options import emit_json, limit_options, run_async, terminal_width
from vwt_agents.cli.run_pages import report, trace
from vwt_agents.cli.run_show import show
from vwt_agents.cli.run_top import top

if TYPE_CHECKING:
    from vwt_agents.app import Job
    from vwt_agents.entries import RunRecord
    from vwt_agents.messages import Priority

__all__ = ["runs"]


@click.group()
def runs() -> None:
    """The runs in the journal. RUN is a run's id, the beginning of one, or `last`."""


@runs.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many.")
@click.option("--pipeline", help="Only runs of this pipeline.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_runs(limit: int, pipeline: str | None, as_json: bool) -> int:
    """List the newest runs."""
    from vwt_agents.journal import JournalReader
    from vwt_agents.render.columns import columns

    async def work() -> list[RunRecord]:
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


def _row(record: RunRecord) -> list[str]:
    seconds = f"{(record.ended_at - record.started_at).total_seconds():.1f}" if record.ended_at is not None else "-"
    return [record.id, record.pipeline, record.status, seconds, record.out_dir]


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


@runs.command("metrics")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.prom", help="Write them there, atomically.")
def metrics(out: Path | None) -> int:
    """Print all runs in the journal as Prometheus text, for node_exporter's textfile collector."""
    from vwt_agents.journal import JournalReader
    from vwt_agents.render.prometheus import prometheus_text, write_prometheus

    async def work() -> list[RunRecord]:
        return list(await JournalReader().list_runs(1_000_000))

    records = run_async(work)
    if out is None:
        click.echo(prometheus_text(records), nl=False)
    else:
        write_prometheus(records, out)
    return 0


runs.add_command(report)
runs.add_command(show)
runs.add_command(trace)
runs.add_command(top)
