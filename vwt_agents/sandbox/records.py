"""What the driver in the sandbox said: numbered, signed records, believed only as far as they are both. Runs nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from vwt_agents.sandbox.verdict import Failure

__all__ = ["Ran", "Report", "read_records"]


@dataclass(slots=True)
class Ran:
    """What was said of one test."""

    phases: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def clean(self) -> bool:
        """It was set up, called and torn down, and passed each time."""
        return self.failure is None and self.phases == {"setup": "passed", "call": "passed", "teardown": "passed"}


@dataclass(slots=True)
class Report:
    """What the driver said, as far as it was signed and in order."""

    tests: dict[str, Ran] = field(default_factory=dict)
    collect: list[Failure] = field(default_factory=list)
    status: int | None = None
    aborted: str | None = None
    running: str | None = None
    forged: bool = False
    lost: str | None = None
    not_isolatable: str | None = None
    no_pytest: str | None = None
    doubts: list[str] = field(default_factory=list)


def read_records(data: bytes, key: bytes) -> Report:
    """The records up to the first that is not as it must be."""
    report = Report()
    for number, line in enumerate(data.splitlines()):
        record = _signed(line, key, number)
        if record is None:
            report.forged = True
            break
        _take(report, record)
    return report


def _signed(line: bytes, key: bytes, number: int) -> dict[str, Any] | None:
    try:
        body, signature = json.loads(line)
        if not hmac.compare_digest(signature, hmac.new(key, body.encode(), hashlib.sha256).hexdigest()):
            return None
        count, record = json.loads(body)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return record if count == number and isinstance(record, dict) else None


def _take(report: Report, record: dict[str, Any]) -> None:
    match record:
        case {"kind": "start", "test": str(test)}:
            report.running = test
            report.tests[test] = Ran()
        case {"kind": "collect", "test": str(test), "text": str(text)}:
            report.collect.append(Failure(test, "not collected", text))
        case {"kind": "phase", "test": str(test), "when": str(when), "outcome": str(outcome)}:
            _take_phase(report, test, when, outcome, record)
        case {"kind": "end", "status": int(status)}:
            report.status, report.running = status, None
        case {"kind": "aborted", "error": str(error)}:
            report.aborted = error
        case {"kind": "no pytest", "text": str(text)}:
            report.no_pytest = text
        case _:
            _take_isolated(report, record)


def _take_isolated(report: Report, record: dict[str, Any]) -> None:
    """What only the side of the tests says, when the code is in another sandbox."""
    match record:
        case {"kind": "lost", "text": str(text)}:
            report.lost = report.lost or text
        case {"kind": "not isolatable", "text": str(text)}:
            report.not_isolatable = report.not_isolatable or text
        case {"kind": "doubt" | "note", "text": str(text)}:
            if text not in report.doubts:
                report.doubts.append(text)
        case _:
            report.forged = True


def _take_phase(report: Report, test: str, when: str, outcome: str, record: dict[str, Any]) -> None:
    one = report.tests.setdefault(test, Ran())
    if when != "subtest":
        if when in one.phases:
            report.forged = True
        one.phases[when] = outcome
    if outcome != "passed" and one.failure is None:
        reason = str(record.get("reason", ""))
        kind = {"skipped": "skipped", "xfail": "xfailed"}.get(outcome) or _kind(reason)
        one.failure = Failure(test, kind, str(record.get("text") or reason))


def _kind(reason: str) -> str:
    """The exception's name, from what pytest says of a crash."""
    if reason.startswith("assert"):
        return "AssertionError"
    name = reason.split(":", maxsplit=1)[0].split("\n", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]
    return name if name.isidentifier() else "error"
