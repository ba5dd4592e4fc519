"""The command line. Owns the words, the options and the exit codes; every command's work is the app's.

0 the run ended and its verdict is good, 1 the verdict is bad, 2 usage, config or pipeline, 3 the outside world,
130 interrupted. Results go to stdout, everything else to stderr. Commands import what they need when they are called.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

import click

from vwt_agents import __version__
from vwt_agents.cli.options import INTERRUPTED
from vwt_agents.errors import VwtError, WorldError, did_you_mean
from vwt_agents.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run_cli"]

_COMMANDS: Final = {
    "run": ("run", "Run a pipeline: agents write, tests prove, the journal remembers."),
    "plan": ("plan", "Show a pipeline's graph, routes with reasons, footprints and loads; loads nothing."),
    "doctor": ("doctor", "Say what works on this machine, what does not, and the command that fixes it."),
    "models": ("models", "List, show, pull, import and forget models: size, footprint, fit, licence, use."),
    "endpoints": ("endpoints", "Bring up, take down and look at the servers that runs start on demand."),
    "runs": ("runs", "List, show, watch, resume, fork, approve and report on runs; keep their journal sound."),
    "sandbox": ("sandbox", "Check the sandbox, or run a program or its tests in it."),
}


_FULL: Final = 64 * 1024  # bytes: what is left of a disk that has no room for a file


class _LazyGroup(click.Group):
    """Knows its commands by name and one line of help, and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"vwt_agents.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r} ({did_you_mean(args[0], _COMMANDS)})")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="vwt_agents")
def cli() -> None:
    """Teams of coding agents on the one GPU you own."""


def run_cli(arguments: Sequence[str]) -> int:
    """The exit code of one command; an error of ours is told on stderr, never as a traceback."""
    try:
        code = cli.main(args=list(arguments), prog_name="python -m vwt_agents", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        error.show()
        return 2
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except VwtError as error:
        click.echo(f"error: {printable(str(error))}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has left (`... | head`): there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        place, hint = _without_room(error)
        click.echo(f"error: {place}: {error.strerror}\n  {hint}", err=True)
        return WorldError.exit_code
    return code if isinstance(code, int) else 0


def _without_room(error: OSError) -> tuple[str, str]:
    """What could not be written, and what to do: a write, unlike an open, does not say which file it was for."""
    import traceback

    if error.filename:
        return str(error.filename), "make room there"
    *_, last = traceback.extract_tb(error.__traceback__)
    if last.filename in {__file__, click.utils.__file__}:
        return "the output", "make room where it is written to"
    full = [place for place in _places() if _is_full(place)]
    if not full:
        return f"a file, in {last.name} ({last.filename}:{last.lineno})", "make room on its disk"
    return " and ".join(
        full
    ), "make room there, or name other folders: TMPDIR has temporary files, VWT_STATE the journal"


def _places() -> list[str]:
    """The folders that commands write to, whatever they are asked."""
    import tempfile

    from vwt_agents.journal import default_path

    named = os.environ.get("TMPDIR") or tempfile.gettempdir()  # a full one is not what gettempdir names
    return list(dict.fromkeys([named, str(default_path().parent), os.getcwd()]))  # noqa: PTH109 - a text is all it takes


def _is_full(place: str) -> bool:
    try:
        room = os.statvfs(place)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _FULL
