"""Promises of traces: the spans of a run are a tree that says what happened, named as OpenTelemetry's conventions name it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from two_models import CONFIG

from vwt_agents.app import App, Job
from vwt_agents.board import Board
from vwt_agents.errors import CallTimeout
from vwt_agents.messages import Message, Request, Response, Usage
from vwt_agents.testing import VwtApp
from vwt_agents.traces import Engine, Providers, providers
from vwt_agents.traces.spans import Traces

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.result import RunResult

REPAIR = """
from vwt_agents import Agent, Pipeline, Run, Sandbox, Verdict

pipeline = Pipeline("repair", defaults={"task": "it"})
TEST = "from solution import f\\ndef test(): assert f() == 1\\n"


@pipeline.stage
async def plan(reviewer: Agent, task: str) -> str:
    return await reviewer.ask("Plan.", given=[task])


@pipeline.stage
async def proven(coder: Agent, sandbox: Sandbox, run: Run, plan: str) -> Verdict:
    async for attempt in run.attempts(3):
        code = await coder.ask(f"Write, {attempt.number}.")
        verdict = await sandbox.test(code, TEST)
        if await attempt.record(verdict):
            break
    return verdict
"""
TALK = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("talk", defaults={"task": "it"})


@pipeline.stage
async def plan(reviewer: Agent, task: str) -> str:
    return await reviewer.ask("Plan.", given=[task])


@pipeline.stage
async def written(coder: Agent, plan: str) -> list[str]:
    return [await coder.ask(f"Write, {n}.", temperature=0.5, num_predict=9, seed=3, stop=["x"]) for n in (1, 2)]
"""
EACH = """
from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("each", defaults={"names": ["a", "b"]})


@pipeline.stage(each={"name": "names"})
async def one(coder: Agent, run: Run, name: str) -> str:
    async for attempt in run.attempts(1):
        return await coder.ask(name)
"""


class Collected:
    """What a run would have sent."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.metrics = InMemoryMetricReader()
        self.closed = 0

    def __call__(self, _say: object) -> Providers:
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))

        def close() -> None:
            self.measured = {
                metric.name: list(metric.data.data_points)
                for resource in self.metrics.get_metrics_data().resource_metrics  # type: ignore[union-attr]
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
            self.closed += 1

        return Providers(tracers, MeterProvider([self.metrics], shutdown_on_exit=False), close)

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.all(name)
        return found

    def all(self, name: str) -> list[ReadableSpan]:
        found = [span for span in self.spans.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def tree(self) -> Any:
        """Names by the names they are in, in the order in which they began; without waits, which depend on the moment."""
        found = [span for span in self.spans.get_finished_spans() if not span.name.startswith("queue ")]
        spans = sorted(found, key=lambda span: (span.start_time or 0, span.end_time or 0))
        ids = {span.context.span_id for span in spans}
        assert all(span.parent is None or span.parent.span_id in ids for span in spans), "no span is lost"

        def below(parent: int | None) -> list[Any]:
            inside = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
            return [(span.name, lower) if (lower := below(span.context.span_id)) else span.name for span in inside]

        return below(None)


ANSWERS = {"reviewer": "the plan", "coder": ["def f(): return 2\n", "def f(): return 1\n"]}


@pytest.fixture
def collected() -> Collected:
    return Collected()


async def run(folder: Path, text: str, telemetry: Any, answers: Any = ANSWERS) -> RunResult:
    """The result of a run with these answers."""
    file = folder / "pipeline.py"
    file.write_text(text)
    (folder / "agents.toml").write_text(CONFIG.format(url="http://127.0.0.1:11434", budget="4000 MiB"))
    outside = VwtApp(folder, root=folder, here=folder)._answered(answers, None)
    return await App(outside=replace(outside, telemetry=telemetry)).run(Job(file, out=folder / "out"))


async def test_a_run_is_a_tree_of_stages_attempts_calls_and_tests(tmp_path: Path, collected: Collected) -> None:
    result = await run(tmp_path, REPAIR, collected)
    assert result.status == "good"
    ((root, inside),) = collected.tree()
    assert root == "invoke_workflow repair"
    loads = ["load small:1b", "unload small:1b"]
    assert [span for span in inside if span in loads] == loads
    attempts = [(f"attempt {number}", ["chat small:1b", "sandbox test"]) for number in (1, 2)]
    assert [span for span in inside if span not in loads] == [
        ("stage plan", ["chat small:1b"]),
        ("stage proven", attempts),
    ]
    assert collected.closed == 1
    first, second = collected.all("sandbox test")
    assert (first.attributes["vwt.verdict.passed"], second.attributes["vwt.verdict.passed"]) == (False, True)
    assert second.attributes["vwt.tests.passed"] == 1
    for span in collected.spans.get_finished_spans():
        assert span.start_time <= span.end_time
        assert span.status.status_code is StatusCode.UNSET


async def test_a_call_has_the_attributes_of_the_conventions_and_no_word_of_its_prompt(
    tmp_path: Path, collected: Collected
) -> None:
    await run(tmp_path, TALK, collected)
    span = collected.all("chat small:1b")[1]
    assert span.kind is SpanKind.CLIENT
    said = dict(span.attributes)
    assert {name: value for name, value in said.items() if not name.startswith("vwt.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.agent.name": "coder",
        "gen_ai.output.type": "text",
        "gen_ai.request.model": "small:1b",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.response.model": "small:1b",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": said["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": said["gen_ai.usage.output_tokens"],
        "server.address": "127.0.0.1",
        "server.port": 11434,
    }
    assert (said["vwt.stage"], said["vwt.call.id"], said["vwt.endpoint"]) == ("written", "2", "here")
    assert not [
        value
        for span in collected.spans.get_finished_spans()
        for value in span.attributes.values()
        if "Write, 1" in str(value)
    ]


async def test_prompts_and_answers_are_there_only_where_they_were_asked_for(
    tmp_path: Path, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    await run(tmp_path, TALK, collected)
    said = collected.all("chat small:1b")[1].attributes
    assert json.loads(said["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Write, 1."}]}
    ]
    assert json.loads(said["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "def f(): return 2\n"}], "finish_reason": "stop"}
    ]


async def test_metrics_count_tokens_calls_waits_and_memory(tmp_path: Path, collected: Collected) -> None:
    result = await run(tmp_path, TALK, collected)
    tokens = {point.attributes["gen_ai.token.type"]: point for point in collected.measured["gen_ai.client.token.usage"]}
    assert tokens["input"].count == tokens["output"].count == 3
    assert tokens["input"].sum == sum(stage.prompt_tokens for stage in result.stages)
    assert tokens["output"].sum == sum(stage.output_tokens for stage in result.stages)
    assert tuple(tokens["input"].explicit_bounds) == tuple(4**power for power in range(14))
    (calls,) = collected.measured["gen_ai.client.operation.duration"]
    assert calls.count == 3
    assert (calls.explicit_bounds[0], calls.explicit_bounds[-1]) == (0.01, 81.92)
    assert calls.attributes["gen_ai.provider.name"] == "ollama"
    assert sum(point.count for point in collected.measured["vwt.call.wait"]) == 3
    assert sum(point.count for point in collected.measured["vwt.model.load.duration"]) == result.loads
    budgets = {point.attributes["vwt.device"]: point.value for point in collected.measured["vwt.device.memory.budget"]}
    assert budgets["cpu"] == 4000 * 1024 * 1024
    assert "vwt.device.memory.models" in collected.measured


async def test_a_failure_is_on_the_call_the_stage_and_the_run(tmp_path: Path, collected: Collected) -> None:
    result = await run(tmp_path, TALK, collected, lambda _: CallTimeout("too slow"))
    assert result.status != "good"
    call, stage = collected.all("chat small:1b")[-1], collected.one("stage plan")
    whole = collected.one("invoke_workflow talk")
    assert call.attributes["error.type"] == "CallTimeout"
    assert (stage.attributes["error.type"], stage.attributes["vwt.stage.status"]) == ("stage_failed", "failed")
    assert (whole.attributes["error.type"], whole.attributes["vwt.run.exit_code"]) == (result.status, result.exit_code)
    assert [span.status.status_code for span in (call, stage, whole)] == [StatusCode.ERROR] * 3
    assert collected.measured["gen_ai.client.operation.duration"][0].attributes["error.type"] == "CallTimeout"


async def test_the_attempts_of_items_side_by_side_are_apart(tmp_path: Path, collected: Collected) -> None:
    await run(tmp_path, EACH, collected)
    attempts = collected.all("attempt 1")
    assert sorted(span.attributes["vwt.item"] for span in attempts) == ["0", "1"]
    assert {span.parent.span_id for span in collected.all("chat small:1b")} == {
        span.context.span_id for span in attempts
    }


async def test_a_collector_that_fails_does_not_fail_the_run(tmp_path: Path, collected: Collected) -> None:
    def failing(say: object) -> Providers:
        def close() -> None:
            raise ConnectionError("nobody there")

        return replace(collected(say), close=close)

    result = await run(tmp_path, TALK, failing)
    assert result.status == "good"
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [line["error"] for line in lines if line["event"] == "traces.not_sent"] == ["nobody there"]


def test_the_wait_for_a_slot_is_a_span_before_that_of_the_call(collected: Collected) -> None:
    now = [10.0]
    traces = Traces(
        collected(None),
        run="r",
        pipeline="p",
        board=Board(),
        engines={"here": Engine("ollama")},
        attributes={},
        clock=lambda: now[0],
    )
    now[0] = 16.0
    usage = Usage(wait_s=4.0, load_s=3.0)
    traces.called(Request("here", "m", (Message("user", "x"),), 1), 11.0, Response("y", "m", "here", usage=usage), None)
    queue, chat = collected.one("queue m"), collected.one("chat m")
    assert queue.attributes["vwt.wait.load_s"] == 3.0
    assert queue.parent == chat.parent
    assert queue.end_time == chat.start_time
    assert ((queue.end_time - queue.start_time) / 1e9, (chat.end_time - chat.start_time) / 1e9) == (4.0, 1.0)


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, True),
    ],
)
def test_spans_are_sent_only_where_an_endpoint_is_set(
    environment: dict[str, str], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = providers(pytest.fail)
    assert (found is not None) is on
    if found is not None:
        assert found.tracers.resource.attributes["service.name"] == "vwt-agents"
        found.tracers.shutdown()
        found.meters.shutdown(timeout_millis=1)


def test_without_the_packages_a_line_says_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    said: list[str] = []
    assert providers(said.append) is None
    assert said == ["note: no traces, because opentelemetry.sdk.trace is not installed: pip install 'vwt-agents[otel]'"]


def test_a_variable_that_makes_no_sense_is_said_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "999999999")
    said: list[str] = []
    assert providers(said.append) is None
    assert len(said) == 1
    assert said[0].startswith("note: no traces: ValueError: ")


async def test_a_collector_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, collected: Collected) -> None:
    held = threading.Event()

    def hanging(say: object) -> Providers:
        return replace(collected(say), close=held.wait)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("vwt_agents.traces.spans._FLUSH_S", 0.01)
        result = await run(tmp_path, TALK, hanging)
    held.set()
    assert result.status == "good"
    assert "the collector took nothing for 0.01 s" in (tmp_path / "out/log.jsonl").read_text()


def test_where_it_is_off_nothing_of_opentelemetry_is_imported() -> None:
    code = "import sys, vwt_agents.app, vwt_agents.traces; print(*[name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
