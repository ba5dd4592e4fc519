"""Past: what the journal says a run has done already, so that none of it is done again. Pure: entries in.

Owns which entries count; whether what they hold still fits is for whoever uses them.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vwt_agents.approval import Approval
from vwt_agents.entries import Entry, Value, read_call, request_fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from vwt_agents.messages import Response

__all__ = [
    "ASKED",
    "DELIVERED",
    "GIVEN",
    "ORIGINS",
    "Delivery",
    "Past",
    "Question",
    "inherited",
    "pending",
    "read_given",
    "read_past",
]

DELIVERED: Final = "file.delivered"
"""The event of a file that a stage delivered: its key is the stage, its text the file's, its fingerprint the stage's then."""

ASKED: Final = "approval.asked"
GIVEN: Final = "approval.given"
"""The events of a question to a person and of the answer; both have the question's key."""

ORIGINS: Final = "stage.origins"
"""The event of stages that another run did: by stage, the run and the number of its entry."""

Delivery: TypeAlias = tuple[str, str]
"""The name and the text of a file."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a run asks a person and has no answer to; `key` names it within the run."""

    key: str
    stage: str
    question: str
    default: bool
    until: str | None


@dataclass(slots=True)
class Past:
    """By stage: the entries of its good ends (oldest first), the answers its calls got, the files it delivered.

    `left` are, for each of the ends, the files that were delivered until then by the same code from the same values;
    `newest` is what each run delivered last of each file under each fingerprint of its stage.
    `known` are the same answers by the fingerprint of their request, each to be used once. `code` has the marks of the
    stages' code as it was when the run began. `attempts` are (stage, key, status, files' texts) of all that were recorded.
    """

    stages: dict[str, list[Entry]] = field(default_factory=dict)
    answers: dict[str, list[Response]] = field(default_factory=dict)
    known: dict[str, deque[Response]] = field(default_factory=dict)
    files: dict[tuple[str, str], list[Delivery]] = field(default_factory=dict)
    left: dict[tuple[str, int], list[Delivery]] = field(default_factory=dict)
    newest: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    attempts: set[tuple[str, str, str, tuple[Value, ...]]] = field(default_factory=set)
    approvals: dict[str, tuple[str, Approval]] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)

    def has_delivered(self, event: Entry) -> bool:
        """Whether this very file is what the run itself has written down last of the stage's file of that name, under the
        same fingerprint. What a fork inherits is not: whoever takes a result of it from the cache looks for files among
        its own entries.
        """
        return self.newest.get(_file(event)) == event.texts[0]

    def files_at(self, end: Entry) -> list[Delivery]:
        """The files that the stage had delivered when it ended so, oldest first; not those of other code or values."""
        return self.left[end.run, end.seq]


def read_past(entries: Iterable[Entry], code: Mapping[str, str] | None = None) -> Past:
    """What these entries say, oldest first."""
    past = Past(code=code or {})
    for entry in entries:
        _take(past, entry)
    return past


def inherited(entries: Iterable[Entry], parent: str, upto: int | None, without: Collection[str] = ()) -> list[Entry]:
    """Of what counts as the parent's own, what counts as a fork's: all that was there when it was begun (its own entries up
    to that number), but for the stages that the fork does again.
    """
    old = (entry for entry in entries if entry.run != parent or upto is None or entry.seq <= upto)
    return [entry for entry in old if _stage_of(entry) not in without]


def questions(entries: Iterable[Entry]) -> list[Question]:
    """All that a run has asked a person, in order, each once."""
    asked: dict[str, Question] = {}
    for entry in entries:
        if entry.kind == "event" and entry.name == ASKED:
            said = _said(entry)
            default, until = bool(said["default"]), said.get("until")
            asked[entry.key] = Question(entry.key, said["stage"], said["question"], default, until)
    return list(asked.values())


def pending(entries: Sequence[Entry]) -> list[Question]:
    """The questions of a run that wait for an answer, in order."""
    answered: dict[str, int] = {}
    for entry in entries:
        if entry.kind == "event" and entry.name == ASKED:
            answered.pop(entry.key, None)  # it is asked anew
        elif entry.kind == "event" and entry.name == GIVEN:
            answered[entry.key] = entry.seq
    ended = {entry.name: entry.seq for entry in entries if entry.kind == "stage"}
    asked_at = {entry.key: entry.seq for entry in entries if entry.name == ASKED}
    return [
        one for one in questions(entries) if one.key not in answered and asked_at[one.key] > ended.get(one.stage, 0)
    ]


def read_given(entry: Entry) -> Approval:
    """The answer of its entry."""
    said = _said(entry)
    assert entry.started_at is not None
    return Approval(bool(said["approved"]), said["by"], entry.started_at, said.get("note", ""))


def _stage_of(entry: Entry) -> str:
    if entry.kind != "event":
        return entry.name
    return str(_said(entry).get("stage", ""))


def _take(past: Past, entry: Entry) -> None:
    if entry.kind == "stage" and entry.status in {"done", "cached"}:
        past.stages.setdefault(entry.name, []).append(entry)
        past.left[entry.run, entry.seq] = list(past.files.get((entry.name, entry.fingerprint), ()))
    elif entry.kind == "call" and entry.status == "done":
        request, answer = read_call(entry)
        if not isinstance(answer, str):
            past.answers.setdefault(entry.name, []).append(answer)
            past.known.setdefault(request_fingerprint(request), deque()).append(answer)
    elif entry.kind == "attempt":
        past.attempts.add((entry.name, entry.key, entry.status, entry.texts))
    elif entry.kind == "event" and entry.name == DELIVERED:
        _run, stage, mark, file = key = _file(entry)
        past.files.setdefault((stage, mark), []).append((file, str(entry.texts[0])))
        past.newest[key] = str(entry.texts[0])
    elif entry.kind == "event" and entry.name == GIVEN:
        # the newest counts: a person may have changed their mind
        past.approvals[entry.key] = _said(entry)["question"], read_given(entry)


def _file(event: Entry) -> tuple[str, str, str, str]:
    """The run, the stage, its fingerprint then and the name of a file that was delivered."""
    said = _said(event)
    return event.run, said["stage"], event.fingerprint, said["file"]


def _said(entry: Entry) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(entry.payload or "{}")
    return said
