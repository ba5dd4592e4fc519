"""A run from its file to its result, against a scripted Ollama: what comes out, is written down, is never done twice."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from two_models import CONFIG, MODELS

from vwt_agents.app import App, Job, resumed
from vwt_agents.app.verdicts import find_verdict
from vwt_agents.config import RunSettings
from vwt_agents.errors import DefinitionError, Rejected, UsageError
from vwt_agents.graph import build_graph
from vwt_agents.journal import JournalReader
from vwt_agents.limits import RunLimits
from vwt_agents.pipeline import Pipeline
from vwt_agents.sandbox.judge import Verdict
from vwt_agents.testing import OllamaServer, ServedModel

TWO_STAGES = """
from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("two", defaults={"task": "do it"})


@pipeline.stage(importance="high")
async def first(coder: Agent, task: str) -> str:
    return await coder.ask("first", given=[task])


@pipeline.stage(importance="high")
async def second(coder: Agent, run: Run, first: str) -> str:
    answer = await coder.ask("second", given=[first])
    await run.deliver({"out/answer.txt": answer})
    return answer


@pipeline.stage
async def third(reviewer: Agent, second: str) -> str:
    return await reviewer.ask("third", given=[second])
"""

PROOF = """
from vwt_agents import Pipeline, Sandbox, Verdict

pipeline = Pipeline("proof", defaults={"code": "def f():\\n    return 1\\n"})


@pipeline.stage
async def proven(sandbox: Sandbox, code: str) -> Verdict:
    return await sandbox.test({"mod.py": code}, {"test_mod.py": "import mod\\ndef test(): assert mod.f() == 1\\n"})
"""


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with OllamaServer(MODELS, "an answer") as running:
        yield running


def job(folder: Path, server: OllamaServer, text: str, *, budget: int = 100_000, **more: Any) -> Job:
    file, config = folder / "pipeline.py", folder / "agents.toml"
    file.write_text(text)
    config.write_text(CONFIG.format(url=server.url, budget=f"{budget} MiB"))
    return Job(file, out=folder / "out", **more)


async def test_a_promoted_run_uses_both_tiers_keeps_its_budget_and_leaves_its_files(
    tmp_path: Path, server: OllamaServer
) -> None:
    result = await App().run(job(tmp_path, server, TWO_STAGES))
    assert (result.status, result.exit_code, result.promoted, result.tier) == ("good", 0, True, "large")
    assert {stage.name: stage.model for stage in result.stages} == {
        "first": "large:2b",
        "second": "large:2b",
        "third": "small:1b",
    }
    assert result.loads == 2
    assert 0 < result.peak_mib <= result.budget_mib
    assert (tmp_path / "out/out/answer.txt").read_text() == "an answer"
    assert json.loads((tmp_path / "out/result.json").read_text())["run_id"] == result.run_id
    assert "## Routes" in (tmp_path / "out/report.md").read_text()
    assert not list((tmp_path / "out").rglob("*.partial"))
    assert not server.resident


async def test_the_json_of_a_run_has_what_was_promised(tmp_path: Path, server: OllamaServer) -> None:
    await App().run(job(tmp_path, server, TWO_STAGES))
    saved = json.loads((tmp_path / "out/result.json").read_text())
    promised = "run_id pipeline status promoted tier verdict outputs seconds stages"
    promised += " loads unloads budget_mib peak_mib artifacts report"
    assert set(promised.split()) <= set(saved)
    of_stage = "name agent model endpoint attempts seconds wait_seconds load_seconds prompt_tokens output_tokens cached"
    assert set(of_stage.split()) <= set(saved["stages"][0])


async def test_every_stage_and_call_is_in_the_journal(tmp_path: Path, server: OllamaServer) -> None:
    result = await App().run(job(tmp_path, server, TWO_STAGES))
    entries = await JournalReader().entries(result.run_id)
    recorded = ("plan", "timeline")
    assert {entry.name for entry in entries if entry.kind == "event"} == {*recorded, "file.delivered"}
    assert [(entry.kind, entry.name) for entry in entries if entry.name not in recorded] == [
        ("call", "first"),
        ("stage", "first"),
        ("call", "second"),
        ("event", "file.delivered"),
        ("stage", "second"),
        ("call", "third"),
        ("stage", "third"),
    ]
    assert (await JournalReader().run("last")).status == "good"


async def test_a_verdict_that_is_bad_makes_the_run_bad(tmp_path: Path, server: OllamaServer) -> None:
    good = await App().run(job(tmp_path, server, PROOF))
    bad = await App().run(job(tmp_path, server, PROOF, pairs=["code=def f():\n    return 2\n"]))
    assert (good.exit_code, good.verdict is not None and good.verdict["passed"]) == (0, True)
    assert (bad.exit_code, bad.status, bad.verdict is not None and bad.verdict["passed"]) == (1, "bad", False)


async def test_what_can_never_fit_is_rejected_before_anything_loads(tmp_path: Path, server: OllamaServer) -> None:
    with pytest.raises(Rejected, match="MiB"):
        await App().run(job(tmp_path, server, TWO_STAGES, budget=10))
    assert server.loads == []


async def test_faults_of_the_definition_come_before_anything_loads(tmp_path: Path, server: OllamaServer) -> None:
    with pytest.raises(DefinitionError, match="no agent|agent"):
        await App().run(job(tmp_path, server, TWO_STAGES.replace("coder", "codr")))
    assert server.loads == []


async def test_a_stage_that_raises_ends_the_run_bad_and_says_where(tmp_path: Path, server: OllamaServer) -> None:
    broken = TWO_STAGES.replace('return await reviewer.ask("third", given=[second])', "raise KeyError('gone')")
    result = await App().run(job(tmp_path, server, broken))
    assert (result.status, result.exit_code) == ("bad", 1)
    assert result.error is not None
    assert "stage 'third' raised KeyError" in result.error
    assert "pipeline.py:" in result.error


async def test_an_interrupted_run_is_written_down_and_resumed_without_asking_twice(tmp_path: Path) -> None:
    answered = anyio.Event()
    gates: list[anyio.Event] = []

    def script(_request: Any) -> str:
        if not gates:  # the next call will stand at this gate
            gates.append(server.hold("/api/chat"))
            answered.set()
        return "an answer"

    async with OllamaServer(MODELS, script) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(App().run, job(tmp_path, server, TWO_STAGES))
            await answered.wait()
            await server.reached("/api/chat")
            tasks.cancel_scope.cancel()
        gates[0].set()
        await resume_and_check(server)


async def resume_and_check(server: OllamaServer) -> None:
    record = await JournalReader().run("last")
    assert (record.status, record.exit_code) == ("interrupted", 130)
    done = len([entry for entry in await JournalReader().entries(record.id, "call") if entry.status == "done"])
    assert done == 1
    before = len(server.calls)
    result = await App().run(await resumed(JournalReader(), record.id))
    assert (result.status, result.run_id) == ("good", record.id)
    assert sum(stage.replayed for stage in result.stages) == done
    assert len(server.calls) - before == 3 - done


async def test_a_run_that_reaches_a_limit_ends_bad_and_is_resumed_from_there(
    tmp_path: Path, server: OllamaServer
) -> None:
    first = await App().run(job(tmp_path, server, TWO_STAGES, limits=RunLimits(max_calls=1)))
    assert (first.status, first.exit_code) == ("bad", 1)
    assert "1 call made, max_calls is 1" in (first.error or "")
    assert {stage.name: stage.status for stage in first.stages}["second"] == "failed"
    assert first.limits == {"max_calls": {"used": 1, "limit": 1}}
    assert (len(server.calls), server.resident) == (1, {})
    again = await resumed(JournalReader(), first.run_id)
    assert again.limits == RunLimits(max_calls=1)
    second = await App().run(replace(again, limits=RunLimits(max_calls=2)))
    assert (second.status, sum(stage.replayed for stage in second.stages), len(server.calls)) == ("good", 1, 3)
    assert second.limits == {"max_calls": {"used": 2, "limit": 2}}


async def test_a_run_past_its_deadline_ends_its_calls_and_unloads_and_is_resumed(
    tmp_path: Path, server: OllamaServer
) -> None:
    gate = server.hold("/api/chat")
    first = await App().run(job(tmp_path, server, TWO_STAGES, limits=RunLimits(deadline=0.3)))
    assert (first.status, first.exit_code) == ("bad", 1)
    assert (first.error or "").startswith("the run's deadline of 0.3 s passed; stage first running")
    assert {stage.name: stage.status for stage in first.stages}["first"] == "stopped"
    assert first.limits["deadline"]["limit"] == 0.3
    saved = json.loads((tmp_path / "out/result.json").read_text())
    assert (saved["error"], saved["limits"]) == (first.error, first.limits)
    gate.set()
    await server.idle()
    assert server.resident == {}
    record = await JournalReader().run("last")
    assert (record.status, record.exit_code) == ("bad", 1)
    again = await resumed(JournalReader(), record.id)
    second = await App().run(replace(again, limits=RunLimits(deadline=3600.0)))
    assert (second.status, second.run_id) == ("good", first.run_id)


async def test_a_run_that_failed_before_its_deadline_says_what_failed(tmp_path: Path, server: OllamaServer) -> None:
    text = TWO_STAGES.replace('return await coder.ask("first", given=[task])', 'raise RuntimeError("broken")')
    result = await App().run(job(tmp_path, server, text, limits=RunLimits(deadline=3600.0)))
    assert "broken" in (result.error or "")


CLASSES = """
import anyio
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("classes")


@pipeline.stage
async def asked(coder: Agent) -> str:
    async def ask(prompt: str, priority: str | None) -> None:
        await coder.ask(prompt, priority=priority)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "by itself batch", "batch")
        tasks.start_soon(ask, "as the run", None)
    return "done"
"""


async def test_calls_of_which_nobody_says_otherwise_wait_in_the_class_of_their_run(
    tmp_path: Path, server: OllamaServer
) -> None:
    asked = job(tmp_path, server, CLASSES, priority="interactive")
    config = tmp_path / "agents.toml"
    config.write_text(config.read_text().replace("parallel = 2", "parallel = 1"))
    gate = server.hold("/api/generate")  # both wait for the load
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(App().run, asked)
        await server.reached("/api/generate")
        gate.set()
    assert [call["messages"][-1]["content"] for call in server.calls] == ["as the run", "by itself batch"]


async def test_what_is_said_for_a_run_goes_over_agents_toml(tmp_path: Path, server: OllamaServer) -> None:
    asked = job(tmp_path, server, TWO_STAGES, priority="interactive", limits=RunLimits(max_calls=3))
    config = tmp_path / "agents.toml"
    config.write_text(config.read_text() + '[run]\npriority = "batch"\nmax_calls = 9\nmax_tokens = 99\n')
    async with App().planned(asked) as planned:
        assert planned.settings.run == RunSettings("interactive", RunLimits(max_calls=3, max_tokens=99))
    async with App().planned(replace(asked, priority=None, limits=RunLimits())) as planned:
        assert planned.settings.run == RunSettings("batch", RunLimits(max_calls=9, max_tokens=99))


async def test_a_run_that_ended_well_is_not_resumed(tmp_path: Path, server: OllamaServer) -> None:
    result = await App().run(job(tmp_path, server, TWO_STAGES))
    with pytest.raises(UsageError, match="nothing to resume"):
        await resumed(JournalReader(), result.run_id)


async def test_planning_loads_nothing_and_needs_no_inputs(tmp_path: Path, server: OllamaServer) -> None:
    wanting = TWO_STAGES.replace(', defaults={"task": "do it"}', "")
    async with App().planned(job(tmp_path, server, wanting), need_inputs=False) as planned:
        assert planned.plan.promoted
    assert server.loads == []
    assert isinstance(planned.plan.reason, str)


INPUTS = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("inputs")


@pipeline.stage
async def asked(coder: Agent, text: str, number: int | str, items: list[str]) -> str:
    answer = await coder.ask(text)
    if answer == "broken":
        raise RuntimeError("broken")
    return f"{text}|{number!r}|{items}"
"""


async def test_a_resumed_run_has_the_very_inputs_it_was_begun_with(tmp_path: Path, server: OllamaServer) -> None:
    given = tmp_path / "inputs.json"
    given.write_text(json.dumps({"text": "@dataclass\nclass A: ...", "number": "5", "items": ["@x"]}))
    server._script = lambda _body: "broken"
    first = await App().run(job(tmp_path, server, INPUTS, inputs_file=given))
    assert (first.status, first.exit_code) == ("bad", 1)
    (tmp_path / "pipeline.py").write_text(INPUTS.replace("raise RuntimeError", "answer = str"))
    calls = len(server.calls)
    second = await App().run(await resumed(JournalReader(), first.run_id))
    assert second.outputs == {"asked": "@dataclass\nclass A: ...|'5'|['@x']"}
    assert (second.run_id, second.status, len(server.calls)) == (first.run_id, "good", calls)
    assert [stage.replayed for stage in second.stages] == [1]


async def test_a_run_that_is_still_running_is_not_resumed(tmp_path: Path) -> None:
    async with OllamaServer(MODELS, "an answer") as server:
        gate = server.hold("/api/chat")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(App().run, job(tmp_path, server, TWO_STAGES))
            await server.reached("/api/chat")
            with pytest.raises(UsageError, match=r"is still running, in process \d+"):
                await resumed(JournalReader(), "last")
            gate.set()


@pytest.mark.parametrize("out", ["taken", "/proc"])
async def test_a_folder_that_cannot_be_used_is_said_before_the_run_begins(
    tmp_path: Path, server: OllamaServer, out: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the run's folder"):
        await App().run(replace(job(tmp_path, server, TWO_STAGES), out=tmp_path / out))
    assert server.calls == []
    assert await JournalReader().list_runs() == ()


async def test_an_endpoint_that_dies_makes_the_run_fail_with_exit_code_3(tmp_path: Path, server: OllamaServer) -> None:
    server.fail("/api/chat", "error", times=9)
    result = await App().run(job(tmp_path, server, TWO_STAGES))
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "while running the model" in (result.error or "")
    assert {stage.name: stage.status for stage in result.stages}["first"] == "failed"


async def test_a_report_that_cannot_be_written_does_not_cost_the_result(tmp_path: Path, server: OllamaServer) -> None:
    text = TWO_STAGES.replace(
        "return answer", 'import shutil; shutil.rmtree(run.path); run.path.write_text("")\n    return answer'
    )
    result = await App().run(job(tmp_path, server, text))
    assert (result.status, result.report) == ("good", None)
    (record,) = await JournalReader().list_runs()
    assert (record.status, record.exit_code) == ("good", 0)


def verdict(*, passed: bool) -> Verdict:
    return Verdict(passed=passed, reason="because", tests_run=1, tests_passed=int(passed), tests_failed=int(not passed))


@dataclass
class Carrier:
    verdict: Verdict


def test_the_verdict_of_a_run_is_bad_as_soon_as_one_that_counts_is() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def early() -> Any: ...

    @pipeline.stage
    async def left(early: Any) -> Any: ...

    @pipeline.stage
    async def right(early: Any) -> Any: ...

    graph, good, bad = build_graph(pipeline), verdict(passed=True), verdict(passed=False)
    assert find_verdict({"early": 1, "left": None}, graph) is None
    assert find_verdict({"early": bad}, graph) is bad
    assert find_verdict({"early": bad, "left": Carrier(good)}, graph) is good
    assert find_verdict({"early": good, "left": bad, "right": good}, graph) is bad
    assert find_verdict({"early": good, "left": good, "right": [Carrier(good), bad, good]}, graph) is bad
    assert find_verdict({"right": {"a": good, "b": bad}}, graph) is bad
    assert find_verdict({"right": [[good], [Carrier(good), {"a": (good, bad)}]]}, graph) is bad


TOO_DEEP = """
from vwt_agents import Pipeline

pipeline = Pipeline("deep")


@pipeline.stage
async def deep() -> list:
    found = []
    for _ in range(10_000):
        found = [found]
    return found


@pipeline.stage
async def beside() -> str:
    return "beside"
"""


async def test_a_value_that_cannot_be_written_down_is_no_output_of_its_run(
    tmp_path: Path, server: OllamaServer
) -> None:
    result = await App().run(job(tmp_path, server, TOO_DEEP))
    assert (result.status, result.exit_code) == ("bad", 1)
    assert "stage 'deep' returned what cannot be written down" in str(result.error)
    assert "deep" not in result.outputs


async def test_what_a_run_measured_is_what_the_next_plan_says(tmp_path: Path, server: OllamaServer) -> None:
    asked = job(tmp_path, server, TWO_STAGES)
    config = tmp_path / "agents.toml"
    config.write_text(config.read_text().replace("cpu", "gpu0"))
    await App().run(asked)
    async with App().planned(asked) as planned:
        arithmetic = {spec.model: spec.arithmetic for spec in planned.plan.specs}
    assert "measured here on 20" in arithmetic["large:2b"]
    assert "at num_ctx 2048 x 2" in arithmetic["small:1b"]


TAGS = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("tags")


@pipeline.stage
async def first(coder: Agent) -> str:
    return await coder.ask("first")


@pipeline.stage
async def second(mine: Agent) -> str:
    return await mine.ask("second")
"""


async def test_two_tags_of_the_same_weights_are_loaded_once_and_each_is_asked_by_its_own_name(tmp_path: Path) -> None:
    models = {"small:1b": ServedModel(300, weights="w"), "mine:1b": ServedModel(300, weights="w")} | {
        "large:2b": MODELS["large:2b"]
    }
    async with OllamaServer(models, "an answer", parallel=2) as server:
        asked = job(tmp_path, server, TAGS)
        config = tmp_path / "agents.toml"
        text = config.read_text().replace('models = ["small:1b"]', 'models = ["small:1b", "mine:1b"]')
        config.write_text(text + '[agents.mine]\nmodel = "mine:1b"\nnum_ctx = 4096\ntier = "small"\n')
        result = await App().run(asked)
        assert (result.status, result.loads, len(server.loads), server.resident) == ("good", 1, 1, {})
        assert sorted(call["model"] for call in server.calls) == ["mine:1b", "small:1b"]
        assert {call["options"]["num_ctx"] for call in server.calls} == {4096}
        assert {stage.name: stage.model for stage in result.stages} == {"first": "small:1b", "second": "mine:1b"}


UNPROVEN = PROOF.replace("@pipeline.stage", '@pipeline.stage(on_error="skip")').replace(
    "return await", "raise ValueError; await"
)


async def test_a_run_whose_proof_was_skipped_is_bad_and_when_resumed_does_it_again(
    tmp_path: Path, server: OllamaServer
) -> None:
    result = await App().run(job(tmp_path, server, UNPROVEN))
    assert (result.status, result.exit_code, result.error) == ("bad", 1, "no verdict: proven was skipped")
    (tmp_path / "pipeline.py").write_text(PROOF)
    assert (await App().run(await resumed(JournalReader(), result.run_id))).status == "good"


@pytest.mark.parametrize("body", ["await sandbox.test", "return None; await sandbox.test"])
async def test_a_run_whose_proof_returned_no_verdict_is_bad(tmp_path: Path, server: OllamaServer, body: str) -> None:
    """A forgotten `return` must not be taken for a verdict."""
    assert "return await sandbox.test" in PROOF
    result = await App().run(job(tmp_path, server, PROOF.replace("return await sandbox.test", body)))
    assert (result.status, result.exit_code, result.verdict) == ("bad", 1, None)
    assert result.error == "no verdict: proven gave none"


SEVERAL = """
from vwt_agents import Pipeline, Verdict

pipeline = Pipeline("several", defaults={"numbers": [0, 1]})


@pipeline.stage(each={"number": "numbers"}, on_error="skip")
async def proven(number: int) -> Verdict:
    return Verdict(passed=bool(1 / number), reason="yes", tests_run=1, tests_passed=1, tests_failed=0)
"""
IN_ALL = """

@pipeline.stage
async def in_all(proven: list[Verdict]) -> Verdict:
    return Verdict(passed=True, reason="yes", tests_run=1, tests_passed=1, tests_failed=0)
"""


async def test_a_run_that_left_out_what_it_could_not_prove_is_bad(tmp_path: Path, server: OllamaServer) -> None:
    result = await App().run(job(tmp_path, server, SEVERAL))
    assert (result.status, result.stages[0].status) == ("bad", "partial")
    assert result.error == "no verdict: proven left some of its items out"
    assert len(result.outputs["proven"]) == 1


async def test_a_run_that_had_nothing_to_prove_says_that_it_verified_nothing(
    tmp_path: Path, server: OllamaServer
) -> None:
    """Where no tests are a failure, no items to test are none the less."""
    nothing = SEVERAL.replace("[0, 1]", "[]")
    result = await App().run(job(tmp_path, server, nothing))
    assert (result.status, result.exit_code, result.verdict) == ("bad", 1, None)
    assert (result.error or "").startswith(
        "no verdict: proven had no items, so it verified nothing (where that is fine"
    )


@pytest.mark.parametrize("more", ["", IN_ALL], ids=["it may give none", "a later verdict counts in its place"])
async def test_a_run_may_have_nothing_to_prove_where_its_types_say_so(
    tmp_path: Path, server: OllamaServer, more: str
) -> None:
    may = SEVERAL.replace("[0, 1]", "[]") + more
    result = await App().run(job(tmp_path, server, may if more else may.replace("-> Verdict", "-> Verdict | None")))
    assert (result.status, result.error) == ("good", None)


async def test_a_run_of_which_all_is_done_is_resumed_to_the_same_end(tmp_path: Path, server: OllamaServer) -> None:
    text = (
        TWO_STAGES
        + "\n\nfrom vwt_agents import Verdict\n\n\n@pipeline.stage\nasync def verdict(third: str) -> Verdict:\n"
    )
    text += '    return Verdict(passed=False, reason="no", tests_run=1, tests_passed=0, tests_failed=1)\n'
    first = await App().run(job(tmp_path, server, text))
    asked, loads = len(server.calls), len(server.loads)
    again = await App().run(await resumed(JournalReader(), first.run_id))
    assert (again.status, again.verdict) == ("bad", first.verdict)
    assert {stage.status for stage in again.stages} == {"kept"}
    assert (len(server.calls), len(server.loads)) == (asked, loads)


@pytest.mark.slow
async def test_a_stage_past_its_time_leaves_no_process_of_its_sandbox_and_no_half_file(
    tmp_path: Path, server: OllamaServer
) -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    endless = PROOF.replace("import Pipeline, Sandbox", "import Pipeline, Run, Sandbox").replace(
        "@pipeline.stage", '@pipeline.stage(timeout="2s", retries=1, backoff="10ms")'
    )
    before = children()
    result = await App().run(job(tmp_path, server, endless, pairs=["code=while True: pass"]))
    assert (result.status, result.stages[0].retries) == ("bad", 1)
    assert "took longer than its limit of 2 s" in (result.error or "")
    assert children() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log.jsonl", "report.md", "result.json"]
