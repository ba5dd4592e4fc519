"""`plan`: what a run would do, without doing any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli.options import emit_json, job_of, job_options, run_async, terminal_width

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.app import PlannedRun

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

    job, app = job_of(pipeline, pairs, inputs_file, config), App()
    app.board.on_line.append(lambda line: click.echo(line, err=True))

    async def work() -> PlannedRun:
        async with app.planned(job, need_inputs=bool(pairs or inputs_file)) as planned:
            return planned

    planned = run_async(work)
    if mermaid:
        click.echo(planned.graph.mermaid(), nl=False)
    elif as_json:
        emit_json(_as_data(planned))
    else:
        graph, world = planned.graph, planned.world
        click.echo(plan_text(graph, planned.plan, world.budgets, world.arithmetic, width=terminal_width()))
    return 0


def _as_data(planned: PlannedRun) -> dict[str, Any]:
    from vwt_agents.graph import type_name
    from vwt_agents.render.tables import predicted_loads

    graph, chosen = planned.graph, planned.plan
    return {
        "pipeline": graph.name,
        "promoted": chosen.promoted,
        "tier": chosen.tier,
        "reason": chosen.reason,
        "stages": [
            {"name": stage.name, "importance": stage.importance, "needs": stage.needs, "agents": stage.agents}
            for stage in graph.stages
        ],
        "inputs": [
            {"name": item.name, "type": type_name(item.annotation), "required": item.required} for item in graph.inputs
        ],
        "routes": list(chosen.routes.values()),
        "models": list(chosen.specs),
        "loads": predicted_loads(chosen, planned.world.budgets),
        "residency": [
            {"device": one.device, "models": one.models, "mib": one.needed, "side_by_side": one.side_by_side}
            for one in chosen.residency(planned.world.budgets)
        ],
        "budgets": planned.world.budgets,
        "notes": list(chosen.notes),
    }
