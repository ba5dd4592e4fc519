"""One real pipeline on the smallest real model: a worker process, a budget, a journal, and an answer that nobody scripted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vwt_agents.app import App, Job

CONFIG = """
[budget]
cpu = "{budget} MiB"
[endpoints.embedded]
kind = "embedded"
parallel = 2
[tiers.small]
endpoint = "embedded"
models = ["smollm2:135m"]
num_ctx = 1024
[agents.general]
options = {{ temperature = 0.0 }}
"""

PIPELINE = """
from pydantic import BaseModel

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("real", defaults={"words": ["sea", "hill"]})


class Colour(BaseModel):
    name: str


@pipeline.stage(each={"word": "words"})
async def colours(general: Agent, word: str) -> Colour:
    return await general.ask(f"What colour is a {word}?", Colour, num_predict=40)


@pipeline.stage
async def sentence(general: Agent, run: Run, colours: list[Colour]) -> str:
    named = ", ".join(colour.name for colour in colours)
    text = await general.ask(f"Write one sentence with these colours: {named}.", num_predict=24)
    await run.deliver({"sentence.txt": text})
    return text
"""


@pytest.mark.model
async def test_agents_side_by_side_on_a_real_model_within_a_real_budget(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text(PIPELINE)
    (tmp_path / "agents.toml").write_text(CONFIG.format(budget=400))
    result = await App().run(Job(tmp_path / "real.py", out=tmp_path / "out"))
    assert (result.status, result.exit_code, result.loads) == ("good", 0, 1)
    assert 90 < result.peak_mib <= result.budget_mib == 400
    assert all(stage.output_tokens > 0 and stage.model == "smollm2:135m" for stage in result.stages)
    assert (tmp_path / "out/sentence.txt").read_text().strip()
    assert not _workers()


def _workers() -> list[str]:
    """The command lines of this process's children that are workers: none may outlive its run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == os.getpid() and "embedded.worker" in command:
            found.append(command)
    return found
