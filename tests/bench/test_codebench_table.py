"""The report says what the records say, of tasks that everybody has answered."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from codebench.command import Bench, perform, switches
from codebench.contenders import SingleCall
from codebench.records import Record, Records
from codebench.table import report

ROOT = Path(__file__).parents[2]


def answered(contender: str, passed: str, *, tokens: int = 100, verdicts: str = "") -> list[Record]:
    """A record for each letter of `passed`: + or -, and of `verdicts`, where there are any."""
    return [
        Record(
            set="own",
            task=f"t{number:02}",
            contender=contender,
            model="m",
            seed=0,
            method="1",
            hidden=mark == "+",
            visible_passed=0,
            visible_total=0,
            verdict=verdicts[number] == "+" if verdicts else None,
            calls=2,
            prompt_tokens=tokens - 10,
            evaluated_tokens=20,
            output_tokens=10,
            seconds=1.5,
            code="",
        )
        for number, mark in enumerate(passed)
    ]


def row(text: str, contender: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {contender} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_contenders_are_compared_with_the_best_single_call() -> None:
    records = [
        *answered("greedy", "+---------"),
        *answered("chat", "++--------", tokens=200),
        *answered("pipeline", "+-++++++--", tokens=300),
    ]
    text = report(records)
    assert "### own, m, seed 0: 10 tasks" in text
    assert "against chat." in text
    assert row(text, "chat") == [
        "chat",
        "20.0 % (5.7 % to 51.0 %)",
        "2.0",
        "190 (20)",
        "10",
        "200",
        "1.00",
        "1.5",
        "",
        "",
    ]
    cells = row(text, "pipeline")
    assert cells[:8] == ["pipeline", "70.0 % (39.7 % to 89.2 %)", "2.0", "290 (20)", "10", "300", "1.50", "1.5"]
    assert cells[8].startswith("+50.0 (")
    assert cells[9] == "0.125"  # 6 tasks only the pipeline solved, 1 only chat: 2 * (1 + 7) / 2 ** 7


def test_of_equal_single_calls_the_cheaper_is_the_base() -> None:
    text = report([*answered("chat", "+-", tokens=200), *answered("greedy", "-+"), *answered("pipeline", "++")])
    assert "against greedy." in text


def test_an_ablation_is_compared_with_the_full_pipeline() -> None:
    text = report([*answered("pipeline", "++"), *answered("pipeline samples=0", "+-")], against="pipeline")
    assert row(text, "pipeline samples=0")[8].startswith("-50.0 (")


def test_only_tasks_that_all_have_answered_count() -> None:
    text = report([*answered("greedy", "+-++"), *answered("chat", "+-")])
    assert ": 2 tasks" in text
    assert row(text, "greedy")[1].startswith("50.0 %")
    assert "2 more of greedy" in text


def test_the_trust_in_a_verdict_is_counted() -> None:
    text = report(answered("pipeline", "++-+--", verdicts="+++---"))
    assert "called 3 of 6 proven: 2 pass the hidden tests (66.7 %" in text
    assert "1 do not. Of the 3 it did not call proven, 1 pass." in text


def test_without_a_known_cache_nothing_is_said_of_it() -> None:
    from dataclasses import replace

    text = report([replace(record, evaluated_tokens=None) for record in answered("greedy", "+")])
    assert row(text, "greedy")[3] == "90"


def test_nothing_measured_is_said() -> None:
    assert report([]) == "nothing measured yet"


def bench(results: Path, tasks: str | None = None) -> Bench:
    return Bench("own", tasks, [SingleCall("greedy")], "m", None, ROOT / "pipelines/codegen.py", results)


def test_a_report_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.jsonl"
    with Records(path) as records:
        for record in answered("greedy", "+-"):
            records.add(record)
    assert perform(bench(path), only_report=True) == 0
    assert "| greedy | 50.0 %" in capsys.readouterr().out


def test_faults_are_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(bench(tmp_path / "none.jsonl"), only_report=True) == 2
    assert "hint: leave --report out" in capsys.readouterr().err
    assert perform(bench(tmp_path / "new.jsonl", tasks="20"), only_report=False) == 2
    assert "tasks 0 to 19" in capsys.readouterr().err


def test_the_ablation_only_names_switches_it_can_turn() -> None:
    spec = importlib.util.spec_from_file_location("ablation", ROOT / "bench/ablation.py")
    assert spec is not None
    assert spec.loader is not None
    ablation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablation)
    known = ablation._known(ROOT / "pipelines/codegen.py")
    assert known
    assert {pair.partition("=")[0] for pair in known} <= switches(ROOT / "pipelines/codegen.py")
