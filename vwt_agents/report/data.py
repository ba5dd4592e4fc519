"""The data of a run's page: everything it shows, as plain JSON data with short keys. Pure: record and entries in.

Owns which facts of the journal are worth a reader's time and how they belong together. It never makes markup.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.entries import read_call
from vwt_agents.report.attempts import attempts_of
from vwt_agents.report.history import History, Model, Request, read_history
from vwt_agents.report.layout import HEIGHT, WIDTH, lay_out
from vwt_agents.timeline import PLAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.report.texts import Texts
    from vwt_agents.types import Seconds

__all__ = ["report_data"]

_REASONS: Final = 12


def report_data(record: RunRecord, entries: Sequence[Entry], texts: Texts, now: datetime) -> dict[str, Any]:
    """What a page shows of a run; long texts go into `texts`, and numbers stand for them."""
    history = read_history(record, entries, now)
    plan = plan_of(entries)
    summary: dict[str, Any] = json.loads(record.summary) if record.summary else {}
    calls = _calls(entries, history, texts)
    stages = _stages(entries, history, plan, calls, texts)
    attempts = attempts_of(entries, texts)
    return {
        "run": _head(record, summary, history, plan),
        "verdict": summary.get("verdict") or _last_outcome(entries),
        "totals": _totals(calls, history, summary),
        "inputs": _inputs(record, plan, texts),
        "graph": _graph(stages, plan),
        "routes": [{**route, "reason": plan["reasons"][route["reason"]]} for route in plan["routes"]],
        "stages": stages,
        "models": [_model(model) for model in history.models],
        "calls": calls,
        "stays": _stays(history),
        "slots": _slots(history),
        "devices": _devices(history),
        "waits": _waits(history),
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


def _head(
    record: RunRecord, summary: Mapping[str, Any], history: History, plan: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "id": record.id,
        "pipeline": record.pipeline,
        "doc": plan["doc"],
        "file": record.file,
        "folder": record.out_dir,
        "status": record.status,
        "exit_code": record.exit_code,
        "started": record.started_at.isoformat(timespec="seconds"),
        "seconds": round(history.end, 3),
        "sessions": len(history.sessions),
        "tier": record.tier,
        "promotion": plan["promotion"],
        "error": summary.get("error"),
        "limits": summary.get("limits") or {},
        "artifacts": summary.get("artifacts") or [],
        "notes": plan["notes"],
        "seed": json.loads(record.inputs).get("seed"),
    }


def _last_outcome(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """What a run that was killed is judged by: the last attempt that it wrote down."""
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
        {"name": name, "type": plan["inputs"].get(name, ""), "text": texts.add(_readable(value))}
        for name, value in values.items()
    ]


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


# -- stages and calls ---------------------------------------------------------------------------------------------------


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
    attempts: dict[str, int] = defaultdict(int)
    for entry in entries:
        attempts[entry.name] += entry.kind == "attempt"
    names = dict.fromkeys([*known, *ended, *of_stage])
    return [
        {
            "name": name,
            "needs": list(known.get(name, {}).get("needs", ())),
            "agents": list(known.get(name, {}).get("agents", ())),
            "high": known.get(name, {}).get("importance") == "high",
            "each": known.get(name, {}).get("each"),
            "spans": spans[name] or _span_of(ended.get(name), history),
            "attempts": attempts[name],
            **_sums(of_stage[name]),
            **_ending(ended.get(name), spans[name], texts),
        }
        for name in names
    ]


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
    payload = entry.payload if isinstance(entry.payload, str) else ""
    return {"status": entry.status, "value": texts.add(_readable(json.loads(payload or "null")))}


def _calls(entries: Sequence[Entry], history: History, texts: Texts) -> list[dict[str, Any]]:
    """Every call that the journal has, in the order in which they were asked for; and those that never ended."""
    made: dict[tuple[int, int], list[Request]] = defaultdict(list)
    for request in history.requests:
        made[request.session, request.call].append(request)
    calls = [
        _call(entry, made.pop((history.session_of(entry.seq), _number(entry)), []), history, texts)
        for entry in entries
        if entry.kind == "call"
    ]
    calls += [_open_call(request, history) for left in made.values() for request in left if request.how == "open"]
    return sorted(calls, key=lambda call: call["asked"])


def _number(entry: Entry) -> int:
    """The number that the call's request has on the timeline; -1 where it has none."""
    return int(json.loads(entry.payload or "{}").get("labels", {}).get("call", -1))


def _call(entry: Entry, requests: Sequence[Request], history: History, texts: Texts) -> dict[str, Any]:
    request, answer = read_call(entry)
    assert entry.started_at is not None
    failed = isinstance(answer, str)
    usage = None if isinstance(answer, str) else answer.usage
    asked = history.axis.at(entry.started_at)
    ended = asked + (entry.seconds or 0.0)
    granted = next((one.granted for one in reversed(requests) if one.granted is not None), None)
    if granted is None:
        granted = asked + usage.wait_s if usage is not None else ended
    call: dict[str, Any] = {
        "id": entry.seq,
        "stage": entry.name,
        "agent": request.labels.get("agent", ""),
        "model": request.model if isinstance(answer, str) else answer.model,
        "endpoint": request.endpoint if isinstance(answer, str) else answer.endpoint,
        "asked": round(asked, 3),
        "granted": round(min(max(granted, asked), ended), 3),
        "ended": round(ended, 3),
        "ok": not failed,
        "in": usage.prompt_tokens if usage else 0,
        "out": usage.output_tokens if usage else 0,
        "cached": (usage.cached_tokens or 0) if usage else 0,
        "load": round(usage.load_s, 3) if usage else 0,
        "messages": [[message.role, texts.add(message.content)] for message in request.messages],
        "answer": texts.add(answer) if isinstance(answer, str) else texts.add(answer.text),
        "options": request.options.as_ollama(),
    }
    for name in ("item", "attempt"):
        if request.labels.get(name, "0") not in {"", "0"} or (name == "item" and entry.key):
            call[name] = request.labels.get(name, entry.key)
    if not isinstance(answer, str) and answer.done_reason != "stop":
        call["done"] = answer.done_reason
    if whys := [why for one in requests for why in one.whys]:
        call["whys"] = [[round(at, 3), words] for at, words in whys]
    return call


def _open_call(request: Request, history: History) -> dict[str, Any]:
    """A call that was under way, or waited, when its process ended or the page was made."""
    end = request.ended if request.ended is not None else history.end
    return {
        "id": -request.number,
        "stage": request.stage,
        "agent": request.agent,
        "model": request.model.name,
        "endpoint": request.model.endpoint,
        "asked": round(request.asked, 3),
        "granted": round(request.granted if request.granted is not None else end, 3),
        "ended": round(end, 3),
        "ok": history.going_on,
        "open": True,
        **{"in": 0, "out": 0, "cached": 0, "load": 0, "messages": [], "options": {}},
        **({"item": request.item} if request.item else {}),
        "whys": [[round(at, 3), words] for at, words in request.whys],
    }


# -- memory and queues --------------------------------------------------------------------------------------------------


def _model(model: Model) -> dict[str, Any]:
    names = ("endpoint", "name", "device", "slots", "mib")
    return {name: getattr(model, name) for name in names}


def _stays(history: History) -> list[dict[str, Any]]:
    """Each stay: its moments, and when it took how much."""
    number = {id(model): index for index, model in enumerate(history.models)}
    return [
        {
            "model": number[id(stay.model)],
            "at": [_rounded(one) for one in (stay.began, stay.ready, stay.leaving, stay.ended)],
            "mib": max(mib for _, mib in stay.sizes),
            **({"failed": stay.failed} if stay.failed else {}),
            **({"why": stay.why} if stay.why else {}),
        }
        for stay in history.stays
    ]


def _rounded(at: Seconds | None) -> float | None:
    return None if at is None else round(at, 3)


def _slots(history: History) -> list[list[Any]]:
    """Which slot of its model each request held: [model, slot, from, to, call or 0, stage]; the lowest that was free."""
    number = {id(model): index for index, model in enumerate(history.models)}
    free_at: dict[int, list[Seconds]] = defaultdict(list)
    rows: list[list[Any]] = []
    held = [(request.granted, request) for request in history.requests if request.granted is not None]
    for granted, request in sorted(held, key=lambda pair: pair[0]):
        slots, end = free_at[number[id(request.model)]], _end_of(request, history)
        slot = next((index for index, until in enumerate(slots) if until <= granted), len(slots))
        slots[slot:slot + 1] = [end]
        rows.append([number[id(request.model)], slot, round(granted, 3), round(end, 3), request.stage, request.agent])
    return rows


def _end_of(request: Request, history: History) -> Seconds:
    return request.ended if request.ended is not None else history.end


def _devices(history: History) -> list[dict[str, Any]]:
    """Each device: its budget, what others took, and what each model took, as steps [moment, MiB, ...]."""
    number = {id(model): index for index, model in enumerate(history.models)}
    devices = []
    for device in history.devices:
        changes: list[tuple[Seconds, int, int]] = []
        for stay in history.stays:
            if stay.model.device == device:
                before = 0
                for at, mib in stay.sizes:
                    changes.append((at, number[id(stay.model)], mib - before))
                    before = mib
                changes.append((stay.ended if stay.ended is not None else history.end, number[id(stay.model)], -before))
        models = sorted({model for _, model, _ in changes})
        steps, peak = _steps(changes, models)
        devices.append(
            {
                "name": device,
                "budget": [[round(at, 3), mib] for at, mib in history.budgets.get(device, [])],
                "others": [[round(at, 3), mib] for at, mib in history.others.get(device, [])],
                "models": models,
                "steps": steps,
                "peak": peak,
            }
        )
    return devices


def _steps(changes: list[tuple[Seconds, int, int]], models: Sequence[int]) -> tuple[list[list[float]], int]:
    now = dict.fromkeys(models, 0)
    steps: list[list[float]] = []
    peak = 0
    for at, model, mib in sorted(changes, key=lambda change: change[0]):
        now[model] += mib
        row = [round(at, 3), *now.values()]
        if steps and steps[-1][0] == row[0]:
            steps[-1] = row
        else:
            steps.append(row)
        peak = max(peak, sum(now.values()))
    return steps, peak


def _waits(history: History) -> list[dict[str, Any]]:
    """What requests waited for, the longest first: sentences that differ in numbers only count as one."""
    found: dict[str, dict[str, Any]] = {}
    for request in history.requests:
        until = request.granted if request.granted is not None else _end_of(request, history)
        ends = [at for at, _ in request.whys[1:]] + [until]
        for (at, words), end in zip(request.whys, ends, strict=False):  # one that never waited has none
            mark = re.sub(r"(?<![\w.:])\d+", "N", words)
            one = found.setdefault(mark, {"why": words, "seconds": 0.0, "requests": set(), "stages": set()})
            one["seconds"] += max(0.0, min(end, until) - at)
            one["requests"].add((request.session, request.number))
            one["stages"].add(request.stage)
    longest = sorted(found.values(), key=lambda one: -one["seconds"])[:_REASONS]
    return [
        {
            "why": one["why"],
            "seconds": round(one["seconds"], 3),
            "requests": len(one["requests"]),
            "stages": sorted(one["stages"]),
        }
        for one in longest
    ]


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
