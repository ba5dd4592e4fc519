"""`run`: a pipeline from its file to its exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli.options import (
    INTERRUPTED,
    approval_option,
    emit_json,
    job_of,
    job_options,
    limit_options,
    run_async,
    terminal_width,
)
from vwt_agents.errors import VwtError

if TYPE_CHECKING:
    from vwt_agents.app import Job
    from vwt_agents.messages import Priority
    from vwt_agents.result import RunResult

__all__ = ["execute", "run"]


@click.command(context_settings={"show_default": True})
@job_options
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the run's files go.  [default: runs/RUN]"
)
@click.option("--seed", type=int, default=0, help="Runs with the same seed ask the same questions the same way.")
@limit_options
@approval_option
@click.option("--no-cache", is_flag=True, help="Do every stage, also those whose result another run has.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show nothing while it runs.")
@click.option("-v", "--verbose", is_flag=True, help="Show the log's events on stderr.")
def run(
    pipeline: Path,
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    config: Path | None,
    out: Path | None,
    seed: int,
    priority: Priority | None,
    yes: bool,
    no_cache: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **limits: Any,
) -> int:
    """Run a pipeline, such as pipelines/codegen.py.

    Exit codes: 0 it ended and its verdict is good, 1 the verdict is bad, 2 usage, config or pipeline, 3 the outside
    world (no endpoint, out of memory, no sandbox), 130 interrupted: `runs resume` goes on from there.
    """
    from vwt_agents.limits import RunLimits

    more = {"out": out, "seed": seed, "priority": priority, "limits": RunLimits(**limits)}
    more |= {"approve_all": yes, "use_cache": not no_cache}
    job = job_of(pipeline, pairs, inputs_file, config, **more)
    return execute(job, as_json=as_json, quiet=quiet, verbose=verbose)


def execute(job: Job, *, as_json: bool, quiet: bool, verbose: bool) -> int:
    """Run a job in front of a view, print its result, and give its exit code."""
    from vwt_agents.app import App
    from vwt_agents.board import Board
    from vwt_agents.cli.prompt import open_terminal
    from vwt_agents.logs import configure
    from vwt_agents.render.live import open_view
    from vwt_agents.render.pulls import PullView
    from vwt_agents.render.tables import run_text

    board = Board()
    app = App(board, terminal=open_terminal(board))

    async def work() -> RunResult:
        return await app.run(job, on_pull=PullView(board).show)

    try:
        with configure(level="info" if verbose else "error"), open_view(board, quiet=quiet):
            result = run_async(work)
    except KeyboardInterrupt:
        click.echo(_how_to_go_on(), err=True)
        return INTERRUPTED
    if as_json:
        if result.error:  # who reads stdout with a program reads on stderr why it ended
            click.echo(f"error: {result.error}", err=True)
        emit_json(result)
    else:
        click.echo(run_text(result, width=terminal_width()))
    return result.exit_code


def _how_to_go_on() -> str:
    """What to say after an interrupt: the command that resumes this process's run, if it had begun one."""
    from vwt_agents.journal import JournalReader

    async def own() -> list[str]:
        records = await JournalReader().list_runs(20)
        return [record.id for record in records if record.pid == os.getpid() and record.status == "interrupted"]

    try:
        begun = run_async(own)
    except (VwtError, KeyboardInterrupt):
        return "interrupted"
    if not begun:
        return "interrupted before the run began; nothing was written"
    return f"interrupted; go on with it: python -m vwt_agents runs resume {begun[0]}"
