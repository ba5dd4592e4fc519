"""What a run says it took is what it took: over runs that were forked and resumed nothing is counted twice, or lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serving import PIPELINE, Served

from vwt_agents.cli import run_cli

parser = pytest.importorskip("prometheus_client.parser")

Capture = pytest.CaptureFixture[str]


def counted(capsys: Capture) -> dict[tuple[str, ...], float]:
    """The counters of `runs metrics` by name and stage."""
    capsys.readouterr()
    assert run_cli(["runs", "metrics"]) == 0
    return {
        (sample.name, sample.labels.get("stage", "")): sample.value
        for family in parser.text_string_to_metric_families(capsys.readouterr().out)
        for sample in family.samples
    }


def stages(capsys: Capture, *argv: str) -> dict[str, dict[str, Any]]:
    import json

    capsys.readouterr()
    run_cli([*argv, "--quiet", "--json"])
    return {stage["name"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}


def test_a_fork_counts_only_what_it_called_itself(here: Served, capsys: Capture) -> None:
    run_cli(["run", "two.py", "--quiet"])
    before = counted(capsys)
    run_cli(["runs", "fork", "last", "--from", "second", "--quiet"])
    after = counted(capsys)
    tokens = "vwt_prompt_tokens_total"
    assert before[tokens, "first"] > 0
    assert after[tokens, "first"] == before[tokens, "first"]
    assert after[tokens, "second"] == 2 * before[tokens, "second"]
    assert (after["vwt_calls_total", "first"], after["vwt_calls_total", "second"]) == (1, 2)
    assert after["vwt_stage_attempts_total", "first"] == 1
    assert len(here.server.calls) == 3


def test_a_resumed_run_counts_the_calls_of_all_its_sessions(here: Served, capsys: Capture) -> None:
    Path("two.py").write_text(PIPELINE.replace("    await run.deliver", "    raise ValueError\n    await run.deliver"))
    assert run_cli(["run", "two.py", "--quiet"]) == 1
    before = counted(capsys)
    Path("two.py").write_text(PIPELINE.replace('ask("second"', 'ask("another prompt"'))
    assert run_cli(["runs", "resume", "last", "--quiet"]) == 0
    after = counted(capsys)
    assert after["vwt_calls_total", "first"] == 1
    assert after["vwt_calls_total", "second"] == 2
    assert after["vwt_output_tokens_total", "second"] == 2 * before["vwt_output_tokens_total", "second"]
    assert after["vwt_stage_seconds_total", "first"] == before["vwt_stage_seconds_total", "first"]
    assert len(here.server.calls) == 3


KEPT = """
from dataclasses import dataclass

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("kept")


@dataclass
class Bad:
    passed: bool = False
    tests_passed: int = 0


@pipeline.stage(cache=True)
async def cached(coder: Agent) -> str:
    return await coder.ask("cached")


@pipeline.stage(on_error="skip")
async def tried() -> int:
    raise ValueError


@pipeline.stage
async def left_out(tried: int) -> int:
    return tried


@pipeline.stage
async def looped(coder: Agent, run: Run) -> str:
    async for attempt in run.attempts(2):
        await coder.ask("looped")
        await attempt.record(Bad())
    return "ended"


@pipeline.stage
async def last(cached: str, looped: str) -> str:
    return "ended"
"""


def test_attempts_are_those_the_run_has_made(here: Served, capsys: Capture) -> None:
    def attempts(found: dict[str, dict[str, Any]]) -> dict[str, tuple[str, int]]:
        return {name: (stage["status"], stage["attempts"]) for name, stage in found.items()}

    Path("kept.py").write_text(KEPT)
    made = {"tried": ("skipped", 1), "left_out": ("skipped", 0), "looped": ("done", 2), "last": ("done", 1)}
    assert attempts(stages(capsys, "run", "kept.py")) == {"cached": ("done", 1), **made}
    again = stages(capsys, "run", "kept.py")
    assert attempts(again) == {"cached": ("cached", 0), **made}
    forked = stages(capsys, "runs", "fork", "last", "--from", "last")
    assert attempts(forked) == {
        "cached": ("kept", 0),
        **made,
        "looped": ("kept", 0),
    }
    assert (forked["looped"]["calls"], forked["looped"]["prompt_tokens"], forked["cached"]["calls"]) == (0, 0, 0)


def test_a_resumed_runs_kept_stages_have_the_attempts_of_its_first_session(here: Served, capsys: Capture) -> None:
    Path("kept.py").write_text(KEPT.replace("looped: str) -> str:\n", "looped: str) -> str:\n    raise KeyError\n"))
    assert run_cli(["run", "kept.py", "--quiet"]) == 1
    Path("kept.py").write_text(KEPT)
    resumed = stages(capsys, "runs", "resume", "last")
    assert [(resumed[name]["status"], resumed[name]["attempts"]) for name in ("cached", "looped", "last")] == [
        ("kept", 1),
        ("kept", 2),
        ("done", 1),
    ]
