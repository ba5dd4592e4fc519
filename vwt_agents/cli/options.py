"""Options that several commands share, and how a command's coroutine is run. Owns signals: Ctrl-C and TERM end it cleanly."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vwt_agents.app import Job

__all__ = ["emit_json", "job_of", "job_options", "run_async"]

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

_JOB_OPTIONS = [
    click.argument("pipeline", type=click.Path(path_type=Path), metavar="PIPELINE.py"),
    click.option(
        "-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE|NAME=@FILE", help="One input; repeatable."
    ),
    click.option(
        "--inputs", "inputs_file", type=click.Path(path_type=Path), metavar="FILE.json", help="Inputs from a file."
    ),
    click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of agents.toml."),
]


def job_options(command: Command) -> Command:
    """The arguments that say which pipeline to run with what."""
    for option in reversed(_JOB_OPTIONS):
        command = option(command)
    return command


def job_of(pipeline: Path, pairs: tuple[str, ...], inputs_file: Path | None, config: Path | None, **more: Any) -> Job:
    """The job those arguments name."""
    from vwt_agents.app import Job

    return Job(pipeline, pairs=pairs, inputs_file=inputs_file, config=config, **more)


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine; a TERM ends it as Ctrl-C does: cancelled once, given time to write down where it stood."""
    import anyio

    def interrupt(_signal: int, _frame: object) -> None:
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        return anyio.run(work)
    finally:
        signal.signal(signal.SIGTERM, previous)


def emit_json(value: Any) -> None:
    """One JSON object on stdout."""
    from vwt_agents.values import jsonable

    click.echo(json.dumps(jsonable(value), indent=2, ensure_ascii=False))
