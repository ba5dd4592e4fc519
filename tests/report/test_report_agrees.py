"""What `report.html` says of a run is what `runs show --json` says of it, whatever became of the run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from report_runs import CONFIG, MODELS
from serving_in_a_thread import in_a_thread
from test_report_page import data_of

from vwt_agents.cli import run_cli
from vwt_agents.testing import OllamaServer

PIPELINE = """
from pathlib import Path

import anyio

from vwt_agents import Agent, Fallback, Pipeline, Run, Verdict

pipeline = Pipeline("varied", defaults={"task": "do it", "tests": 3, "until": "", "hold": ""})
tries = []


@pipeline.stage
async def plan(coder: Agent, task: str) -> list[str]:
    await coder.ask("plan")
    return ["one", "two", "three"]


@pipeline.stage(retries=2, backoff="1ms")
async def flaky(coder: Agent, task: str) -> str:
    tries.append(task)
    answer = await coder.ask(f"try {len(tries)}")
    if len(tries) < 3:
        raise ValueError("not yet")
    return answer


@pipeline.stage(each={"item": "plan"})
async def review(reviewer: Agent, item: str) -> str:
    return await reviewer.ask("review " + item)


@pipeline.stage(each={"item": "plan"}, on_error="skip")
async def partly(coder: Agent, item: str) -> str:
    await coder.ask("part " + item)
    if item == "two":
        raise ValueError("not this one")
    return item


@pipeline.stage(on_error=Fallback("instead"))
async def stood_in(coder: Agent, task: str) -> str:
    raise ValueError(await coder.ask("stand in"))


@pipeline.stage(on_error="skip")
async def skipped(coder: Agent, task: str) -> str:
    raise ValueError(await coder.ask("skip"))


@pipeline.stage
async def after_skipped(skipped: str) -> str:
    return skipped


@pipeline.stage(cache=True)
async def cached(coder: Agent, task: str) -> str:
    return await coder.ask("cached " + task)


@pipeline.stage(approve="go on?")
async def approved(coder: Agent, flaky: str) -> str:
    return await coder.ask("approved")


@pipeline.stage
async def plain(plan: list[str]) -> int:
    return len(plan)


@pipeline.stage
async def proven(coder: Agent, run: Run, review: list[str], approved: str, tests: int, until: str) -> Verdict:
    async for attempt in run.attempts(3):
        await coder.ask(f"repair {attempt.number}")
        if attempt.number == 2 and until and not Path(until).exists():
            raise ValueError("not so far")
        good = attempt.number
        counts = {"tests_run": tests, "tests_passed": good, "tests_failed": tests - good}
        verdict = Verdict(passed=good == tests, reason=f"{good} of {tests} passed", **counts)
        await attempt.record(verdict, files={"mod.py": f"x = {good}"})
    return verdict


@pipeline.stage
async def last(reviewer: Agent, proven: Verdict, hold: str) -> str:
    answer = await reviewer.ask("last")
    if hold and not Path(hold).exists():
        Path(hold).touch()
        await anyio.sleep_forever()
    return answer
"""


@dataclass(frozen=True)
class Told:
    """What was said of a run once it had ended, or was no more."""

    page: dict[str, Any]
    shown: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any] | None:
        return self.shown["summary"]

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        return {stage["name"]: stage for stage in self.page["stages"]}

    def entries(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.shown["entries"] if entry["kind"] == kind]


def command(*argv: str) -> str:
    """What it prints."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(StringIO()):
        run_cli(list(argv))
    return said.getvalue()


def told(folder: Path, run: str) -> Told:
    command("runs", "report", run, "--html", str(folder / "page.html"))
    page = data_of((folder / "page.html").read_text(encoding="utf-8"))
    return Told(page, json.loads(command("runs", "show", run, "--json")))


def ended(folder: Path, *argv: str) -> tuple[str, Told]:
    """A run that came to its end, and what its own page says, which is the one that is made of it later."""
    result = json.loads(command(*argv, "--json", "--quiet"))
    found = told(folder, result["run_id"])
    own = data_of(Path(result["report"]).with_name("report.html").read_text(encoding="utf-8"))
    assert own["stages"] == found.page["stages"]
    return result["run_id"], found


def stopped(folder: Path, by: signal.Signals) -> tuple[str, Told]:
    """A run that gets a signal in its last stage."""
    held = folder / by.name
    argv = [sys.executable, "-m", "vwt_agents", "run", "varied.py", "--yes", "--quiet", "-i", f"hold={held}"]
    with subprocess.Popen(argv, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 30
            while not held.exists() and time.monotonic() < until:
                time.sleep(0.01)  # a fact of another process: there is no event
        finally:
            process.send_signal(by)
    run = json.loads(command("runs", "list", "--limit", "1", "--json"))[0]["id"]
    return run, told(folder, run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """Runs that ended in many ways, by these."""
    folder, found = tmp_path_factory.mktemp("varied"), dict[str, Told]()
    run = ("run", "varied.py", "--yes")
    with pytest.MonkeyPatch.context() as patch, in_a_thread(lambda: OllamaServer(MODELS, "yes", parallel=2)) as server:
        patch.setenv("VWT_STATE", str(folder / "state"))
        patch.setenv("VWT_LEDGER", str(folder / "ledger"))
        patch.chdir(folder)
        (folder / "varied.py").write_text(PIPELINE)
        (folder / "agents.toml").write_text(CONFIG.format(url=server.url))
        good, found["good"] = ended(folder, *run)
        _, found["cached"] = ended(folder, *run)
        _, found["substituted"] = ended(folder, *run, "--config", str(substituting(folder)))
        _, found["bad"] = ended(folder, *run, "-i", "tests=4")
        found["denied"] = denied(folder)
        failed, found["failed"] = ended(folder, *run, "-i", f"until={folder / 'until'}")
        (folder / "until").touch()
        _, found["resumed"] = ended(folder, "runs", "resume", failed, "--yes")
        _, found["forked"] = ended(folder, "runs", "fork", good, "--from", "proven", "--yes")
        interrupted, found["interrupted"] = stopped(folder, signal.SIGINT)
        _, found["gone on with"] = ended(folder, "runs", "resume", interrupted, "--yes")
        killed, found["killed"] = stopped(folder, signal.SIGKILL)
        _, found["gone on with after a kill"] = ended(folder, "runs", "resume", killed, "--yes")
        yield found


def denied(folder: Path) -> Told:
    """A run to which a person said no."""
    argv = [sys.executable, "-m", "vwt_agents", "run", "varied.py", "--quiet"]
    with subprocess.Popen(argv, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 30
            while "waits for a person: approved" not in command("runs", "list", "--limit", "1"):
                assert time.monotonic() < until
                time.sleep(0.05)  # as above
            command("runs", "approve", "last", "approved", "--deny")
            process.wait(30)
        finally:
            process.kill()
    return told(folder, "last")


def substituting(folder: Path) -> Path:
    """Settings by which the agents go to one model rather than swap."""
    config = folder / "substitute.toml"
    text = (folder / "agents.toml").read_text().replace("substitute = false", "substitute = true")
    config.write_text(text.replace('model = "coder:7b"', 'fallback = ["reviewer:7b"]'))
    return config


ALL = ("good", "cached", "substituted", "bad", "denied", "failed", "forked", "interrupted", "killed")
GONE_ON_WITH = ("resumed", "gone on with", "gone on with after a kill")
STATUS = {"interrupted": "interrupted", "killed": "interrupted", "bad": "bad", "denied": "bad", "failed": "bad"}
SECONDS = 0.1
"""A stage's clock and the timeline's are read one after the other, on a machine that may be busy."""


@pytest.mark.parametrize("name", [*ALL, *GONE_ON_WITH])
def test_the_page_has_the_calls_tokens_and_attempts_of_all_entries(runs: dict[str, Told], name: str) -> None:
    run = runs[name]
    calls, usages = run.entries("call"), []
    for call in calls:
        usages.append(json.loads(call["payload"]).get("response", {}).get("usage", {}))
    totals = run.page["totals"]
    assert (totals["calls"], totals["failed"]) == (len(calls), sum(call["status"] == "failed" for call in calls))
    assert totals["prompt"] == sum(usage.get("prompt_tokens", 0) for usage in usages)
    assert totals["output"] == sum(usage.get("output_tokens", 0) for usage in usages)
    assert {stage: one["calls"] for stage, one in run.stages.items() if one["calls"]} == Counter(
        call["name"] for call in calls
    )
    recorded = Counter((one["name"], one["status"]) for one in run.entries("attempt"))
    assert Counter((one["stage"], "good" if one["good"] else "bad") for one in run.page["attempts"]) == recorded


@pytest.mark.parametrize("name", [*ALL, *GONE_ON_WITH])
def test_the_page_has_the_run_s_own_status_error_verdict_and_limits(runs: dict[str, Told], name: str) -> None:
    run = runs[name]
    assert run.page["run"]["status"] == run.shown["run"]["status"] == STATUS.get(name, "good")
    if run.summary is None:
        assert name == "killed"
        return
    assert [run.page["run"][key] for key in ("exit_code", "error", "limits", "artifacts")] == [
        run.summary[key] for key in ("exit_code", "error", "limits", "artifacts")
    ]
    if name != "interrupted":
        assert run.page["verdict"] == run.summary["verdict"]
    assert run.page["totals"]["replayed"] == sum(stage["replayed"] for stage in run.summary["stages"])


@pytest.mark.parametrize("name", ALL)
def test_the_page_has_the_stages_as_the_session_has_them_that_ended_the_run(runs: dict[str, Told], name: str) -> None:
    run = runs[name]
    if run.summary is None:
        return
    assert list(run.stages) == [stage["name"] for stage in run.summary["stages"]]
    for stage in run.summary["stages"]:
        shown = run.stages[stage["name"]]
        took = sum(end - began for began, end, _ in shown["spans"])
        assert shown["status"] == stage["status"], stage
        assert took == pytest.approx(stage["seconds"], abs=SECONDS), stage
        if not (name == "forked" and stage["replayed"]):  # its parent asked for that: it counts there
            names = ("attempts", "calls", "in", "out", "models")
            said = ("attempts", "calls", "prompt_tokens", "output_tokens")
            models = sorted(filter(None, stage["model"].split(", ")))
            assert [shown[key] for key in names] == [*(stage[key] for key in said), models], stage
    assert run.page["run"]["seconds"] == pytest.approx(run.summary["seconds"], abs=10 * SECONDS)


@pytest.mark.parametrize("name", GONE_ON_WITH)
def test_of_a_run_that_was_gone_on_with_the_page_has_what_all_sessions_did(runs: dict[str, Told], name: str) -> None:
    run = runs[name]
    assert run.summary is not None
    assert list(run.stages) == [stage["name"] for stage in run.summary["stages"]]
    for stage in run.summary["stages"]:
        shown = run.stages[stage["name"]]
        assert shown["status"] == stage["status"] or (stage["status"], shown["status"]) in {
            ("kept", "done"),
            ("kept", "cached"),
        }, stage
        assert sum(end - began for began, end, _ in shown["spans"]) >= stage["seconds"] - SECONDS
        assert shown["attempts"] == stage["attempts"], stage
        assert (shown["calls"], shown["in"]) == (stage["calls"], stage["prompt_tokens"]), stage


def test_what_was_substituted_is_said_as_it_was_served(runs: dict[str, Told]) -> None:
    models = {model for stage in runs["substituted"].stages.values() for model in stage["models"]}
    assert models == {"reviewer:7b"}
    assert len({model for stage in runs["good"].stages.values() for model in stage["models"]}) == 2


def test_a_run_that_came_to_no_end_is_judged_by_its_last_attempt_and_no_other_is(runs: dict[str, Told]) -> None:
    assert runs["killed"].page["verdict"]["reason"] == "3 of 3 passed"
    assert runs["failed"].page["verdict"] is None
    assert [one["outcome"]["reason"] for one in runs["failed"].page["attempts"]] == ["1 of 3 passed"]
