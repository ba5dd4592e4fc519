"""Promises of the Prometheus text: what a scraper reads is what the journal holds, and the file is never half there."""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from vwt_agents.cli.run_pages import write
from vwt_agents.cli.runs import metrics
from vwt_agents.entries import Entry, RunRecord, call_entry
from vwt_agents.errors import UsageError
from vwt_agents.messages import Message, Request, Response, Usage
from vwt_agents.render.prometheus import prometheus_text
from vwt_agents.render.tallies import TALLIED, Tallies

parser = pytest.importorskip("prometheus_client.parser")

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.testing import VwtApp

PIPELINE = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("talk")


@pipeline.stage
async def one(general: Agent) -> str:
    return await general.ask("Say it.")
"""


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Name and values of the labels (by the names of those) by their figures, as a scraper reads them."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def record(number: int, status: str = "good", **more: Any) -> RunRecord:
    at = datetime(2026, 1, 1, 0, number, tzinfo=UTC)
    summary: dict[str, Any] = {"seconds": 2.0, "loads": 2, "unloads": 1, "verdict": {"passed": status == "good"}}
    summary |= {"devices": {"gpu0": {"budget_mib": 10, "peak_mib": 8}}}
    given: dict[str, Any] = {
        "id": f"r{number}",
        "pipeline": 'co"de\n',
        "file": "f.py",
        "started_at": at,
        "ended_at": at,
    }
    given |= {"status": status, "promoted": False, "tier": "small", "inputs": "{}", "settings": "", "out_dir": "o"}
    given |= {"exit_code": 0 if status == "good" else 1, "summary": json.dumps(summary), "parent": None}
    return RunRecord(**{**given, "parent_seq": None, "pid": 1, **more})


def worked(*runs: str) -> Tallies:
    """In each of the runs: two calls, one of which failed, an attempt that was recorded, the stage's end."""
    found = Tallies(dict.fromkeys(runs, 'co"de\n'))
    request = Request("here", "m", (Message("user", "hi"),), 2048)
    answer = Response("yes", "m", "here", "stop", Usage(prompt_tokens=10, output_tokens=5, wait_s=0.5, cached_tokens=3))
    for run in (*runs, "of-another-journal"):
        found.take(call_entry(run, request, answer, name="write"))
        found.take(call_entry(run, request, "went away", name="write"))
        found.take(Entry(run, "attempt", "write", "1"))
        found.take(Entry(run, "stage", "write", status="done", seconds=1.5))
    return found


def test_counters_sum_over_runs_and_gauges_are_of_the_last_that_ended() -> None:
    running = record(4, "running", ended_at=None, exit_code=None, summary=None)
    found = samples(prometheus_text([running, record(3, "bad"), record(2), record(1)], worked("r4", "r3", "r1")))
    name = 'co"de\n'
    assert found["vwt_runs_total", name, "good"] == 2
    assert found["vwt_runs_total", name, "running"] == 1
    assert found["vwt_verdicts_total", name, "passed"] == 2
    assert found["vwt_verdicts_total", name, "failed"] == 1
    assert found["vwt_calls_total", name, "write"] == 6
    assert found["vwt_prompt_tokens_total", name, "write"] == 30
    assert found["vwt_prompt_tokens_cached_total", name, "write"] == 9
    assert found["vwt_stage_wait_seconds_total", name, "write"] == 1.5
    assert found["vwt_stage_attempts_total", name, "write"] == 3
    assert found["vwt_stage_seconds_total", name, "write"] == 4.5
    assert found["vwt_model_loads_total", name] == 6
    assert found["vwt_last_run_exit_code", name] == 1
    assert found["vwt_last_run_end_time_seconds", name] == datetime(2026, 1, 1, 0, 3, tzinfo=UTC).timestamp()
    assert found["vwt_last_run_peak_bytes", "gpu0", name] == 8 * 1024 * 1024


def test_a_journal_without_runs_is_a_text_without_figures() -> None:
    assert samples(prometheus_text([], Tallies({}))) == {}


async def test_a_run_is_in_the_metrics_once_it_has_ended(vwt_app: VwtApp, tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text(PIPELINE)
    result = await vwt_app.run(tmp_path / "talk.py", answers="one two three")
    from vwt_agents.journal import JournalReader

    tallies = Tallies({result.run_id: "talk"})
    await JournalReader().each(TALLIED, tallies.take)
    found = samples(prometheus_text(await JournalReader().records(), tallies))
    assert found["vwt_runs_total", "talk", "good"] == 1
    assert found["vwt_calls_total", "talk", "one"] == 1
    assert found["vwt_output_tokens_total", "talk", "one"] == result.stages[0].output_tokens == 3
    assert found["vwt_model_loads_total", "talk"] == result.loads


def test_the_command_prints_them_or_leaves_a_whole_file(tmp_path: Path) -> None:
    shown = CliRunner().invoke(metrics, [], standalone_mode=False)
    assert shown.exit_code == 0, shown.output
    file = tmp_path / "node" / "vwt.prom"
    file.parent.mkdir()
    assert CliRunner().invoke(metrics, ["--out", str(file)], standalone_mode=False).exit_code == 0
    assert file.read_text() == shown.stdout
    assert [path.name for path in file.parent.iterdir()] == ["vwt.prom"]


def test_a_pipe_is_written_to_and_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert CliRunner().invoke(metrics, ["--out", str(pipe)], standalone_mode=False).exit_code == 0
        assert b"vwt_runs_total" in os.read(reading, 1 << 16)
    finally:
        os.close(reading)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="nothing leads to an open pipe")  # noqa: PTH110
def test_a_pipe_that_only_this_process_has_is_written_to_where_a_link_leads_to_it() -> None:
    """As a shell gives it: `--out >(gzip)`, or `--out /dev/stdout | gzip`."""
    reading, writing = os.pipe()
    try:
        written = CliRunner().invoke(metrics, ["--out", f"/dev/fd/{writing}"], standalone_mode=False)
        assert written.exit_code == 0, written.exception
        assert b"vwt_runs_total" in os.read(reading, 1 << 16)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_file_that_has_the_text_already_and_is_somebody_elses_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError

    write(tmp_path / "vwt.prom", "text\n")
    monkeypatch.setattr("pathlib.Path.touch", refused)
    assert write(tmp_path / "vwt.prom", "text\n").read_text() == "text\n"


def test_a_file_is_written_as_every_other_is(tmp_path: Path) -> None:
    """In a folder that is made, where a link leads, and anew also where nothing has changed: a collector looks at its time."""
    file, link = tmp_path / "node" / "vwt.prom", tmp_path / "link.prom"
    assert CliRunner().invoke(metrics, ["--out", str(file)], standalone_mode=False).exit_code == 0
    text = file.read_text()
    os.utime(file, (1, 1))
    link.symlink_to(file)
    assert CliRunner().invoke(metrics, ["--out", str(link)], standalone_mode=False).exit_code == 0
    assert (link.is_symlink(), file.read_text(), file.stat().st_mtime > 1) == (True, text, True)
    failed = CliRunner().invoke(metrics, ["--out", str(file / "below.prom")], standalone_mode=False)
    assert isinstance(failed.exception, UsageError)
    assert "cannot write" in failed.exception.message


def test_without_the_package_an_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(UsageError, match="prometheus-client") as raised:
        prometheus_text([], Tallies({}))
    assert raised.value.hint == "pip install 'vwt-agents[prometheus]'"
