"""`doctor`: what works here, what does not, and the command that fixes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import emit_json, run_async

if TYPE_CHECKING:
    from vwt_agents.app.checks import Finding

__all__ = ["doctor"]

_MARKS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of agents.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config: Path | None, as_json: bool) -> int:
    """Say what works on this machine. Exit code 0 when runs can work, 3 when something they need is missing."""
    from vwt_agents.app import open_world
    from vwt_agents.app.checks import check_all
    from vwt_agents.config import load_settings

    settings = load_settings(config, pipeline=None, cwd=Path.cwd())

    async def work() -> list[Finding]:
        async with open_world(settings, everything=True) as world:
            return await check_all(world)

    findings = run_async(work)
    good = all(finding.level != "missing" for finding in findings)
    if as_json:
        emit_json({"ok": good, "config": str(settings.source or "packaged default"), "findings": findings})
    else:
        click.echo(f"config  {settings.source or 'packaged default'}")
        for finding in findings:
            click.echo(f"{_MARKS[finding.level]} {finding.what}: {finding.detail}")
            if finding.fix is not None and finding.level != "ok":
                click.echo(f"        fix: {finding.fix}")
        click.echo("runs can work here" if good else "something that runs need is missing")
    return 0 if good else 3
