"""The data of a run's page: everything it shows, as plain JSON data with short keys. Pure: record and entries in.

Owns which facts of the journal are worth a reader's time and how they belong together. It never makes markup.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.entries import TRIED
from vwt_agents.report.attempts import attempts_of
from vwt_agents.report.calls import calls_of
from vwt_agents.report.history import History, read_history
from vwt_agents.report.layout import HEIGHT, WIDTH, lay_out
from vwt_agents.report.memory import devices_of, models_of, slots_of, stays_of, waits_of
from vwt_agents.report.origins import taken_over
from vwt_agents.report.texts import readable, value_of
from vwt_agents.timeline import PLAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.report.origins import Others
    from vwt_agents.report.texts import Texts

__all__ = ["report_data"]


def report_data(
    record: RunRecord, entries: Sequence[Entry], texts: Texts, now: datetime, others: Others | None = None
) -> dict[str, Any]:
    """What a page shows of a run; long texts go into `texts`, and numbers stand for them. `others` are the runs that it has
    stages from.
    """
    taken = taken_over(entries, others or {}, texts)
    history = read_history(record, entries, now)
    plan = plan_of(entries)
    summary: dict[str, Any] = json.loads(record.summary) if record.summary else {}
    calls = calls_of(entries, history, texts)
    stages = [_with_value(stage, taken) for stage in _stages(entries, history, plan, calls, texts)]
    told = {stage["name"]: stage["attempts"] for stage in summary.get("stages", ())}
    stages = [{**stage, "attempts": told.get(stage["name"], stage["attempts"])} for stage in stages]
    attempts = attempts_of(entries, texts)
    return {
        "run": _head(record, summary, history, plan),
        "verdict": _verdict(record, summary, entries),
        "totals": _totals(calls, history, summary),
        "inputs": _inputs(record, plan, texts),
        "graph": _graph(stages, plan),
        "routes": [{**route, "reason": plan["reasons"][route["reason"]]} for route in plan["routes"]],
        "stages": stages,
        "taken": list(taken.values()),
        "models": models_of(history),
        "calls": calls,
        "stays": stays_of(history),
        "slots": slots_of(history),
        "devices": devices_of(history),
        "waits": waits_of(history),
        "attempts": attempts,
        "remarks": [[round(at, 3), line] for at, line in history.remarks],
        "end": round(history.end, 3),
        "seams": [round(seam, 3) for seam in history.axis.seams],
    }


def plan_of(entries: Sequence[Entry]) -> dict[str, Any]:
    """The outline that the run's last session began with; an empty one for a run of an earlier version."""
    kept = [entry for entry in entries if entry.kind == "event" and entry.name == PLAN]
    said: dict[str, Any] = json.loads(kept[-1].payload or "{}") if kept else {}
    empty = {"doc": "", "inputs": {}, "stages": [], "promotion": "", "routes": [], "reasons": [], "models": []}
    return {**empty, "notes": [], **said}


def _head(record: RunRecord, summary: Mapping[str, Any], history: History, plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": record.id,
        "pipeline": record.pipeline,
        "doc": plan["doc"],
        "file": record.file,
        "folder": record.out_dir,
        "parent": record.parent,
        "status": record.status,
        "exit_code": record.exit_code,
        "started": record.started_at.isoformat(timespec="seconds"),
        "seconds": round(history.worked, 3),
        "away": round(history.away, 3),
        "sessions": len(history.sessions),
        "tier": record.tier,
        "promotion": plan["promotion"],
        "error": summary.get("error"),
        "limits": summary.get("limits") or {},
        "artifacts": summary.get("artifacts") or [],
        "notes": plan["notes"],
        "seed": json.loads(record.inputs).get("seed"),
    }


def _verdict(record: RunRecord, summary: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any] | None:
    """What the run stands by; one that did not come to its end is judged by the last attempt that it wrote down."""
    if record.status not in {"running", "interrupted"}:
        return summary.get("verdict")
    for entry in reversed(entries):
        if entry.kind == "attempt":
            outcome = json.loads(entry.payload or "{}").get("outcome")
            return outcome if isinstance(outcome, dict) and "passed" in outcome else None
    return None


def _totals(calls: Sequence[Mapping[str, Any]], history: History, summary: Mapping[str, Any]) -> dict[str, Any]:
    loads = [stay for stay in history.stays if stay.ready is not None and stay.ready > stay.began]
    return {
        "calls": len(calls),
        "failed": sum(not call["ok"] for call in calls),
        "replayed": sum(stage["replayed"] for stage in summary.get("stages", ())),
        "prompt": sum(call["in"] for call in calls),
        "cached": sum(call["cached"] for call in calls),
        "output": sum(call["out"] for call in calls),
        "wait": round(sum(call["granted"] - call["asked"] for call in calls), 3),
        "loads": len(loads),
        "load_s": round(sum((stay.ready or 0) - stay.began for stay in loads), 3),
        "unloads": sum(stay.leaving is not None for stay in history.stays),
    }


def _inputs(record: RunRecord, plan: Mapping[str, Any], texts: Texts) -> list[dict[str, Any]]:
    values: dict[str, Any] = json.loads(record.inputs).get("values", {})
    return [
        {"name": name, "type": plan["inputs"].get(name, ""), "text": texts.add(readable(value))}
        for name, value in values.items()
    ]


def _stages(
    entries: Sequence[Entry],
    history: History,
    plan: Mapping[str, Any],
    calls: Sequence[Mapping[str, Any]],
    texts: Texts,
) -> list[dict[str, Any]]:
    known = {stage["name"]: stage for stage in plan["stages"]}
    ended = {entry.name: entry for entry in entries if entry.kind == "stage"}
    spans: dict[str, list[list[Any]]] = defaultdict(list)
    for span in history.stages:
        end = span.ended if span.ended is not None else history.end
        spans[span.name].append([round(span.began, 3), round(end, 3), span.status])
    of_stage: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for call in calls:
        of_stage[call["stage"]].append(call)
    attempts = _attempts(entries, calls)
    names = dict.fromkeys([*known, *ended, *of_stage])
    return [
        {
            "name": name,
            "needs": list(known.get(name, {}).get("needs", ())),
            "agents": list(known.get(name, {}).get("agents", ())),
            "high": known.get(name, {}).get("importance") == "high",
            "each": known.get(name, {}).get("each"),
            "spans": spans[name] or _span_of(ended.get(name), history),
            **(ending := _ending(ended.get(name), spans[name], texts)),
            "attempts": attempts[name] or int(ending["status"] in _BEGUN or bool(of_stage[name])),
            **_sums(of_stage[name]),
        }
        for name in names
    ]


_BEGUN: Final = frozenset({*TRIED, "running", "stopped"})


def _attempts(entries: Sequence[Entry], calls: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """By stage, the attempts of its loops: those that were recorded, and those that asked for something."""
    made = {(entry.name, entry.key) for entry in entries if entry.kind == "attempt"}
    for call in calls:
        if "attempt" in call:
            item = call.get("item", "")
            made.add((call["stage"], f"{item}/{call['attempt']}" if item else call["attempt"]))
    return Counter(stage for stage, _ in made)


def _with_value(stage: dict[str, Any], taken: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The stage, with what another run's gave where it has no value of its own."""
    other = taken.get(stage["name"])
    return stage if other is None or stage["value"] is not None else {**stage, "value": other["value"]}


def _span_of(entry: Entry | None, history: History) -> list[list[Any]]:
    """From its entry, which was written when it ended, where no timeline tells."""
    if entry is None or entry.started_at is None:
        return []
    end = history.axis.at(entry.started_at)
    return [[round(max(0.0, end - (entry.seconds or 0.0)), 3), round(end, 3), entry.status]]


def _sums(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "models": sorted({call["model"] for call in calls}),
        "calls": len(calls),
        "in": sum(call["in"] for call in calls),
        "cached": sum(call["cached"] for call in calls),
        "out": sum(call["out"] for call in calls),
        "wait": round(sum(call["granted"] - call["asked"] for call in calls), 3),
        "load": round(sum(call["load"] for call in calls), 3),
        "run": round(sum(call["ended"] - call["granted"] for call in calls), 3),
    }


def _ending(entry: Entry | None, spans: Sequence[Sequence[Any]], texts: Texts) -> dict[str, Any]:
    """How it stands: as its entry says, else as the timeline last saw it."""
    if entry is None:
        return {"status": spans[-1][2] if spans else "waiting", "value": None}
    return {"status": entry.status, "value": texts.add(value_of(entry))}


def _graph(stages: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """The picture, where the graph is known."""
    if not plan["stages"]:
        return None
    made = lay_out({stage["name"]: stage["needs"] for stage in plan["stages"]})
    place = {stage["name"]: index for index, stage in enumerate(stages)}
    return {
        "size": [made.width, made.height],
        "box": [WIDTH, HEIGHT],
        "boxes": [[place[box.name], round(box.x, 1), round(box.y, 1)] for box in made.boxes],
        "edges": [
            [[[round(x, 1), round(y, 1)] for x, y in edge.points], edge.source, edge.target, edge.implied]
            for edge in made.edges
        ],
    }
