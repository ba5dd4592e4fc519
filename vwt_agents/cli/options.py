"""Options that several commands share, and how a command's coroutine is run and its result printed.

Owns signals: Ctrl-C and TERM cancel the coroutine once and let it end its processes and write down where it stood.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine
    from types import FrameType

    import anyio

    from vwt_agents.app import Job
    from vwt_agents.types import Seconds

__all__ = [
    "INTERRUPTED",
    "Command",
    "Group",
    "approval_option",
    "duration",
    "emit_json",
    "job_of",
    "job_options",
    "limit_options",
    "run_async",
    "terminal_width",
]

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Group(click.Group):
    """Lists its commands each with its whole first sentence, which click cuts off at the end of the line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The section `Commands` of the help."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=200)) for name, one in commands.items() if one])


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


def duration(text: str, *, zero: bool = False) -> Seconds:
    """The type of an option that takes a duration such as `30m`; none at all only where `zero` says so."""
    from vwt_agents.types import parse_duration

    try:
        return parse_duration(text, zero=zero)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _finite(_context: click.Context, _option: click.Parameter, seconds: Seconds | None) -> Seconds | None:
    if seconds is not None and not math.isfinite(seconds):
        raise click.BadParameter(f"{seconds} is no limit; write a number of seconds, or leave it out")
    return seconds


_LIMIT_OPTIONS = [
    click.option(
        "--priority",
        type=click.Choice(["interactive", "batch"]),
        help="The class of its calls where the agent has none: interactive ones go first.",
    ),
    click.option("--deadline", type=duration, metavar="TIME", help="End it after this time, such as 30m."),
    click.option("--max-calls", type=click.IntRange(min=1), metavar="N", help="The model calls it may make."),
    click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="The tokens it may use."),
    click.option(
        "--max-seconds",
        type=click.FloatRange(min=0, min_open=True),
        callback=_finite,
        metavar="N",
        help="The seconds of model time it may use, summed over its calls.",
    ),
]


def approval_option(command: Command) -> Command:
    """`yes`: what a run asks a person is answered with yes."""
    option = click.option("--yes", is_flag=True, help="Say yes to whatever the run asks a person.")
    return option(command)


def limit_options(command: Command) -> Command:
    """The options that go over [run] of agents.toml: `priority`, and each field of RunLimits."""
    for option in reversed(_LIMIT_OPTIONS):
        command = option(command)
    return command


def job_options(command: Command) -> Command:
    """The arguments that say which pipeline to run with what."""
    for option in reversed(_JOB_OPTIONS):
        command = option(command)
    return command


def job_of(pipeline: Path, pairs: tuple[str, ...], inputs_file: Path | None, config: Path | None, **more: Any) -> Job:
    """The job those arguments name."""
    from vwt_agents.app import Job

    return Job(pipeline, pairs=pairs, inputs_file=inputs_file, config=config, **more)


INTERRUPTED: Final = 130
"""The exit code of a command that a signal ended."""

_PATIENCE: Final = 3.0
"""Seconds after the first interrupt during which more of them are taken for impatience, and no longer for a hung stage."""


class _Interrupts:
    """What SIGINT and SIGTERM do while a command's coroutine runs: cancel it once; force the end when it does not come.

    `why` is what user's code did to the event loop that everything runs in, where that ends the command instead.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.scope: anyio.CancelScope | None = None
        self.wake: Callable[[], object] | None = None
        self.first: float | None = None
        self.why = ""

    def from_within(self) -> str:
        """What ended the command, asked by who was cancelled: empty where a signal did."""
        if self.first is not None:
            return ""
        return self.why or "what runs here was cancelled from within, and by no signal"

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        now = self._clock()
        if self.scope is None or self.wake is None or (self.first is not None and now - self.first > _PATIENCE):
            raise KeyboardInterrupt
        self.first = now if self.first is None else self.first
        self.scope.cancel()
        self.wake()


@contextmanager
def _handling(handler: _Interrupts) -> Iterator[None]:
    """Install the handler where a signal is not ignored (as in a shell's background job), and put back what was there.

    Once it was interrupted the command is on its way out, and a second Ctrl-C must not cut off its last words.
    """
    import threading

    ours = threading.current_thread() is threading.main_thread()  # signals are the main thread's business
    numbers = [one for one in (signal.SIGINT, signal.SIGTERM) if ours and signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous if handler.first is None else signal.SIG_IGN)


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """What a command's coroutine returns; KeyboardInterrupt once it has ended after a Ctrl-C or a TERM, RunError where what
    it runs ended it from within: exit() in a task of a stage's own, say, which stops the event loop under all the others.

    What it prints goes to stderr, the `print` of a user's stage too: stdout is for the command's result.
    """
    import asyncio

    import anyio

    from vwt_agents.cancellation import FROM_WITHIN

    interrupts = _Interrupts()

    async def guarded() -> None:
        # A signal handler runs between two bytecodes: the loop may just be about to sleep, so it has to be woken.
        loop = asyncio.get_running_loop()
        interrupts.wake = lambda: loop.call_soon_threadsafe(lambda: None)
        FROM_WITHIN.set(interrupts.from_within)
        try:
            with anyio.CancelScope() as interrupts.scope:
                ended.append(await work())
        except* KeyboardInterrupt:
            pass  # a second one, after the patience, in the midst of a stage that never let go

    ended: list[T] = []
    with _handling(interrupts), redirect_stdout(sys.stderr):
        try:
            with asyncio.Runner() as runner:
                _run_to_its_end(runner.get_loop(), guarded(), interrupts)
        except asyncio.CancelledError:
            interrupts.why = interrupts.from_within()
    if ended:
        return ended[0]
    if interrupts.why:
        from vwt_agents.errors import RunError

        raise RunError(interrupts.why)
    raise KeyboardInterrupt


def _run_to_its_end(loop: AbstractEventLoop, work: Coroutine[Any, Any, None], interrupts: _Interrupts) -> None:
    """Run it, also when the loop is stopped under it: then it is cancelled, as by a signal, and run on until all has ended.

    A loop that is left where it stopped has all its tasks cancelled at once: who writes down how a run ended would be among
    them, and would know no reason.
    """
    task = loop.create_task(work)
    while True:
        try:
            return loop.run_until_complete(task)
        except (RuntimeError, SystemExit) as error:
            why = _stopped_by(error)
            if not why or interrupts.scope is None:
                raise
            if interrupts.first is None:
                interrupts.why = interrupts.why or why
            if task.done():
                return None
            loop.call_soon(interrupts.scope.cancel)


def _stopped_by(error: BaseException) -> str:
    """What user's code did to the event loop that everything runs in; empty for an error that is another's."""
    if isinstance(error, SystemExit):
        import traceback

        *_, last = traceback.extract_tb(error.__traceback__)
        return f"a task begun by a stage called exit({error.code!r}) ({last.filename}:{last.lineno})"
    return "the event loop was stopped from within" if str(error).startswith("Event loop stopped") else ""


def emit_json(value: Any) -> None:
    """One JSON object on stdout."""
    from vwt_agents.printable import printable_json
    from vwt_agents.values import jsonable

    click.echo(printable_json(json.dumps(jsonable(value), indent=2, ensure_ascii=False)))


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none, so that tables keep a line for each row."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
