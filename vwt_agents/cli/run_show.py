"""`runs show`: one run in a terminal: how it ended, its stages, attempts, what its calls waited for and what they cost."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from vwt_agents.cli.options import emit_json, run_async, terminal_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.report import Others

__all__ = ["show"]


@click.command()
@click.argument("run")
@click.option(
    "--entries", "all_entries", is_flag=True, help="Every entry of the journal, one a line, instead of the sums."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(run: str, all_entries: bool, as_json: bool) -> int:
    """Show a run: how it ended, its stages, attempts and verdict, what its calls waited for and what they cost."""
    from vwt_agents.app.pages import others_of
    from vwt_agents.journal import JournalReader
    from vwt_agents.printable import printable

    async def work() -> tuple[RunRecord, list[Entry], Others]:
        reader = JournalReader()
        record = await reader.run(run)
        entries = list(await reader.entries(record.id))
        return record, entries, {} if as_json or all_entries else await others_of(reader, entries)

    record, entries, others = run_async(work)
    if as_json:
        summary = json.loads(record.summary) if record.summary else None
        emit_json({"run": record, "summary": summary, "entries": entries})
        return 0
    lines = [
        f"{record.id}: {record.status} ({record.pipeline}, {record.file})",
        *(
            [f"forked from {record.parent}, of which it has the first {record.parent_seq} entries"]
            if record.parent
            else []
        ),
        f"started {record.started_at:%Y-%m-%d %H:%M:%S} UTC, folder {record.out_dir}",
        *(_entries(entries) if all_entries else _sums(record, entries, others)),
    ]
    if record.status in {"running", "interrupted"}:
        lines += _questions(record, entries)
    if record.status == "interrupted":
        lines.append(f"go on with it: python -m vwt_agents runs resume {record.id}")
    text = "\n".join(lines)
    click.echo(text if terminal_width() is None else printable(text))
    return 0


def _questions(record: RunRecord, entries: Sequence[Entry]) -> list[str]:
    from vwt_agents.past import pending

    lines = []
    for one in pending(entries):
        until = f"; {'yes' if one.default else 'no'} at {one.until}" if one.until else ""
        lines.append(f"waits for a person, stage {one.stage}: {one.question}{until}")
        lines.append(f"  python -m vwt_agents runs approve {record.id} {one.stage} [--deny]")
    return lines


def _entries(entries: Sequence[Entry]) -> list[str]:
    rows = [
        [str(one.seq), one.kind, one.name, _short(one.key), one.status, f"{one.seconds:.1f}" if one.seconds else ""]
        for one in entries
    ]
    return [_table(["entry", "kind", "name", "key", "status", "seconds"], rows)]


def _short(key: str) -> str:
    """The key, or the beginning of one that is a digest: --json has it whole."""
    return f"{key[:12]}…" if re.fullmatch("[0-9a-f]{64}", key) else key


def _sums(record: RunRecord, entries: Sequence[Entry], others: Others) -> list[str]:
    from vwt_agents.render.tables import counted
    from vwt_agents.report import report_data
    from vwt_agents.report.texts import Texts

    data = report_data(record, entries, Texts(), datetime.now(UTC), others)
    lines = _ending(data)
    lines += ["", _table(_STAGE, [_stage(stage) for stage in data["stages"]])]
    if data["taken"]:
        lines += ["", _table(_TAKEN, [_taken(one) for one in data["taken"]])]
        lines += [f"what was asked there: python -m vwt_agents runs show {run}" for run in _runs_of(data["taken"])]
    if data["attempts"]:
        lines += ["", _table(["attempt", "verdict", "why"], [_attempt(one) for one in data["attempts"]])]
    if waits := [one for one in data["waits"] if one["seconds"] >= 0.05]:
        rows = [[f"{one['seconds']:.1f}", str(one["requests"]), ", ".join(one["stages"]), one["why"]] for one in waits]
        lines += ["", _table(["waited s", "calls", "stages", "why"], rows)]
    totals = data["totals"]
    cached = f"{totals['cached']} of them cached, " if totals["cached"] else ""  # Ollama does not say
    tokens = f"{counted(totals['prompt'], 'token')} read, {cached}{totals['output']} written"
    peaks = [f"{one['name']}: peak {one['peak']} of {_budget(one)} MiB" for one in data["devices"]]
    lines += ["", f"{counted(totals['calls'], 'call')}, {totals['failed']} failed; {tokens}"]
    loads = f"{counted(totals['loads'], 'load')} in {totals['load_s']:.1f} s, {counted(totals['unloads'], 'unload')}"
    lines.append("; ".join([loads, *peaks]))
    return lines


def _ending(data: Mapping[str, Any]) -> list[str]:
    run, verdict = data["run"], data["verdict"]
    between = f" in {run['sessions']} sessions, with {timedelta(seconds=round(run['away']))} between them"
    lines = [f"{run['seconds']:.1f} s of work" + (between if run["sessions"] > 1 else "")]
    if verdict is not None:
        known = f"sandbox {verdict.get('backend', '?')}, level {verdict.get('level', '?')}"
        lines.append(f"verdict: {verdict.get('reason', '')} ({known}, integrity {verdict.get('integrity', '?')})")
        lines += [f"  {failure['test']}: {failure['kind']}" for failure in verdict.get("failures", ())[:5]]
    if run["error"]:
        lines.append(f"error: {run['error']}")
    return lines


_STAGE = ["stage", "status", "models", "attempts", "calls", "s", "waited s", "loading s", "read", "written"]


def _stage(stage: Mapping[str, Any]) -> list[str]:
    took = sum(ended - began for began, ended, _ in stage["spans"])
    return [
        stage["name"],
        stage["status"],
        ", ".join(stage["models"]),
        str(stage["attempts"] or ""),
        str(stage["calls"] or ""),
        f"{took:.1f}",
        f"{stage['wait']:.1f}" if stage["calls"] else "",
        f"{stage['load']:.1f}" if stage["calls"] else "",
        str(stage["in"] or ""),
        str(stage["out"] or ""),
    ]


_TAKEN = ["stage", "done by run", "models", "calls", "s", "read", "written"]


def _taken(one: Mapping[str, Any]) -> list[str]:
    """A stage that another run did; with no figures where that is in the journal no more."""
    took = "" if one["seconds"] is None else f"{one['seconds']:.1f}"
    figures = [str(one[name] or "") for name in ("calls", "in", "out")]
    return [one["stage"], one["run"], ", ".join(one["models"]), figures[0], took, *figures[1:]]


def _runs_of(taken: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(one["run"] for one in taken if one["calls"]))


def _attempt(attempt: Mapping[str, Any]) -> list[str]:
    item = f"[{attempt['item']}]" if attempt["item"] else ""
    larger = ", on the large tier" if attempt["escalated"] else ""
    return [
        f"{attempt['stage']}{item} {attempt['number']}{larger}",
        "good" if attempt["good"] else "bad",
        str(attempt["outcome"].get("reason", "")),
    ]


def _budget(device: Mapping[str, Any]) -> int:
    return device["budget"][-1][1] if device["budget"] else 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from vwt_agents.render.columns import columns

    return columns(head, rows, width=terminal_width())
