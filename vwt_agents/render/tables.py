"""Results as text for stdout: the end of a run, a plan, the models, the runs, the doctor's findings."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Protocol

from vwt_agents.render.report import verdict_line
from vwt_agents.values import jsonable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.graph import Graph
    from vwt_agents.result import RunResult
    from vwt_agents.routing import Plan

__all__ = ["Finding", "columns", "findings_text", "matrix_text", "plan_text", "predicted_loads", "run_text", "shorten"]


class Finding(Protocol):
    """One thing the doctor looked at."""

    @property
    def what(self) -> str:
        """What was looked at."""
        ...

    @property
    def level(self) -> str:
        """ok, note or missing."""
        ...

    @property
    def detail(self) -> str:
        """What was found."""
        ...

    @property
    def fix(self) -> str | None:
        """The command that fixes it."""
        ...


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "", width: int | None = None) -> str:
    """Aligned columns under a head; where a row is wider than `width`, its last cell goes on below, further in."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(head))]
    lines = []
    for row in table:
        first = "".join(f"{cell.ljust(size)}  " for cell, size in zip(row[:-1], widths[:-1], strict=True))
        lines.append(_wrapped(indent + first, row[-1], width, indent=f"{indent}    "))
    return "\n".join(lines)


def _wrapped(first: str, text: str, width: int | None, *, indent: str) -> str:
    """`first + text`, or `first` and the text below it where one line is too long."""
    line = (first + text).rstrip()
    if width is None or len(line) <= width:
        return line
    below = textwrap.wrap(text, max(width - len(indent), 20), break_long_words=False, break_on_hyphens=False)
    return "\n".join([first.rstrip(), *(indent + part for part in below)])


def _paragraph(text: str, width: int | None) -> str:
    return "\n".join(_wrapped("", line, width, indent="").lstrip("\n") for line in text.splitlines())


def shorten(value: Any, limit: int = 2000) -> str:
    """A value as text: strings as they are, the rest as JSON; cut with a word that it was."""
    text = value if isinstance(value, str) else json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit} more characters)"


def run_text(result: RunResult, *, width: int | None = None) -> str:
    """A run that ended, for a terminal."""
    lines = [f"{result.pipeline}: {result.status} in {result.seconds:.1f} s (run {result.run_id})"]
    if result.verdict is not None:
        lines += [f"verdict: {verdict_line(result.verdict)}", f"  {result.verdict['reason']}"]
        lines += [f"  {failure['test']}: {failure['kind']}" for failure in result.verdict["failures"][:5]]
    if result.error:
        lines.append(_paragraph(f"error: {result.error}", width))
    where = f"promoted to the {result.tier} tier" if result.promoted else f"{result.tier} tier"
    lines.append(
        f"models: {where}, {result.loads} loads, {result.unloads} unloads, "
        f"peak {result.peak_mib} of {result.budget_mib} MiB"
    )
    if result.verdict is None:
        for name, value in result.outputs.items():
            lines += ["", f"{name}:", shorten(value)]
        lines.append("")
    lines += [f"  {path}" for path in result.artifacts]
    return "\n".join(lines)


def plan_text(
    graph: Graph,
    plan: Plan,
    budgets: Mapping[str, int],
    arithmetic: Mapping[str, str],
    *,
    width: int | None = None,
) -> str:
    """A plan: the graph, every route with its reason, every model with its footprint, and the loads to expect."""
    lines = [f"{graph.name}: {len(graph.stages)} stages, {graph.width()} side by side at most"]
    if graph.doc:
        lines.append(graph.doc)
    lines += ["", plan.reason, "", "stages"]
    rows = []
    for stage in graph.stages:
        each = f" (each of {stage.each.source})" if stage.each is not None else ""
        rows.append(
            [stage.name + each, stage.importance, ", ".join(stage.needs) or "-", ", ".join(stage.agents) or "-"]
        )
    lines.append(columns(["stage", "importance", "after", "agents"], rows, indent="  ", width=width))
    if graph.inputs:
        lines += ["", "inputs"]
        given = [
            [item.name, "needed" if item.required else next(iter(shorten(item.default, 60).splitlines()), '""')]
            for item in graph.inputs
        ]
        lines.append(columns(["input", "default"], given, indent="  ", width=width))
    lines += ["", "routes"]
    routes = [[r.stage, r.agent, r.tier, r.model, r.endpoint, r.reason] for r in plan.routes.values()]
    lines.append(columns(["stage", "agent", "tier", "model", "endpoint", "why"], routes, indent="  ", width=width))
    lines += ["", "models"]
    models = [
        [spec.model, spec.device, str(spec.footprint), str(spec.slots), str(spec.num_ctx), _when(spec), spec.arithmetic]
        for spec in plan.specs
    ]
    lines.append(
        columns(
            ["model", "device", "MiB", "slots", "num_ctx", "loaded", "how the MiB are known"],
            models,
            indent="  ",
            width=width,
        )
    )
    lines += ["", "budgets"]
    used = sorted({spec.device for spec in plan.specs})
    lines.append(
        columns(
            ["device", "MiB", "how"],
            [[d, str(budgets.get(d, 0)), arithmetic.get(d, "")] for d in used],
            indent="  ",
            width=width,
        )
    )
    lines += ["", _paragraph(f"predicted loads: {predicted_loads(plan, budgets)}", width)]
    lines += [_paragraph(f"note: {note}", width) for note in plan.notes]
    return "\n".join(lines)


def _when(spec: Any) -> str:
    pull = ", pulled first" if spec.needs_pull else ""
    return ("only on escalation" if spec.only_escalation else "yes") + pull


def predicted_loads(plan: Plan, budgets: Mapping[str, int]) -> str:
    """How many loads to expect: one for each model where they fit side by side, else at least that and swaps."""
    sure = [spec for spec in plan.specs if not spec.only_escalation]
    crowded = []
    for device in sorted({spec.device for spec in sure}):
        need = sum(spec.footprint for spec in sure if spec.device == device)
        if need > budgets.get(device, 0):
            crowded.append(f"{device} needs {need} MiB for all of them and has {budgets.get(device, 0)}")
    if crowded:
        return f"{len(sure)} at least, with swaps: {'; '.join(crowded)}"
    return f"{len(sure)}, no swaps: they fit side by side"


def matrix_text(rows: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """The models matrix."""
    if not rows:
        return "no endpoint answers and no engine is installed: python -m vwt_agents doctor"
    head = [
        "model",
        "endpoint",
        "tier",
        "here",
        "MB",
        "quantisation",
        "ctx x slots",
        "MiB here",
        "fits",
        "licence",
        "use",
    ]
    cells = [
        [
            row["model"],
            row["endpoint"],
            "+".join(row["tiers"]) or "-",
            "yes" if row["installed"] else "no: pull",
            str(row["size_mb"]),
            row["quantisation"] or "?",
            f"{row['num_ctx']} x {row['slots']}",
            str(row["footprint_mib"]),
            ("yes" if row["fits"] else "no") + f", {row['budget_mib']} on {row['device']}",
            (row["licence"] or "unknown") + ("" if row["allowed"] else " (not allowed)"),
            ", ".join(row["tasks"]) or "general",
        ]
        for row in rows
    ]
    return columns(head, cells, width=width)


def findings_text(config: str, findings: Sequence[Finding], *, width: int | None = None) -> str:
    """What the doctor found, each with the command that fixes it."""
    marks = {"ok": "ok", "note": "note", "missing": "MISSING"}
    lines = [f"{'config':9}{config}"]
    for finding in findings:
        lines.append(_wrapped(f"{marks[finding.level]:9}{finding.what}: ", finding.detail, width, indent=" " * 11))
        if finding.fix is not None and finding.level != "ok":
            lines.append(f"{'':9}fix: {finding.fix}")
    good = all(finding.level != "missing" for finding in findings)
    lines.append("runs can work here" if good else "something that runs need is missing")
    return "\n".join(lines)
