"""`plan`: what a run would do, without doing any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import emit_json, job_of, job_options, run_async

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plan"]


@click.command()
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as one JSON object.")
@click.option("--mermaid", is_flag=True, help="Print the graph as Mermaid text, and nothing else.")
def plan(
    pipeline: Path,
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    config: Path | None,
    as_json: bool,
    mermaid: bool,
) -> int:
    """Show the graph, the routes with their reasons, the footprints and the loads to expect. Loads nothing."""
    from vwt_agents.app import App
    from vwt_agents.render.tables import plan_text

    job = job_of(pipeline, pairs, inputs_file, config)

    async def work() -> None:
        async with App().planned(job, need_inputs=bool(pairs or inputs_file)) as planned:
            graph, world, chosen = planned.graph, planned.world, planned.plan
            if mermaid:
                click.echo(graph.mermaid(), nl=False)
            elif as_json:
                emit_json(
                    {
                        "pipeline": graph.name,
                        "promoted": chosen.promoted,
                        "tier": chosen.tier,
                        "reason": chosen.reason,
                        "stages": [
                            {"name": s.name, "importance": s.importance, "needs": s.needs, "agents": s.agents}
                            for s in graph.stages
                        ],
                        "routes": list(chosen.routes.values()),
                        "models": list(chosen.specs),
                        "budgets": world.budgets,
                        "notes": list(chosen.notes),
                    }
                )
            else:
                click.echo(plan_text(graph, chosen, world.budgets, world.arithmetic))

    run_async(work)
    return 0
