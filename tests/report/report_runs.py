"""A run to report on, with one of every kind of thing, on a scripted server."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from vwt_agents.app import App, Job
from vwt_agents.entries import Entry, RunRecord
from vwt_agents.journal import JournalReader
from vwt_agents.testing import OllamaServer, ServedModel

MODELS = {"coder:7b": ServedModel(3000), "reviewer:7b": ServedModel(3500), "large:13b": ServedModel(4000)}
EVIL = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)> <!-- [x](javascript:alert(1)) \" ' \u2028 & \udc80"
)

PIPELINE = """
from vwt_agents import Agent, Pipeline, Run, Verdict

pipeline = Pipeline("busy", doc="Write, review <b>each</b>, prove.", defaults={"task": "do it", "files": 5})


@pipeline.stage
async def plan(coder: Agent, task: str, files: int) -> list[str]:
    await coder.ask("plan", given=[task])
    return [f"file {number}" for number in range(files)]


@pipeline.stage(each={"item": "plan"})
async def review(reviewer: Agent, task: str, item: str) -> str:
    return await reviewer.ask("review " + item, given=[task])


@pipeline.stage(importance="high")
async def proven(coder: Agent, run: Run, plan: list[str], review: list[str]) -> Verdict:
    code = "def f(x):\\n    return x\\n"
    async for attempt in run.attempts(3):
        await coder.ask(f"repair {attempt.number}: {code}")
        code += f"\\ndef g{attempt.number}(x):\\n    return x\\n"
        run.say(f"attempt {attempt.number}")
        passed = attempt.number
        counts = {"tests_run": 3, "tests_passed": passed, "tests_failed": 3 - passed}
        verdict = Verdict(passed=passed == 3, reason=f"{passed} of 3 tests passed", backend="bubblewrap", **counts)
        if await attempt.record(verdict, files={"mod.py": code}):
            break
    return verdict
"""

CONFIG = """
[budget]
cpu = "7000 MiB"
[endpoints.here]
kind = "ollama"
url = "{url}"
device = "cpu"
parallel = 2
[tiers.small]
endpoint = "here"
models = ["coder:7b", "reviewer:7b"]
num_ctx = 2048
[tiers.large]
endpoint = "here"
models = ["large:13b"]
[routing]
substitute = false
[agents.coder]
task = "code"
model = "coder:7b"
[agents.reviewer]
model = "reviewer:7b"
"""


@dataclass(frozen=True)
class Ran:
    """A run that ended, as the journal has it, and its folder."""

    record: RunRecord
    entries: tuple[Entry, ...]
    folder: Path

    @property
    def page(self) -> str:
        """The page it left."""
        return (self.folder / "report.html").read_text(encoding="utf-8")

    def cut(self, count: int) -> Ran:
        """As a process that was killed after so many entries left it."""
        killed = replace(self.record, status="interrupted", ended_at=None, exit_code=None, summary=None)
        return replace(self, record=killed, entries=self.entries[:count])


async def busy_run(folder: Path, *, task: str = "do it", answer: str = "an answer") -> Ran:
    """Three stages, nine calls, two models that do not fit side by side, three attempts."""
    async with OllamaServer(MODELS, answer, parallel=2) as server:
        (folder / "busy.py").write_text(PIPELINE)
        (folder / "agents.toml").write_text(CONFIG.format(url=server.url))
        inputs = folder / "inputs.json"
        inputs.write_text(json.dumps({"task": task}))
        result = await App().run(Job(folder / "busy.py", inputs_file=inputs, out=folder / "out"))
    assert result.status == "good", result.error
    reader = JournalReader()
    record = await reader.run(result.run_id)
    return Ran(record, await reader.entries(record.id), folder / "out")
