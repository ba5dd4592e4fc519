"""What a run has from other runs: the stages that a fork kept, and those whose results were in the cache. Pure.

Owns what is said of them: where they were done, and what that took there. Their calls stay with the run that made them.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from vwt_agents.past import ORIGINS
from vwt_agents.report.texts import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.report.texts import Texts

__all__ = ["Others", "origins_of", "taken_over"]

Others: TypeAlias = "Mapping[str, tuple[RunRecord, Sequence[Entry]]]"
"""Other runs by their ids, each with its entries; one that the journal has no more is not there."""


def origins_of(entries: Sequence[Entry]) -> dict[str, tuple[str, int]]:
    """The run that did a stage and the number of its entry there, by stage; as the run's last session says it."""
    found: dict[str, tuple[str, int]] = {}
    for entry in entries:
        if entry.kind == "stage" and entry.status != "cached":
            found.pop(entry.name, None)  # it was done here after all
        elif entry.kind == "event" and entry.name == ORIGINS:
            said: dict[str, list[Any]] = json.loads(entry.payload or "{}")
            found |= {stage: (str(run), int(seq)) for stage, (run, seq) in said.items()}
    return found


def taken_over(entries: Sequence[Entry], others: Others, texts: Texts) -> dict[str, dict[str, Any]]:
    """By stage that another run did: that run, its page, the calls it made for it and what they took, what it gave."""
    return {stage: _taken(stage, run, seq, others.get(run), texts) for stage, (run, seq) in origins_of(entries).items()}


def _taken(
    stage: str, run: str, seq: int, other: tuple[RunRecord, Sequence[Entry]] | None, texts: Texts
) -> dict[str, Any]:
    taken: dict[str, Any] = {"stage": stage, "run": run, "page": "", "calls": 0, "in": 0, "out": 0, "models": []}
    taken |= {"seconds": None, "value": None}
    if other is None:
        return taken
    record, entries = other
    folder = PurePosixPath(record.out_dir)
    if folder.is_absolute():
        taken["page"] = (folder / "report.html").as_uri()
    for entry in entries:
        if entry.kind == "call" and entry.name == stage and entry.seq < seq:
            answer: dict[str, Any] = json.loads(entry.payload or "{}").get("response") or {}
            taken["calls"] += 1
            taken["in"] += answer.get("usage", {}).get("prompt_tokens", 0)
            taken["out"] += answer.get("usage", {}).get("output_tokens", 0)
            if answer and answer["model"] not in taken["models"]:
                taken["models"].append(answer["model"])
        elif entry.kind == "stage" and entry.seq == seq:
            taken["seconds"] = entry.seconds
            taken["value"] = texts.add(value_of(entry))
    return taken
