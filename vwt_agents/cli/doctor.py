"""`doctor`: what works here, what does not, and the command that fixes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import emit_json, run_async, terminal_width

if TYPE_CHECKING:
    from vwt_agents.app.checks import Finding

__all__ = ["doctor"]


@click.command()
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of agents.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config: Path | None, as_json: bool) -> int:
    """Say what works on this machine. Exit code 0 when runs can work, 3 when something they need is missing."""
    from vwt_agents.app import open_world
    from vwt_agents.app.checks import check_all
    from vwt_agents.config import load_settings
    from vwt_agents.render.tables import findings_text

    settings = load_settings(config, pipeline=None, cwd=Path.cwd())

    async def work() -> list[Finding]:
        async with open_world(settings, everything=True) as world:
            return await check_all(world)

    findings = run_async(work)
    good = all(finding.level != "missing" for finding in findings)
    if as_json:
        emit_json({"ok": good, "config": str(settings.source or "packaged default"), "findings": findings})
    else:
        click.echo(findings_text(str(settings.source or "packaged default"), findings, width=terminal_width()))
    return 0 if good else 3
