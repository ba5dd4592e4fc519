"""Results as text for stdout: the end of a run, a plan, the doctor's findings.

`width` is the terminal's, None where there is none: then nothing is wrapped and each row keeps a line of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from vwt_agents.printable import printable
from vwt_agents.render.columns import columns, wrapped
from vwt_agents.render.report import limit_lines, verdict_line
from vwt_agents.values import jsonable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.graph import Graph, Stage
    from vwt_agents.result import RunResult
    from vwt_agents.routing import ModelPlan, Plan

__all__ = ["findings_text", "plan_text", "predicted_loads", "run_text", "shorten"]

_MARKS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


class Finding(Protocol):
    """What `doctor` found out about one thing."""

    @property
    def what(self) -> str:
        """The thing."""
        ...

    @property
    def level(self) -> str:
        """`ok`, `note` or `missing`."""
        ...

    @property
    def detail(self) -> str:
        """One sentence."""
        ...

    @property
    def fix(self) -> str | None:
        """The command to type."""
        ...


def shorten(value: Any, limit: int = 2000) -> str:
    """A value as text: strings as they are, the rest as JSON; cut with a word that it was."""
    text = value if isinstance(value, str) else json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit} more characters)"


def run_text(result: RunResult, *, width: int | None = None) -> str:
    """A run that ended. For a terminal, control characters in what models wrote are written out."""
    lines = [f"{result.pipeline}: {result.status} in {result.seconds:.1f} s (run {result.run_id})"]
    if result.verdict is not None:
        lines.append(wrapped(f"verdict: {verdict_line(result.verdict)}", width, hang="  "))
        lines.append(wrapped(result.verdict["reason"], width, indent="  "))
        lines += [f"  {failure['test']}: {failure['kind']}" for failure in result.verdict["failures"][:5]]
    if result.error:
        lines.append(wrapped(f"error: {result.error}", width, hang="  "))
    where = f"{result.tier} tier"
    if result.promoted:  # with scope = "stage" the run's own tier stays small
        where = "promoted to the large tier" if result.tier == "large" else "important stages on the large tier"
    swaps = f"{counted(result.loads, 'load')}, {counted(result.unloads, 'unload')}"
    memory = f", peak {result.peak_mib} of {result.budget_mib} MiB" if result.devices else ""
    lines.append(f"models: {where}, {swaps}{memory}")
    if result.limits:
        lines.append(f"limits: {', '.join(limit_lines(result))}")
    if result.verdict is None:
        for name, value in result.outputs.items():
            lines += ["", f"{name}:", wrapped(shorten(value), width)]
    if result.artifacts:
        lines += ["", "files:", *(f"  {path}" for path in result.artifacts)]
    text = "\n".join(lines)
    return text if width is None else printable(text)


def counted(number: int, noun: str) -> str:
    """`1 load`, `2 loads`, `2 entries`."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else many}"


def plan_text(
    graph: Graph, plan: Plan, budgets: Mapping[str, int], arithmetic: Mapping[str, str], *, width: int | None = None
) -> str:
    """A plan: the graph, every route with its reason, every model with its footprint, and the loads to expect."""
    side_by_side = f", {graph.width()} side by side at most" if graph.width() > 1 else ""
    lines = [f"{graph.name}: {counted(len(graph.stages), 'stage')}{side_by_side}"]
    if graph.doc:
        lines.append(wrapped(graph.doc, width))
    lines += ["", wrapped(plan.reason, width)]

    def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if rows:
            lines.extend(["", title, columns(head, rows, indent="  ", width=width)])

    table("stages", ["stage", "importance", "after", "agents"], [_stage_row(stage) for stage in graph.stages])
    inputs = [[item.name, "needed" if item.required else _one_line(item.default)] for item in graph.inputs]
    table("inputs", ["input", "default"], inputs)
    routes = [[r.stage, r.agent, r.tier, r.model, r.endpoint] for r in plan.routes.values()]
    table("routes", ["stage", "agent", "tier", "model", "endpoint"], routes)
    lines += _reasons(plan, width)
    models = [
        [
            " = ".join((spec.model, *spec.tags)),
            spec.device,
            str(spec.footprint),
            str(spec.slots),
            str(spec.num_ctx),
            _when(spec),
            spec.arithmetic,
        ]
        for spec in plan.specs
    ]
    table("models", ["model", "device", "MiB", "slots", "num_ctx", "loaded", "footprint"], models)
    used = sorted({spec.device for spec in plan.specs})
    how = {device: arithmetic.get(device, "").removeprefix(f"{device}: ") for device in used}
    table("budgets", ["device", "MiB", "how"], [[device, str(budgets.get(device, 0)), how[device]] for device in used])
    lines += ["", *(wrapped(line, width, hang="  ") for line in _loads(plan, budgets))]
    lines += [wrapped(f"note: {note}", width, hang="  ") for note in plan.notes]
    return "\n".join(lines)


def _stage_row(stage: Stage) -> list[str]:
    each = f" (each of {stage.each.source})" if stage.each is not None else ""
    return [stage.name + each, stage.importance, ", ".join(stage.needs) or "-", ", ".join(stage.agents) or "-"]


def _one_line(value: Any, most: int = 60) -> str:
    """A default in so many characters at most, the end of a longer one marked."""
    text = value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
    text = " ".join(text.split())
    return (text if len(text) <= most else text[: most - 4].rsplit(" ", 1)[0] + " ...") or '""'


def _when(spec: ModelPlan) -> str:
    pull = ", pulled first" if spec.needs_pull else ""
    return ("only on escalation" if spec.only_escalation else "yes") + pull


def _reasons(plan: Plan, width: int | None) -> list[str]:
    """Why each route is as it is: what several agents have in common is said once, each part on a line of its own."""
    agents: dict[tuple[str, str], dict[str, None]] = {}
    for route in plan.routes.values():
        agents.setdefault((route.model, route.reason), {})[route.agent] = None
    lines = ["", "why"] if agents else []
    for (model, reason), names in agents.items():
        lines.append(wrapped(f"{', '.join(names)} on {model}:", width, indent="  "))
        lines += [wrapped(part, width, indent="    ", hang="  ") for part in reason.split("; ")]
    return lines


def predicted_loads(plan: Plan, budgets: Mapping[str, int]) -> dict[str, Any]:
    """How many loads to expect: `at_least` so many, and exactly that where there are no `swaps`."""
    residency = plan.residency(budgets)
    return {
        "at_least": sum(len(device.models) for device in residency),
        "swaps": any(not device.side_by_side for device in residency),
    }


def _loads(plan: Plan, budgets: Mapping[str, int]) -> list[str]:
    expected = predicted_loads(plan, budgets)
    more = " at least, as models are swapped" if expected["swaps"] else ""
    return [
        f"predicted loads: {expected['at_least']}{more}",
        *(f"residency on {device}" for device in plan.residency(budgets)),
    ]


def findings_text(config: str, findings: Sequence[Finding], *, width: int | None = None) -> str:
    """What `doctor` found, each with its fix, and the sum of it."""
    lines = [wrapped(f"config  {config}", width, hang=" " * 8)]
    for finding in findings:
        said = f"{_MARKS[finding.level]} {finding.what}: {finding.detail}"
        lines.append(wrapped(said, width, hang=" " * 8))
        if finding.fix is not None and finding.level != "ok":
            lines.append(f"        fix: {finding.fix}")
    missing = [finding.what for finding in findings if finding.level == "missing"]
    lines.append(f"runs cannot work yet; missing: {', '.join(missing)}" if missing else "runs can work here")
    return "\n".join(lines)
