"""`endpoints`: servers that agents.toml says how to start, brought up, taken down and looked at by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import Command, Group, emit_json, run_async, terminal_width

if TYPE_CHECKING:
    from vwt_agents.app.servers import Verb
    from vwt_agents.config import Settings

__all__ = ["endpoints"]

_OPTIONS = [
    click.argument("names", nargs=-1, metavar="[NAME]..."),
    click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of agents.toml."),
    click.option("--dry-run", is_flag=True, help="Print the exact environment and commands, one a line; run nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON array."),
]


def _options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=Group)
def endpoints() -> None:
    """Servers that are started on demand: bring them up, take them down, see how they stand.

    Runs do this by themselves: the first one that needs an endpoint starts it, others share it, and it is stopped once
    nobody has used it for its idle_stop. Without NAME: every endpoint of agents.toml that has `start`.
    """


@endpoints.command()
@_options
def up(names: tuple[str, ...], config: Path | None, dry_run: bool, as_json: bool) -> int:
    """Start endpoints and wait until they answer. Exit code 3, and their own words, when one cannot be started."""
    from vwt_agents.app.servers import bring_up

    settings = _settings(config)
    if dry_run:
        return _show(settings, names, "up", as_json=as_json)
    found = run_async(lambda: bring_up(settings, names, lambda line: click.echo(line, err=True)))
    if as_json:
        emit_json(found)
        return 0
    for one in found:
        ours = f"stops after {one.idle_stop:g} s without use" if one.started_by_us else "not started by vwt_agents"
        click.echo(f"{one.endpoint}: {one.detail}; {ours}")
    return 0


@endpoints.command()
@_options
@click.option("--force", is_flag=True, help="Also if other processes use it.")
def down(names: tuple[str, ...], config: Path | None, dry_run: bool, as_json: bool, force: bool) -> int:
    """Stop endpoints that vwt_agents started. Exit code 3 for one in use, or named here and started by somebody else."""
    from vwt_agents.app.servers import take_down

    settings = _settings(config)
    if dry_run:
        return _show(settings, names, "down", as_json=as_json)
    said = run_async(lambda: take_down(settings, names, force=force))
    if as_json:
        emit_json(
            [{"endpoint": name, "stopped": why is None, "detail": why or "stopped"} for name, why in said.items()]
        )
        return 0
    for name, why in said.items():
        click.echo(f"{name}: {why or 'stopped'}")
    return 0


@endpoints.command()
@_options
def status(names: tuple[str, ...], config: Path | None, dry_run: bool, as_json: bool) -> int:
    """Show each endpoint: does it answer, who started it, who uses it, for how long nobody has, what is in its memory."""
    from vwt_agents.app.servers import server_statuses
    from vwt_agents.render.servers import servers_text

    settings = _settings(config)
    if dry_run:
        return _show(settings, names, "status", as_json=as_json)
    found = run_async(lambda: server_statuses(settings, names))
    if as_json:
        emit_json(found)
    else:
        click.echo(servers_text(found, width=terminal_width()))
    return 0


def _settings(config: Path | None) -> Settings:
    from vwt_agents.config import load_settings

    return load_settings(config, pipeline=None, cwd=Path.cwd())


def _show(settings: Settings, names: tuple[str, ...], verb: Verb, *, as_json: bool) -> int:
    """The commands of a verb, as a shell would take them; what is no command is a comment."""
    from vwt_agents.app.servers import orders

    found = orders(settings, names, verb)
    if as_json:
        emit_json(
            [
                {
                    "endpoint": name,
                    "argv": order.argv,
                    "env": order.env,
                    "folder": order.folder,
                    "instead": instead or None,
                }
                if order is not None
                else {"endpoint": name, "argv": None, "env": {}, "folder": None, "instead": instead}
                for name, order, instead in found
            ]
        )
        return 0
    for name, order, instead in found:
        click.echo(f"# endpoints.{name}")
        click.echo("\n".join(order.lines()) if order is not None else f"# {instead}")
    return 0
