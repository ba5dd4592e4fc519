"""What a journal holds, as data: Entry, RunRecord, and the fingerprint that names what went into a stage or a call.

Pure: hashing and JSON only. Never opens the journal, so whoever reads or prints entries needs no database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from vwt_agents.messages import Message, Options, Request, Response, Usage

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "TRIED",
    "Entry",
    "EntryKind",
    "RunLine",
    "RunRecord",
    "RunStatus",
    "Value",
    "call_entry",
    "fingerprint",
    "read_call",
    "request_fingerprint",
]

EntryKind: TypeAlias = Literal["stage", "call", "attempt", "event"]
RunStatus: TypeAlias = Literal["running", "good", "bad", "failed", "interrupted"]
Value: TypeAlias = str | bytes

TRIED: Final = frozenset({"done", "failed", "fallback", "partial"})
"""How a stage ends whose body was begun, as a rule; of one that was skipped nobody can tell."""

_USAGE: Final = tuple(field.name for field in fields(Usage))


class Entry(NamedTuple):
    """One thing a run has done: a finished stage or call, an attempt of a repair, an event of another kind.

    `name` is the stage it belongs to (for an event, the event's name); `key` tells several apart: the item of a stage
    that runs once per item, the number of an attempt. `payload` is the value (JSON as a rule); `texts` are long parts
    of it that other entries are likely to share, such as prompts: each is stored once per journal. `seq` counts from
    1 within the run and is the journal's to give; `started_at` is UTC, and the moment of the append where it is left
    out. A tuple, because one is made for every stage, and a frozen dataclass takes four times as long.
    """

    run: str
    kind: EntryKind
    name: str
    key: str = ""
    fingerprint: str = ""
    status: str = "done"
    started_at: datetime | None = None
    seconds: float | None = None
    payload: Value | None = None
    texts: tuple[Value, ...] = ()
    seq: int = 0


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as a list of runs has it. `status` reads "interrupted" also when the process that was running it is gone;
    times are UTC.

    `settings` is a digest. A fork names its `parent`, whose entries up to and including `parent_seq` count as its own.
    """

    id: str
    pipeline: str
    file: str
    started_at: datetime
    ended_at: datetime | None
    status: RunStatus
    promoted: bool
    tier: str
    settings: str
    out_dir: str
    exit_code: int | None
    parent: str | None
    parent_seq: int | None
    pid: int


@dataclass(frozen=True, slots=True)
class RunRecord(RunLine):
    """One run, with its `inputs` and its `summary` as they were given: JSON."""

    inputs: str
    summary: str | None


def fingerprint(*parts: object) -> str:
    """The sha256, in hex, of the parts as canonical JSON: equal parts in any process and key order, equal fingerprints.

    Takes what JSON takes, and mappings, sets, bytes, dataclasses and pydantic models (told apart by their class's
    name) and anything with `isoformat`; TypeError names any other type.
    """
    return sha256(_canonical(parts).encode("ascii")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return {"@set": sorted(fingerprint(item) for item in value)}
    if isinstance(value, bytes):
        return {"@bytes": value.hex()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f"@{type(value).__qualname__}": {field.name: getattr(value, field.name) for field in fields(value)}}
    if callable(dump := getattr(value, "model_dump", None)):
        return {f"@{type(value).__qualname__}": dump(mode="json")}
    if callable(iso := getattr(value, "isoformat", None)):
        return {f"@{type(value).__qualname__}": iso()}
    if callable(path := getattr(value, "__fspath__", None)):
        return path()
    raise TypeError(
        f"a {type(value).__qualname__} has no fingerprint; possible: JSON values, dataclasses, pydantic models, bytes, "
        "sets, paths and dates"
    )


_canonical: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain).encode
_text: Final = json.encoder.encode_basestring_ascii
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


def request_fingerprint(request: Request) -> str:
    """The fingerprint of a model call: all that shapes the answer, not who asks (labels) nor the timeout."""
    # What fingerprint("request", {...}) gives, put together by hand: it is needed for every call.
    messages = ",".join(f"[{_text(message.role)},{_text(message.content)}]" for message in request.messages)
    format_ = "null" if request.format is None else _canonical(request.format)
    options = _canonical(request.options.as_ollama())  # what is unset is left out: a new option keeps old fingerprints
    canonical = (
        f'["request",{{"endpoint":{_text(request.endpoint)},"format":{format_},"messages":[{messages}],'
        f'"model":{_text(request.model)},"num_ctx":{request.num_ctx},"options":{options}}}]'
    )
    return sha256(canonical.encode("ascii")).hexdigest()


def call_entry(
    run: str,
    request: Request,
    answer: Response | str,
    *,
    name: str,
    key: str = "",
    started_at: datetime | None = None,
    seconds: float | None = None,
) -> Entry:
    """The entry of a model call: `answer` is the Response (status "done") or what went wrong (status "failed")."""
    failed = isinstance(answer, str)
    header: dict[str, Any] = {
        "endpoint": request.endpoint,
        "model": request.model,
        "roles": [message.role for message in request.messages],
        "num_ctx": request.num_ctx,
        "options": request.options.as_ollama(),
        "timeout": request.timeout,
        "labels": {**request.labels, "call": str(request.call)} if request.call else dict(request.labels),
        "format": request.format is not None,
    }
    texts = [message.content for message in request.messages]
    if request.format is not None:
        texts.append(json.dumps(request.format, default=_plain))
    if isinstance(answer, Response):
        header["response"] = {
            "model": answer.model,
            "endpoint": answer.endpoint,
            "done_reason": answer.done_reason,
            "usage": {name: getattr(answer.usage, name) for name in _USAGE},
        }
        texts.append(answer.text)
    else:
        header["error"] = answer
    return Entry(
        run=run,
        kind="call",
        name=name,
        key=key,
        fingerprint=request_fingerprint(request),
        status="failed" if failed else "done",
        started_at=started_at,
        seconds=seconds,
        payload=_compact(header),
        texts=tuple(texts),
    )


def read_call(entry: Entry) -> tuple[Request, Response | str]:
    """The request of a call's entry and its answer, marked as replayed; or what went wrong, as a str."""
    header: dict[str, Any] = json.loads(entry.payload or "{}")
    texts = [text if isinstance(text, str) else text.decode() for text in entry.texts]
    roles = header["roles"]
    options: dict[str, Any] = header["options"]
    request = Request(
        endpoint=header["endpoint"],
        model=header["model"],
        messages=tuple(Message(role, text) for role, text in zip(roles, texts, strict=False)),
        num_ctx=header["num_ctx"],
        options=Options(**{**options, "stop": tuple(options.get("stop", ()))}),
        format=json.loads(texts[len(roles)]) if header["format"] else None,
        timeout=header["timeout"],
        labels=header["labels"],
        call=int(header["labels"].get("call", 0)),
    )
    if "error" in header:
        return request, str(header["error"])
    response: dict[str, Any] = header["response"]
    return request, Response(**{**response, "text": texts[-1], "usage": Usage(**response["usage"]), "replayed": True})
