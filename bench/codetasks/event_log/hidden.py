import json

import pytest
from event_log import append, read


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "events.jsonl")


def test_a_missing_file_is_empty(path):
    assert read(path) == []


def test_events_come_back_in_order(path):
    events = [{"kind": "a", "n": 1}, {"kind": "b", "names": ["x", "ü"]}, {"kind": "a", "n": 2}]
    for event in events:
        append(path, event)
    assert read(path) == events
    assert read(path, "a") == [events[0], events[2]]
    assert read(path, kind="c") == []


def test_a_line_is_an_object(path):
    append(path, {"kind": "a", "text": "two\nlines"})
    append(path, {"kind": "b"})
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["a", "b"]


def test_events_without_a_kind_are_of_no_kind(path):
    append(path, {"x": 1})
    assert read(path) == [{"x": 1}]
    assert read(path, "a") == []
