"""The page a run leaves behind, as Markdown: what was asked, what came of it, where the time and the memory went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vwt_agents.board import Board
    from vwt_agents.graph import Graph
    from vwt_agents.result import RunResult
    from vwt_agents.routing import Plan

__all__ = ["limit_lines", "markdown_table", "run_report", "verdict_line"]


def run_report(result: RunResult, plan: Plan, board: Board, graph: Graph) -> str:
    """The report of a run that ended, whichever way it did."""
    parts = [
        f"# {result.pipeline}: {result.status}",
        f"Run `{result.run_id}`, {result.seconds:.1f} s, exit code {result.exit_code}; {plan.reason}.",
    ]
    if result.forked_from is not None:
        parts.append(f"Forked from run `{result.forked_from}`; what it kept of it is said below the stages.")
    if result.verdict is not None:
        parts += ["## Verdict", _verdict(result.verdict)]
    if result.error:
        parts += ["## What ended it", _fenced(result.error)]
    if result.artifacts:
        parts += ["## Files", "\n".join(f"- `{path}`" for path in result.artifacts)]
    parts += ["## Stages", _stages(result), "## Routes", _routes(plan), "## Memory", _memory(result, board)]
    if result.limits:
        parts += ["## Limits", "\n".join(f"- {line}" for line in limit_lines(result))]
    parts += ["## Graph", f"```mermaid\n{graph.mermaid().rstrip()}\n```"]
    if plan.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in plan.notes)]
    return "\n\n".join(parts) + "\n"


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """One line: passed or not, how many tests, by which means."""
    word = "passed" if verdict["passed"] else "not passed"
    return (
        f"{word}: {verdict['tests_passed']} of {verdict['tests_run']} tests passed in sandbox {verdict['backend']} "
        f"(level {verdict['level']}, integrity {verdict['integrity']})"
    )


def limit_lines(result: RunResult) -> list[str]:
    """What the run used of each limit that was set, such as `max_calls: 3 of 200`."""
    return [f"{name}: {_figure(of['used'])} of {_figure(of['limit'])}" for name, of in result.limits.items()]


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.1f} s"


def _verdict(verdict: Mapping[str, Any]) -> str:
    lines = [f"{verdict_line(verdict)}. {verdict['reason']}"]
    for failure in verdict["failures"]:
        lines.append(f"\n`{failure['test']}` ({failure['kind']})\n\n{_fenced(failure['message'])}")
    return "\n".join(lines)


def _fenced(text: str) -> str:
    """The text in a fence longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _stages(result: RunResult) -> str:
    rows = [
        [
            stage.name,
            stage.status,
            stage.agent,
            stage.model,
            str(stage.attempts),
            f"{stage.seconds:.1f}",
            f"{stage.wait_seconds:.1f}",
            f"{stage.load_seconds:.1f}",
            f"{stage.prompt_tokens} ({stage.cached})",
            str(stage.output_tokens),
        ]
        for stage in result.stages
    ]
    head = ["stage", "status", "agent", "model", "attempts", "s", "waited s", "loading s", "prompt (cached)", "output"]
    said = [f"- {stage.name}: {stage.status}, {stage.note}" for stage in result.stages if stage.note]
    said += [f"- {stage.name}: {stage.retries + 1} tries" for stage in result.stages if stage.retries]
    return "\n".join([markdown_table(head, rows), *([""] if said else []), *said])


def _routes(plan: Plan) -> str:
    rows = [
        [route.stage, route.agent, route.tier, route.model, route.endpoint, f"{route.footprint}", route.reason]
        for route in plan.routes.values()
    ]
    return markdown_table(["stage", "agent", "tier", "model", "endpoint", "MiB", "why"], rows)


def _memory(result: RunResult, board: Board) -> str:
    lines = [
        f"- {name}: peak {device['peak_mib']} MiB of a budget of {device['budget_mib']} MiB"
        for name, device in result.devices.items()
    ]
    lines.append(f"- loads: {result.loads}, unloads: {result.unloads}")
    rows = [
        [swap.kind, swap.model, swap.endpoint, f"{swap.seconds:.1f}", str(swap.mib or ""), swap.why]
        for swap in board.swaps
    ]
    table = markdown_table(["swap", "model", "endpoint", "s", "MiB", "why"], rows)
    return "\n".join(lines) + (f"\n\n{table}" if rows else "")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are made safe for it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)])
