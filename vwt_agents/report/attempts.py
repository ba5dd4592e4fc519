"""The attempts of a run and how each differs from the one before: their files where they were recorded, else the answers."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.entries import read_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.entries import Entry
    from vwt_agents.report.texts import Texts

__all__ = ["attempts_of"]

_LINES: Final = 1500
"""Lines of a file that are compared: difflib takes time that grows with their square."""


def attempts_of(entries: Sequence[Entry], texts: Texts) -> list[dict[str, Any]]:
    """Every attempt in order: its outcome, and the number of a text that is the diff against the attempt before."""
    answers = _last_answers(entries)
    before: dict[tuple[str, str], Mapping[str, str]] = {}
    attempts = []
    for entry in entries:
        if entry.kind != "attempt":
            continue
        said: dict[str, Any] = json.loads(entry.payload or "{}")
        item, _, number = entry.key.rpartition("/")
        files = _files(entry, said) or answers.get((entry.name, item, number), {})
        outcome = said.get("outcome")
        attempt: dict[str, Any] = {
            "stage": entry.name,
            "item": item,
            "number": said.get("number"),
            "escalated": bool(said.get("escalated")),
            "good": entry.status == "good",
            "outcome": outcome if isinstance(outcome, dict) else {},
        }
        last = before.get((entry.name, item))
        if files:
            attempt["diff"] = texts.add(diff(last, files)) if last is not None else None
            attempt["files"] = [[name, texts.add(text)] for name, text in files.items()]
            before[entry.name, item] = files
        attempts.append(attempt)
    return attempts


def _files(entry: Entry, said: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: text if isinstance(text, str) else text.decode("utf-8", "replace")
        for name, text in zip(said.get("files", ()), entry.texts, strict=False)
    }


def _last_answers(entries: Sequence[Entry]) -> dict[tuple[str, str, str], dict[str, str]]:
    """By stage, item and attempt, the last answer that was given in it: what it most likely was about."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for entry in entries:
        if entry.kind == "call" and entry.status == "done":
            request, answer = read_call(entry)
            if not isinstance(answer, str):
                attempt = request.labels.get("attempt", "0")
                found[entry.name, entry.key, attempt] = {"the last answer": request.prefill + answer.text}
    return found


def diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A unified diff of two sets of files; empty where they are the same."""
    lines: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            made = difflib.unified_diff(
                old.splitlines()[:_LINES], new.splitlines()[:_LINES], name, name, lineterm="", n=3
            )
            lines += made
    return "\n".join(lines)
