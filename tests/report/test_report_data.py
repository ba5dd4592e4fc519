"""What a page shows is what the journal has: also of a run that was killed at any moment."""

from __future__ import annotations

import itertools
import json
import random
from datetime import timedelta

from made_run import BEGAN, many_calls, record_of
from report_runs import Ran

from vwt_agents.entries import Entry
from vwt_agents.report import report_data, report_page
from vwt_agents.report.attempts import diff
from vwt_agents.report.texts import Texts, pack

LATER = BEGAN + timedelta(days=400)


def test_a_page_can_be_made_of_a_journal_that_was_cut_after_any_entry(ran: Ran) -> None:
    for count in range(len(ran.entries) + 1):
        cut = ran.cut(count)
        data = report_data(cut.record, cut.entries, Texts(), LATER)
        assert data["run"]["status"] == "interrupted"
        assert report_page(cut.record, cut.entries, LATER).startswith("<!doctype html>")
        calls = [entry for entry in cut.entries if entry.kind == "call"]
        assert len([call for call in data["calls"] if not call.get("open")]) == len(calls)
        stages = {stage["name"]: stage["status"] for stage in data["stages"]}
        ended = {entry.name for entry in cut.entries if entry.kind == "stage"}
        assert {name for name, status in stages.items() if status == "done"} == ended
        assert all(stage["attempts"] > 0 for stage in data["stages"] if stage["status"] in {"done", "running"})


def test_each_call_says_when_it_was_asked_granted_and_ended_and_why_it_waited(ran: Ran) -> None:
    data = report_data(ran.record, ran.entries, Texts(), LATER)
    assert len(data["calls"]) == 9
    assert all(0 <= call["asked"] <= call["granted"] <= call["ended"] <= data["end"] for call in data["calls"])
    assert "is loading" in data["calls"][0]["whys"][0][1]
    assert {call["attempt"] for call in data["calls"] if call["stage"] == "proven"} == {"1", "2", "3"}
    assert sorted(call["item"] for call in data["calls"] if call["stage"] == "review") == list("01234")


def test_the_sums_are_those_of_the_run_s_own_result(ran: Ran) -> None:
    data = report_data(ran.record, ran.entries, Texts(), LATER)
    result = json.loads(ran.record.summary or "")
    assert (data["totals"]["loads"], data["totals"]["unloads"]) == (result["loads"], result["unloads"])
    assert (
        data["devices"][0]["peak"] == result["peak_mib"] <= result["budget_mib"] == data["devices"][0]["budget"][-1][1]
    )
    for stage, told in zip(data["stages"], result["stages"], strict=True):
        names = ("name", "status", "attempts", "calls", "in", "out")
        assert [stage[name] for name in names] == [
            told[name] for name in ("name", "status", "attempts", "calls", "prompt_tokens", "output_tokens")
        ]


def test_no_slot_is_held_by_two_requests_at_once(ran: Ran) -> None:
    data = report_data(ran.record, ran.entries, Texts(), LATER)
    for one, other in itertools.combinations(data["slots"], 2):
        assert one[:2] != other[:2] or one[3] <= other[2] or other[3] <= one[2]
    assert {slot for _, slot, *_ in data["slots"]} == {0, 1}


def test_attempts_show_how_their_files_differ_from_the_attempt_before(ran: Ran) -> None:
    texts = Texts()
    data = report_data(ran.record, ran.entries, texts, LATER)
    kept = texts.within(10_000)
    assert [(one["number"], one["good"], one["diff"] is None) for one in data["attempts"]] == [
        (1, False, True),
        (2, False, False),
        (3, True, False),
    ]
    made = kept[data["attempts"][1]["diff"]].splitlines()
    assert "+def g2(x):" in made
    assert "-def g1(x):" not in made


def test_attempts_without_files_are_told_apart_by_their_last_answers() -> None:
    calls = many_calls(2, words=[str(number) for number in range(1000)], each=3)
    marked = []
    for number, call in enumerate(calls, 1):
        payload = json.loads(call.payload or "")
        payload["labels"]["attempt"] = str(number)
        marked.append(
            Entry("r", "call", "many", payload=json.dumps(payload), texts=call.texts, started_at=BEGAN, seconds=1)
        )
        outcome = json.dumps({"number": number, "outcome": {"passed": False, "tests_passed": 0}})
        marked.append(Entry("r", "attempt", "many", key=str(number), status="bad", payload=outcome, started_at=BEGAN))
    texts = Texts()
    data = report_data(record_of(), marked, texts, LATER)
    assert "the last answer" in texts.within(10_000)[data["attempts"][1]["diff"]]


def test_a_diff_names_files_that_came_and_went_and_is_empty_where_nothing_changed() -> None:
    assert diff({"a.py": "x\n"}, {"a.py": "x\n"}) == ""
    lines = diff({"a.py": "x"}, {"b.py": "y"}).splitlines()
    assert [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")] == ["-x", "+y"]


def test_waits_that_differ_in_numbers_only_are_one() -> None:
    rows = [["M", 1, "here", "m:7b", "gpu0", 1, 5000]]
    for number in (1, 2):
        rows += [["T", number, f"waits for {number}000 MiB on gpu0 (7 free)"], ["q", 0, number, 1, f"s{number}"]]
        rows += [["w", 0, number, number], ["g", 1500, number], ["r", 2000, number]]
    rows += [["T", 3, "waits for a slot of m:7b (1 of 1 in use)"], ["q", 0, 3, 1, "s1"], ["w", 0, 3, 3], ["g", 500, 3]]
    payload = json.dumps({"at": round(BEGAN.timestamp() * 1e6), "rows": rows})
    entries = [Entry("r", "event", "timeline", payload=payload, seq=1, started_at=BEGAN)]
    waits = report_data(record_of(), entries, Texts(), LATER)["waits"]
    assert [(one["seconds"], one["requests"], one["stages"]) for one in waits] == [
        (3.0, 2, ["s1", "s2"]),
        (0.5, 1, ["s1"]),
    ]


def test_the_same_text_is_kept_once_and_a_long_one_says_what_is_missing() -> None:
    texts = Texts()
    assert [texts.add(text) for text in ("a", "b", "a")] == [0, 1, 0]
    texts.add("x" * 5000)
    assert "3500 more characters" in texts.within(1500)[2]


def test_texts_are_packed_only_where_it_pays_and_shortened_until_they_fit() -> None:
    texts, chosen = Texts(), random.Random(6)
    for _ in range(200):
        texts.add("".join(chosen.choices("abcdefghijklmnopqrstuvwxyz", k=4000)))
    plain, packed = pack(texts, plain=10**7, most=10**7)
    assert (packed, len(json.loads(plain))) == (False, 200)
    short, packed = pack(texts, plain=1000, most=200_000)
    assert packed
    assert len(short) <= 200_000
