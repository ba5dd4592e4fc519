"""A trace is what Perfetto expects: known phases, moments in order, spans of a track within one another, arrows in pairs."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from made_run import BEGAN
from report_runs import Ran

from vwt_agents.report import trace_of

NEEDED = {
    "M": {"name", "pid", "tid", "args"},
    "X": {"name", "pid", "tid", "ts", "dur"},
    "C": {"name", "pid", "ts", "args"},
    "s": {"name", "cat", "id", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "pid", "tid", "ts", "bp"},
    "i": {"name", "s", "pid", "tid", "ts"},
}


@pytest.fixture(scope="session")
def events(ran: Ran) -> list[dict[str, Any]]:
    made = trace_of(ran.record, ran.entries, BEGAN + timedelta(days=400))
    return list(json.loads(json.dumps(made, allow_nan=False))["traceEvents"])


def test_every_event_has_a_known_phase_and_what_that_needs(events: list[dict[str, Any]]) -> None:
    assert {event["ph"] for event in events} == set(NEEDED)
    for event in events:
        assert NEEDED[event["ph"]] <= set(event)
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        assert event.get("dur", 0) >= 0


def test_events_are_in_order_and_every_track_and_group_has_a_name(events: list[dict[str, Any]]) -> None:
    told = [event for event in events if event["ph"] != "M"]
    assert [event["ts"] for event in told] == sorted(event["ts"] for event in told)
    groups = {event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    tracks = {(event["pid"], event["tid"]) for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
    assert {event["pid"] for event in told} <= groups
    assert {(event["pid"], event["tid"]) for event in told if event["ph"] in "Xsf"} <= tracks


def test_spans_of_a_track_are_within_one_another_or_apart(events: list[dict[str, Any]]) -> None:
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in tracks.values():
        around: list[int] = []
        for began, ended in sorted(spans, key=lambda span: (span[0], -span[1])):
            while around and around[-1] <= began:
                around.pop()
            assert not around or ended <= around[-1], spans
            around.append(ended)


def test_an_arrow_leads_from_the_stage_to_each_of_its_calls(events: list[dict[str, Any]]) -> None:
    starts = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert set(starts) == set(ends)
    assert len(starts) == 9
    for number, start in starts.items():
        assert start["ts"] == ends[number]["ts"]
        for arrow in (start, ends[number]):
            assert any(
                span["ph"] == "X"
                and (span["pid"], span["tid"]) == (arrow["pid"], arrow["tid"])
                and span["ts"] <= arrow["ts"] <= span["ts"] + span["dur"]
                for span in events
            )


def test_counters_tell_memory_budget_and_queue_and_end_at_nothing(events: list[dict[str, Any]]) -> None:
    counters: dict[str, list[dict[str, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            counters[event["name"]].append(event["args"])
    assert {"models, MiB", "budget, MiB", "calls that wait"} <= set(counters)
    assert counters["budget, MiB"] == [{"budget": 7000}]
    assert max(sum(one.values()) for one in counters["models, MiB"]) <= 7000
    assert sum(counters["models, MiB"][-1].values()) == 0
    assert counters["calls that wait"][-1] == {"waiting": 0}
