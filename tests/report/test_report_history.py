"""What a timeline told is read back as it was; a session that was killed ends with the last thing known of it."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from made_run import BEGAN, record_of
from report_runs import Ran
from rich.console import Console

from vwt_agents.entries import Entry
from vwt_agents.report import present
from vwt_agents.report.history import read_history
from vwt_agents.report.screen import screen

MODEL = ["M", 1, "here", "coder:7b", "gpu0", 2, 5000]


def told(seq: int, *rows: list[Any], at: float = 0.0) -> Entry:
    micros = round((BEGAN + timedelta(seconds=at)).timestamp() * 1e6)
    payload = json.dumps({"at": micros, "rows": list(rows)})
    return Entry("r", "event", "timeline", payload=payload, seq=seq, started_at=BEGAN + timedelta(seconds=at))


def test_a_run_of_a_version_without_timelines_has_a_history_of_its_entries() -> None:
    entry = Entry("r", "stage", "draft", seconds=2.0, started_at=BEGAN + timedelta(seconds=5), seq=1)
    history = read_history(record_of(ended_at=None, status="interrupted"), [entry], BEGAN)
    assert (history.end, history.requests, history.stays, history.sessions) == (5.0, [], [], (1,))


def test_a_row_of_a_kind_that_a_later_version_writes_is_left_out() -> None:
    history = read_history(record_of(), [told(1, ["?", 5, "new"], ["y", 10, "known"])], BEGAN)
    assert history.remarks == [(0.01, "known")]


def test_what_was_open_when_a_process_was_killed_ends_with_its_session() -> None:
    rows = [MODEL, ["l", 0, 1, 5000], ["q", 0, 1, 1, "draft", "coder"], ["s", 0, "draft"], ["y", 4000, "last words"]]
    again = [MODEL, ["L", 10, 1, 5000], ["q", 20, 1, 1, "draft", "coder"], ["g", 20, 1]]
    killed = record_of(status="interrupted", ended_at=None)
    history = read_history(killed, [told(1, *rows), told(2, *again, at=36_000)], BEGAN)
    first, second = history.requests
    assert (first.how, first.granted, first.ended) == ("open", None, 4.0)
    assert history.axis.seams == [6.0]  # ten hours of nobody at work are two seconds wide
    assert (second.asked, second.granted, second.ended) == (6.02, 6.02, 6.02)
    assert [(stay.began, stay.ready, stay.ended) for stay in history.stays] == [(0.0, None, 4.0), (6.01, 6.01, 6.02)]
    assert [(span.ended, span.status) for span in history.stages] == [(4.0, "stopped")]


def planned(seq: int, at: float) -> Entry:
    return Entry("r", "event", "plan", payload='{"stages": []}', seq=seq, started_at=BEGAN + timedelta(seconds=at))


def test_the_time_between_a_kill_and_the_resumption_is_no_work() -> None:
    """Also where stages have ended before the rows of their session are written, and where it was killed before any were."""
    stage = Entry("r", "stage", "two", status="done", seconds=1.5, started_at=BEGAN + timedelta(seconds=3602), seq=4)
    rows = ["s", 500, "two"], ["e", 2000, "two", "done"]
    for first in ([told(2, ["y", 1000, "at work"])], []):
        entries = [planned(1, 0), *first, planned(3, 3600), stage, told(5, *rows, at=3600)]
        history = read_history(record_of(ended_at=BEGAN + timedelta(seconds=3603)), entries, BEGAN)
        before = 1.0 if first else 0.0
        assert history.worked == pytest.approx(before + 3.0)
        assert history.away == pytest.approx(3600 - before)
        assert [(span.name, (span.ended or 0) - span.began) for span in history.stages] == [("two", pytest.approx(1.5))]
        assert [history.session_of(seq) for seq in (1, 2, 3, 4, 5)] == [0, 0, 1, 1, 1]


def test_a_run_of_one_session_has_worked_all_the_time() -> None:
    history = read_history(
        record_of(ended_at=BEGAN + timedelta(seconds=9)), [planned(1, 0.5), told(2, MODEL, at=0.5)], BEGAN
    )
    assert (history.worked, history.away, history.sessions) == (9.0, 0.0, (1,))


def test_a_run_that_goes_on_leaves_open_what_is_open_and_lasts_until_now() -> None:
    entries = [told(1, MODEL, ["q", 0, 1, 1, "draft", "coder"], ["s", 0, "draft"])]
    history = read_history(record_of(status="running", ended_at=None), entries, BEGAN + timedelta(seconds=30))
    assert history.end == 30.0
    assert history.requests[0].ended is None
    assert history.stages[0].status == "running"


@pytest.mark.parametrize("how", ["done", "kept", "cached", "fallback", "partial", "skipped"])
def test_nothing_waits_for_a_stage_that_is_over_whichever_way_it_ended_well(how: str) -> None:
    stages = [{"name": "one", "needs": []}, {"name": "two", "needs": ["one"]}]
    plan = Entry("r", "event", "plan", payload=json.dumps({"stages": stages}), seq=1)
    rows = told(2, ["s", 0, "one"], ["e", 10, "one", how])
    now = present(record_of(status="running", ended_at=None), [plan, rows], BEGAN, {"one": 60.0, "two": 5.0})
    assert ([stage.after for stage in now.stages], now.left_s) == ([(), ()], 5.0)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(screen([now]))
    assert "1 of 2 stages" in console.export_text()


def test_a_run_that_has_not_written_down_its_stages_yet_counts_none() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(screen([present(record_of(status="running", ended_at=None), [], BEGAN)]))
    text = console.export_text()
    assert ("getting ready" in text, "0 of 0" in text) == (True, False)


def test_a_remark_commands_no_terminal() -> None:
    now = present(record_of(status="running", ended_at=None), [told(1, ["y", 5, "failed: \x1b[31mred\x07"])], BEGAN)
    shown = io.StringIO()
    Console(width=100, file=shown).print(screen([now]))
    assert ("\\x1b[31mred\\x07" in shown.getvalue(), "\x1b" in shown.getvalue()) == (True, False)


def test_every_call_of_a_run_finds_its_request_and_memory_stays_within_the_budget(ran: Ran) -> None:
    history = read_history(ran.record, ran.entries, BEGAN)
    calls = [entry for entry in ran.entries if entry.kind == "call"]
    assert sorted(request.call for request in history.requests) == list(range(1, len(calls) + 1))
    assert all(request.how == "done" and request.granted is not None for request in history.requests)
    assert any(
        "being unloaded" in why or "is loading" in why for request in history.requests for _, why in request.whys
    )
    for began in (stay.began for stay in history.stays):
        there = [stay for stay in history.stays if stay.began <= began < (stay.ended or 0.0)]
        assert 0 < sum(stay.sizes[-1][1] for stay in there) <= history.budgets["cpu"][-1][1]
    assert len(history.stays) == 3  # coder, reviewer and, as both do not fit, coder again
    assert {stay.model.name for stay in history.stays} == {"coder:7b", "reviewer:7b"}
    assert {span.name: span.status for span in history.stages} == dict.fromkeys(("plan", "review", "proven"), "done")


def test_entries_that_stand_between_two_sessions_belong_to_the_one_before() -> None:
    history = read_history(record_of(), [told(1, MODEL), told(5, MODEL, at=100)], BEGAN)
    assert [history.session_of(seq) for seq in (1, 4, 5, 9)] == [0, 0, 1, 1]
    assert len(history.models) == 1
