"""The present of runs on a terminal, for `runs top`. Text of models goes in as text: no markup of theirs is obeyed,
and no control character."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vwt_agents.board import ENDED_WELL
from vwt_agents.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from vwt_agents.report.present import CallNow, DeviceNow, Present, StageNow
    from vwt_agents.types import Seconds

__all__ = ["screen"]

_WIDTH: Final = 30
_CALLS: Final = 12
_STYLES: Final = {
    **dict.fromkeys(("done", "kept", "cached"), "green"),
    **dict.fromkeys(("fallback", "partial", "skipped", "stopped"), "yellow"),
    "failed": "red",
    "running": "bold cyan",
    "waiting": "dim",
}


def screen(runs: Sequence[Present]) -> RenderableType:
    """All of these runs, one under the other."""
    return Group(*(part for run in runs for part in _run(run)))


def _run(run: Present) -> list[RenderableType]:
    done = sum(stage.status in ENDED_WELL for stage in run.stages)
    head = Text.assemble(
        (run.pipeline, "bold"),
        f"  {run.status}, {_span(run.seconds)}",
        f"; some {_span(run.left_s)} to go" if run.left_s is not None else "",
        f"; {done} of {len(run.stages)} stages, {run.calls_done} calls done  " if run.stages else "; getting ready  ",
        (run.run, "dim"),
    )
    parts: list[RenderableType] = [head, Text(), _stages(run.stages)]
    parts += [Text(), *(_device(device) for device in run.devices)] if run.devices else []
    for title, calls in (("running", run.running), ("waiting", run.waiting)):
        if calls:
            parts += [Text(), Text(f"{title}: {len(calls)}", style="bold"), _calls(calls)]
    parts += [Text(), Text(printable(run.remark), style="dim")] if run.remark else []
    return [*parts, Text()]


def _stages(stages: Sequence[StageNow]) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage in stages:
        after = f"after {', '.join(stage.after)}" if stage.after else ""
        took = _span(stage.seconds) if stage.status != "waiting" else ""
        table.add_row(
            Text(stage.name), Text(stage.status, style=_STYLES.get(stage.status, "")), took, Text(after, "dim")
        )
    return table


def _device(device: DeviceNow) -> Text:
    full = min(_WIDTH, round(_WIDTH * device.used_mib / device.budget_mib)) if device.budget_mib > 0 else 0
    names = ", ".join(f"{one.model} {one.phase} {one.running}/{one.slots}" for one in device.models) or "nothing loaded"
    others = f", others {device.others_mib}" if device.others_mib else ""
    return Text.assemble(
        (f"{device.name} ", "bold"),
        ("█" * full, "cyan"),
        ("░" * (_WIDTH - full), "dim"),
        f" {device.used_mib}/{device.budget_mib} MiB{others}  {names}",
    )


def _calls(calls: Sequence[CallNow]) -> Table:
    table = Table.grid(padding=(0, 2))
    for call in calls[:_CALLS]:
        item = f"[{call.item}]" if call.item else ""
        table.add_row(
            Text(f"  {call.stage}{item}"), Text(f"{call.agent} on {call.model}"), _span(call.seconds), Text(call.why)
        )
    if len(calls) > _CALLS:
        table.add_row(Text(f"  and {len(calls) - _CALLS} more", style="dim"))
    return table


def _span(seconds: Seconds) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60):02} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
