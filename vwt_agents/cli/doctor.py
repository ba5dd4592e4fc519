"""`doctor`: what works here, what does not, and the command that fixes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import emit_json, run_async, terminal_width

if TYPE_CHECKING:
    from vwt_agents.app.findings import Finding
    from vwt_agents.app.inspection import ServerLook

__all__ = ["doctor"]


@click.command()
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of agents.toml.")
@click.option("--load", is_flag=True, help="Load a small model on each Ollama for a moment, and count its slots.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config: Path | None, load: bool, as_json: bool) -> int:
    """Say what works on this machine. Exit code 0 when runs can work, 3 when something they need is missing."""
    from vwt_agents.app import open_world
    from vwt_agents.app.checks import check_all
    from vwt_agents.config import load_settings
    from vwt_agents.render.inspection import environment_text
    from vwt_agents.render.tables import findings_text

    settings = load_settings(config, pipeline=None, cwd=Path.cwd())

    async def work() -> tuple[list[Finding], list[ServerLook]]:
        async with open_world(settings, everything=True) as world:
            return await check_all(world, load=load)

    findings, servers = run_async(work)
    good = all(finding.level != "missing" for finding in findings)
    if as_json:
        environment = {server.endpoint: server.wanted for server in servers}
        source = str(settings.source or "packaged default")
        emit_json({"ok": good, "config": source, "findings": findings, "environment": environment})
    else:
        click.echo(findings_text(str(settings.source or "packaged default"), findings, width=terminal_width()))
        wanting = {finding.what for finding in findings if finding.level == "missing"}
        for server in servers:
            if not server.answers and f"endpoint {server.endpoint}" not in wanting:
                continue  # another endpoint does its work
            known = server.known.values if server.known is not None else None
            if text := environment_text(server.endpoint, server.wanted, known):
                click.echo(f"\n{text}")
    return 0 if good else 3
