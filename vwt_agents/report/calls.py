"""The model calls of a run as a page's data: from the journal's entries, and the timeline's word on their waits."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from vwt_agents.entries import read_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.entries import Entry
    from vwt_agents.report.history import History, Request
    from vwt_agents.report.texts import Texts

__all__ = ["calls_of"]


def calls_of(entries: Sequence[Entry], history: History, texts: Texts) -> list[dict[str, Any]]:
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
    # The timeline's own clock, where it saw the call: then a call never begins a moment before its stage.
    asked = requests[0].asked if requests else history.axis.at(entry.started_at)
    seen = requests[-1].ended if requests and requests[-1].how != "open" else None
    ended = seen if seen is not None else asked + (entry.seconds or 0.0)
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
        "in": 0,
        "out": 0,
        "cached": 0,
        "load": 0,
        "messages": [],
        "options": {},
        **({"item": request.item} if request.item else {}),
        "whys": [[round(at, 3), words] for at, words in request.whys],
    }
