"""What is kept for the report is little beside what a run keeps anyway."""

from __future__ import annotations

import json
import random
from pathlib import Path

from report_runs import CONFIG, MODELS

from vwt_agents.app import App, Job
from vwt_agents.journal import JournalReader, default_path
from vwt_agents.testing import OllamaServer


def pipeline(stages: int, size: int) -> str:
    """A chain of stages, each of which returns random text of so many characters."""
    chosen = random.Random(40)
    lines = ["from vwt_agents import Pipeline", "pipeline = Pipeline('chain')"]
    for number in range(stages):
        value = "".join(chosen.choices("abcdefghijklmnopqrstuvwxyz     \n", k=size))
        before = f"s{number - 1}: str" if number else ""
        lines += ["@pipeline.stage", f"async def s{number}({before}) -> str:", f"    return {value!r}"]
    return "\n".join(lines)


async def test_forty_stages_with_200_kb_of_outputs_take_less_than_0_4_mb_and_their_events_little_of_it(
    tmp_path: Path,
) -> None:
    async with OllamaServer(MODELS) as server:
        (tmp_path / "chain.py").write_text(pipeline(40, 5000))
        (tmp_path / "agents.toml").write_text(CONFIG.format(url=server.url))
        result = await App().run(Job(tmp_path / "chain.py", out=tmp_path / "out"))
    assert result.status == "good"
    assert default_path().stat().st_size < 400_000
    events = await JournalReader().entries(result.run_id, kind="event")
    rows = [row for entry in events if entry.name == "timeline" for row in json.loads(entry.payload or "")["rows"]]
    assert [row[0] for row in rows].count("s") == 40
    assert sum(len(entry.payload or "") for entry in events) < 40 * 400


async def test_runs_of_one_pipeline_share_the_copy_of_its_plan(tmp_path: Path) -> None:
    async with OllamaServer(MODELS) as server:
        (tmp_path / "chain.py").write_text(pipeline(30, 10))
        (tmp_path / "agents.toml").write_text(CONFIG.format(url=server.url))
        runs = [(await App().run(Job(tmp_path / "chain.py", out=tmp_path / "out"))).run_id for _ in range(2)]
    plans = [(await JournalReader().entries(run, kind="event"))[0] for run in runs]
    assert plans[0].payload == plans[1].payload
    assert len(plans[0].payload or "") > 1024  # what is longer than this the journal holds once
