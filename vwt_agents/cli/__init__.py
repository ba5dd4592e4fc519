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
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has left (`... | head`): there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"error: {error.filename or 'the output'}: {error.strerror}", err=True)
        return WorldError.exit_code
    return code if isinstance(code, int) else 0
