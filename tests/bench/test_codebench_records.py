"""What was measured is kept, never twice, and never mixed with what was measured in another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from codebench.records import Record, Records, read_records

from vwt_agents.errors import UsageError


def record(task: str = "T/0", contender: str = "greedy", **more: Any) -> Record:
    values: dict[str, Any] = {
        "set": "humaneval",
        "task": task,
        "contender": contender,
        "model": "m",
        "seed": 0,
        "method": "1",
        "hidden": True,
        "visible_passed": 1,
        "visible_total": 2,
        "verdict": None,
        "calls": 1,
        "prompt_tokens": 10,
        "evaluated_tokens": None,
        "output_tokens": 5,
        "seconds": 0.5,
        "code": "x = 1\n",
    }
    return Record(**{**values, **more})


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    written = [record(), record("T/1", code="line\nbreak\u2028 and \x85", error="why")]
    with Records(path) as records:
        for one in written:
            records.add(one)
    assert read_records(path) == written


def test_wherever_a_run_is_killed_the_next_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = record("T/0"), record("T/1")
    with Records(path) as records:
        records.add(first)
        whole = path.stat().st_size
        records.add(second)
    data = path.read_bytes()
    for cut in {*range(whole, len(data), 9), whole + 1, len(data) - 1}:
        path.write_bytes(data[:cut])
        with Records(path) as records:
            assert (records.has(first.key, "1"), records.has(second.key, "1")) == (True, False)
            records.add(second)
        assert read_records(path) == [first, second]


def test_another_method_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Records(path) as records:
        records.add(record())
        with pytest.raises(UsageError, match="another method"):
            records.has(record().key, "2")


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Records(path), pytest.raises(UsageError, match="another run"), Records(path):
        pass


@pytest.mark.parametrize("line", ["no json", "[1]", '{"set": "own"}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(UsageError, match=r"results.jsonl:1: not a record"):
        read_records(path)
