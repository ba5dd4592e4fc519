"""`models`: the matrix of what can be used here, and how a model comes here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli.options import Group, emit_json, run_async, terminal_width

if TYPE_CHECKING:
    from vwt_agents.app import World
    from vwt_agents.config import Settings
    from vwt_agents.endpoints.base import Progress

__all__ = ["models"]

config_option = click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of agents.toml."
)


@click.group(cls=Group, invoke_without_command=True)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def models(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Models: size, quantisation, footprint here, whether it fits, licence, use. Without a command: list."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models, config=config, as_json=as_json)
    elif as_json or config is not None:
        given = "--json" if as_json else "--config"
        raise click.UsageError(f"{given} goes after the command: models {ctx.invoked_subcommand} ... {given}")


def _settings(config: Path | None) -> Settings:
    from vwt_agents.config import load_settings

    return load_settings(config, pipeline=None, cwd=Path.cwd())


@models.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_models(config: Path | None = None, as_json: bool = False) -> int:
    """List the models agents.toml names, and those the endpoints have."""
    from vwt_agents.app import open_world
    from vwt_agents.app.matrix import model_matrix
    from vwt_agents.render.models import matrix_text

    settings = _settings(config)

    async def work() -> list[dict[str, Any]]:
        async with open_world(settings, everything=True) as world:
            return await model_matrix(world)

    rows = run_async(work)
    if as_json:
        emit_json(rows)
    else:
        click.echo(matrix_text(rows, width=terminal_width()))
    return 0


@models.command("show")
@click.argument("model")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_model(model: str, config: Path | None, as_json: bool) -> int:
    """Show all that is known of one model, with its endpoints and the arithmetic of its footprint on each."""
    from vwt_agents.app import open_world
    from vwt_agents.app.matrix import model_matrix
    from vwt_agents.config import canonical
    from vwt_agents.errors import ModelMissing, did_you_mean
    from vwt_agents.render.models import model_text

    settings = _settings(config)

    async def work() -> list[dict[str, Any]]:
        async with open_world(settings, everything=True) as world:
            return await model_matrix(world)

    rows = run_async(work)
    found = [row for row in rows if canonical(row["model"]) == canonical(model)]
    if not found:
        raise ModelMissing(
            f"no endpoint knows a model {model!r}", hint=did_you_mean(model, [row["model"] for row in rows])
        )
    if as_json:
        emit_json(found)
        return 0
    click.echo(model_text(found, width=terminal_width()))
    return 0


@models.command("pull")
@click.argument("model")
@click.option("--endpoint", help="On this endpoint.  [default: the first that can bring it]")
@config_option
def pull_model(model: str, endpoint: str | None, config: Path | None) -> int:
    """Bring a model here; resumes where an earlier pull stopped, and checks every byte."""
    from vwt_agents.app import open_world

    settings = _settings(config)

    async def work() -> str:
        async with open_world(settings, everything=True) as world:
            name = await _puller(world, model, endpoint)
            click.echo(f"pulling {model} for endpoint {name}", err=True)
            with _bar(model) as show:
                await world.endpoints[name].pull(model, show)
            if warning := await _licence_warning(world, name, model):
                click.echo(warning, err=True)
            return name

    name = run_async(work)
    click.echo(f"{model} is ready on endpoint {name}")
    return 0


async def _licence_warning(world: World, endpoint: str, model: str) -> str:
    """What to say of a model that may not be used until its licence is accepted; empty where it may."""
    from vwt_agents.config import licence_id

    licences = world.settings.licences
    info = await world.endpoints[endpoint].describe(model)
    if licences.allows(model, info.licence):
        return ""
    accept = ", ".join(f'"{name}"' for name in (*licences.accept, model))
    said = f"note: {model} is under the licence {licence_id(info.licence)!r}, which agents.toml does not allow"
    return f"{said}: runs pass over it\n  once you agree to it: [licences] accept = [{accept}]"


@models.command("forget")
@click.argument("model")
@config_option
def forget_model(model: str, config: Path | None) -> int:
    """Forget what a model was measured to take here, also that it spilled; it is estimated again."""
    from vwt_agents.app import open_world
    from vwt_agents.config import canonical
    from vwt_agents.errors import ModelMissing, VwtError, did_you_mean
    from vwt_agents.journal import Journal

    settings = _settings(config)

    async def work() -> int:
        async with open_world(settings, everything=True) as world, Journal.open() as journal:
            measured = await journal.measurements()
            digests = {one.conditions.digest for one in measured if canonical(one.model) == canonical(model)}
            described = False
            for name, endpoint in world.endpoints.items():
                if world.health[name].ok:
                    try:
                        digests.add((await endpoint.describe(model)).digest)
                        described = True
                    except VwtError:
                        continue
            if not described and not digests:  # one that has gone since it was measured can be forgotten all the same
                names = {info_model for _, info_model in world.infos} | {one.model for one in measured}
                raise ModelMissing(
                    f"no endpoint knows a model {model!r}, and none was measured here",
                    hint=did_you_mean(model, sorted(names)),
                )
            return sum([await journal.forget(digest) for digest in digests if digest])

    forgotten = run_async(work)
    click.echo(f"{model}: {forgotten} measurement{'' if forgotten == 1 else 's'} forgotten")
    return 0


async def _puller(world: World, model: str, endpoint: str | None) -> str:
    """The endpoint to pull on: the one named, else the embedded engine if it knows the model, else Ollama if it answers."""
    from vwt_agents.errors import EndpointUnavailable, ModelMissing, UsageError, VwtError, did_you_mean

    if endpoint is not None:
        if endpoint not in world.endpoints:
            raise UsageError(f"agents.toml has no endpoint {endpoint!r}", hint=did_you_mean(endpoint, world.endpoints))
        return endpoint
    for name, place in world.endpoints.items():
        if place.kind == "embedded":
            try:
                await place.describe(model)
            except VwtError:
                continue
            return name
    for name, place in world.endpoints.items():
        if place.kind == "ollama" and world.health[name].ok:
            return name
    known = [
        info.name for place in world.endpoints.values() if place.kind == "embedded" for info in await place.models()
    ]
    if not known:
        raise EndpointUnavailable(f"no endpoint answers that could pull {model!r}", hint="start Ollama: ollama serve")
    raise ModelMissing(f"the catalogue has no model {model!r}, and no Ollama answers", hint=did_you_mean(model, known))


def _bar(model: str) -> Any:
    """A progress bar on a terminal, a line each tenth elsewhere; gives an OnProgress."""
    from contextlib import contextmanager

    from vwt_agents.board import Board
    from vwt_agents.render.pulls import PullView

    @contextmanager
    def plain() -> Any:
        board = Board()
        board.on_line.append(lambda line: click.echo(line, err=True))
        yield PullView(board).show

    @contextmanager
    def bar() -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(model, total=None)

            def show(progress: Progress) -> None:
                total = progress.total or None
                bars.update(task, description=f"{model}: {progress.status}", completed=progress.completed, total=total)

            yield show

    import sys

    return bar() if sys.stderr.isatty() else plain()


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="The model's name here; not needed for a file the catalogue knows.")
def import_model(file: Path, name: str | None) -> int:
    """Take a GGUF file from this machine into the store; works offline."""
    from vwt_agents.endpoints.embedded import import_file

    async def work() -> str:
        return await import_file(file, name)

    click.echo(f"imported as {run_async(work)}")
    return 0
