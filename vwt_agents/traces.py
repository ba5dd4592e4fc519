"""Traces: a run as OpenTelemetry spans and metrics, where an OTLP endpoint is set. Owns their names; decides nothing.

    invoke_workflow PIPELINE            the run
    ├── load MODEL                      and unload
    └── stage STAGE
        ├── queue MODEL                 what a call waited for its slot, where it waited
        ├── chat MODEL                  the call itself, with the gen_ai.* attributes
        ├── sandbox test                and run
        └── attempt N                   of a repair: from its first call or test to its last
            └── queue, chat, sandbox

Names are those of OpenTelemetry's GenAI conventions (github.com/open-telemetry/semantic-conventions-genai, v0.1.0), which may
still change; what they do not know is called `vwt.*`. Nothing of OpenTelemetry is imported where it is off.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.to_thread

from vwt_agents.errors import VwtError
from vwt_agents.eventlog import bound_keys, get_logger
from vwt_agents.sandbox.service import Sandbox
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind

    from vwt_agents.board import Board, Swap
    from vwt_agents.messages import Caller, OnChunk, Request, Response
    from vwt_agents.result import RunResult
    from vwt_agents.sandbox.judge import Verdict
    from vwt_agents.types import Seconds

__all__ = ["Engine", "Observer", "Providers", "Traces", "Unobserved", "observer", "providers"]

log = get_logger(__name__)

_SCOPE: Final = "vwt_agents"
_FLUSH_S: Final[Seconds] = 5.0
_WAITED: Final[Seconds] = 0.001  # a slot that was free took less to get
_ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# The boundaries the conventions advise.
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))


@dataclass(frozen=True, slots=True)
class Engine:
    """What answers at an endpoint: `ollama` or `llama.cpp`, and where its server is, if it has an address."""

    provider: str
    address: str = ""
    port: int = 0

    def attributes(self) -> dict[str, Any]:
        """As spans and metrics have it."""
        named: dict[str, Any] = {"gen_ai.provider.name": self.provider}
        return {**named, "server.address": self.address, "server.port": self.port} if self.address else named


class Observer(Protocol):
    """What a run is watched by: `Traces`, or nobody."""

    def caller(self, inner: Caller) -> Caller:
        """The caller, with its calls watched."""
        ...

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """The sandbox, with what is run in it watched."""
        ...

    async def ended(self, result: RunResult) -> None:
        """The run is over. Never raises, and takes a few seconds at most."""
        ...


class Unobserved:
    """Nobody watches: nothing is wrapped."""

    def caller(self, inner: Caller) -> Caller:
        """As it is."""
        return inner

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """As it is."""
        return inner

    async def ended(self, result: RunResult) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Providers:
    """Where spans and metrics go; `close` sends what is left and may block for seconds."""

    tracers: TracerProvider
    meters: MeterProvider
    close: Callable[[], None]


def providers(say: Callable[[str], None]) -> Providers | None:
    """Exporters over OTLP/HTTP as the OTEL_* variables set them; None where they set no endpoint.

    Where the packages are missing, `say` is told what installs them.
    """
    wanted = any(os.environ.get(name, "").strip() for name in _ENDPOINTS)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        say(f"note: no traces, because {error.name} is not installed: pip install 'vwt-agents[otel]'")
        return None
    from importlib.metadata import version

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "vwt-agents"}
    resource = Resource.create({**named, "service.version": version("vwt-agents")})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource, shutdown_on_exit=False)

    def close() -> None:
        tracers.shutdown()
        meters.shutdown(timeout_millis=_FLUSH_S * 1000)

    return Providers(tracers, meters, close)


def observer(
    found: Providers | None,
    *,
    run: str,
    pipeline: str,
    board: Board,
    engines: Mapping[str, Engine],
    attributes: Mapping[str, Any],
) -> Observer:
    """What watches a run from now on: its spans go where the providers say; nobody where there are none."""
    if found is None:
        return Unobserved()
    content = os.environ.get(_CONTENT, "").strip().lower() == "true"
    return Traces(
        found, run=run, pipeline=pipeline, board=board, engines=engines, attributes=attributes, content=content
    )


@dataclass(slots=True)
class _Open:
    """A span that has begun, and when the last of what is in it ended."""

    span: Span
    last: Seconds


@dataclass(slots=True)
class _Spans:
    """Those of a stage: its own, and of each item the attempt that goes on."""

    own: Span
    attempts: dict[str, tuple[str, _Open]] = field(default_factory=dict)


class Traces:
    """One run's spans and metrics. `content`: prompts and answers too, which leave this machine then."""

    def __init__(
        self,
        to: Providers,
        *,
        run: str,
        pipeline: str,
        board: Board,
        engines: Mapping[str, Engine],
        attributes: Mapping[str, Any],
        content: bool = False,
        clock: Callable[[], Seconds] = anyio.current_time,
    ) -> None:
        from opentelemetry.trace import SpanKind

        self._to = to
        self._board = board
        self._engines = engines
        self._content = content
        self._clock = clock
        self._kind = SpanKind
        self._epoch = time.time_ns() - int(clock() * 1e9)
        self._tracer = to.tracers.get_tracer(_SCOPE)
        self._meter()
        self._run = self._begin(
            f"invoke_workflow {pipeline}",
            None,
            clock(),
            {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.agent.name": pipeline,
                "vwt.run.id": run,
                **attributes,
            },
        )
        self._stages: dict[str, _Spans] = {}
        self._ended: set[str] = set()
        self._swaps = len(board.swaps)
        board.on_change.append(self._look)

    def _meter(self) -> None:
        meter = self._to.meters.get_meter(_SCOPE)
        seconds, tokens = list(_SECONDS), list(_TOKENS)
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=seconds,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=tokens,
        )
        self._waits = meter.create_histogram(
            "vwt.call.wait",
            "s",
            "Wait of a call for its slot, loads included.",
            explicit_bucket_boundaries_advisory=seconds,
        )
        self._loads = meter.create_histogram(
            "vwt.model.load.duration", "s", "Load of a model into memory.", explicit_bucket_boundaries_advisory=seconds
        )
        meter.create_observable_gauge("vwt.device.memory.models", [self._resident], "By", "Memory of loaded models.")
        meter.create_observable_gauge("vwt.device.memory.budget", [self._budgets], "By", "Memory models may take.")

    # -- what a run is watched through --------------------------------------------------------------------------------

    def caller(self, inner: Caller) -> Caller:
        """The caller, a span for each of its calls."""
        return _TracedCaller(inner, self)

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """The sandbox, a span for each program it runs."""
        return _TracedSandbox(inner, self)

    async def ended(self, result: RunResult) -> None:
        """End what is open, and send it; what nobody takes within a few seconds is lost, and the log says so."""
        now = self._clock()
        self._look()
        self._board.on_change.remove(self._look)
        for name in list(self._stages):
            self._end_stage(name, now, self._board.stages[name].status)
        self._run.set_attributes({"vwt.run.status": result.status, "vwt.run.exit_code": result.exit_code})
        if result.error is not None:
            _failed(self._run, result.status, result.error)
        self._run.end(self._ns(now))
        with anyio.move_on_after(_FLUSH_S) as limit:
            try:
                await anyio.to_thread.run_sync(self._to.close, abandon_on_cancel=True)
            except Exception as error:  # noqa: BLE001 - whatever ails an exporter, the run is over and stays what it was
                log.warning("traces.not_sent", error=f"{type(error).__name__}: {error}")
        if limit.cancelled_caught:
            log.warning("traces.not_sent", error=f"the collector took nothing for {_FLUSH_S:g} s")

    def called(self, request: Request, began: Seconds, response: Response | None, error: BaseException | None) -> None:
        """One call is over: with an answer, or with an error."""
        now = self._clock()
        labels = request.labels
        wait = min(response.usage.wait_s, now - began) if response is not None else 0.0
        parent = self._parent(labels.get("stage", ""), labels.get("item", ""), labels.get("attempt", "0"), began, now)
        endpoint = response.endpoint if response is not None else request.endpoint
        common = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": request.model,
            **self._engines.get(endpoint, Engine(endpoint)).attributes(),
        }
        if error is not None:
            common["error.type"] = type(error).__name__
        if response is not None:
            common["gen_ai.response.model"] = response.model
        if wait >= _WAITED and response is not None:
            waited = {"vwt.wait.load_s": response.usage.load_s, "vwt.endpoint": endpoint}
            self._begin(f"queue {request.model}", parent, began, waited).end(self._ns(began + wait))
        own = {**common, **_asked(request), **(_answered(response) if response is not None else {})}
        if self._content:
            own |= _content(request, response)
        span = self._begin(f"chat {request.model}", parent, began + wait, own, self._kind.CLIENT)
        if error is not None:
            _failed(span, type(error).__name__, error.message if isinstance(error, VwtError) else str(error))
        span.end(self._ns(now))
        self._count(common, now - began - wait, wait, response)

    def ran(self, what: str, began: Seconds, attributes: Mapping[str, Any], error: BaseException | None = None) -> None:
        """One program in the sandbox is over."""
        now, keys = self._clock(), bound_keys()
        parent = self._parent(
            str(keys.get("stage", "")), str(keys.get("item", "")), str(keys.get("attempt", "0")), began, now
        )
        span = self._begin(f"sandbox {what}", parent, began, attributes)
        if error is not None:
            _failed(span, type(error).__name__, str(error))
        span.end(self._ns(now))

    # -- spans ------------------------------------------------------------------------------------------------------------

    def _ns(self, moment: Seconds) -> int:
        return self._epoch + int(moment * 1e9)

    def _begin(
        self, name: str, parent: Span | None, at: Seconds, attributes: Mapping[str, Any], kind: SpanKind | None = None
    ) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        # The run's own span continues whatever the process that started it was in; all others have their place by name.
        context = set_span_in_context(parent, Context()) if parent is not None else None
        return self._tracer.start_span(
            name, context, kind or self._kind.INTERNAL, attributes=attributes, start_time=self._ns(at)
        )

    def _parent(self, stage: str, item: str, attempt: str, began: Seconds, now: Seconds) -> Span:
        """What a call or a test belongs to: the attempt it is part of, else the stage, else the run."""
        self._look()
        spans = self._stages.get(stage)
        if spans is None:
            return self._run
        if attempt == "0":
            return spans.own
        number, going = spans.attempts.get(item, ("", None))
        if going is None or number != attempt:
            if going is not None:
                going.span.end(self._ns(going.last))
            said = {"vwt.attempt": int(attempt), **({"vwt.item": item} if item else {})}
            going = _Open(self._begin(f"attempt {attempt}", spans.own, began, said), now)
            spans.attempts[item] = (attempt, going)
        going.last = max(going.last, now)
        return going.span

    def _look(self) -> None:
        """Begin and end the spans of stages and loads by what the board has of them now."""
        for name, line in self._board.stages.items():
            if line.started is not None and name not in self._stages and name not in self._ended:
                agents = {"vwt.agents": line.agents} if line.agents else {}
                self._stages[name] = _Spans(
                    self._begin(f"stage {name}", self._run, line.started, {"vwt.stage": name, **agents})
                )
            if line.ended is not None and name in self._stages:
                self._end_stage(name, line.ended, line.status)
        for swap in self._board.swaps[self._swaps :]:
            self._swapped(swap)
        self._swaps = len(self._board.swaps)

    def _end_stage(self, name: str, at: Seconds, status: str) -> None:
        spans = self._stages.pop(name)
        self._ended.add(name)
        for _number, going in spans.attempts.values():
            going.span.end(self._ns(going.last))
        spans.own.set_attribute("vwt.stage.status", status)
        if status == "failed":
            _failed(spans.own, "stage_failed", self._board.stages[name].note)
        spans.own.end(self._ns(at))

    def _swapped(self, swap: Swap) -> None:
        where = {"gen_ai.request.model": swap.model, "vwt.endpoint": swap.endpoint, "vwt.device": swap.device}
        more = {"vwt.memory": swap.mib * MIB, **({"vwt.why": swap.why} if swap.why else {})}
        span = self._begin(f"{swap.kind} {swap.model}", self._run, swap.at - swap.seconds, {**where, **more})
        if not swap.ok:
            _failed(span, f"{swap.kind}_failed", swap.why)
        span.end(self._ns(swap.at))
        if swap.kind == "load":
            self._loads.record(swap.seconds, {**where, **({} if swap.ok else {"error.type": "load_failed"})})

    # -- metrics ----------------------------------------------------------------------------------------------------------

    def _count(self, common: dict[str, Any], seconds: Seconds, wait: Seconds, response: Response | None) -> None:
        self._durations.record(max(0.0, seconds), common)
        if response is None:
            return
        self._waits.record(wait, {"gen_ai.request.model": common["gen_ai.request.model"]})
        self._tokens.record(response.usage.prompt_tokens, {**common, "gen_ai.token.type": "input"})
        self._tokens.record(response.usage.output_tokens, {**common, "gen_ai.token.type": "output"})

    def _resident(self, _options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        loaded = [line for line in list(self._board.models.values()) if line.phase != "out"]
        for device in list(self._board.budgets):
            taken = sum(line.footprint for line in loaded if line.device == device)
            yield Observation(taken * MIB, {"vwt.device": device})

    def _budgets(self, _options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        return [Observation(mib * MIB, {"vwt.device": device}) for device, mib in list(self._board.budgets.items())]


class _TracedCaller:
    """A span for each call of the inner one."""

    __slots__ = ("_inner", "_traces")

    def __init__(self, inner: Caller, traces: Traces) -> None:
        self._inner = inner
        self._traces = traces

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the inner one."""
        began = anyio.current_time()
        try:
            response = await self._inner.call(request, on_chunk)
        except BaseException as error:
            self._traces.called(request, began, None, error)
            raise
        self._traces.called(request, began, response, None)
        return response


class _TracedSandbox(Sandbox):
    """A span for each program the inner one runs."""

    def __init__(self, inner: Sandbox, traces: Traces) -> None:
        super().__init__(inner.backend, limits=inner.limits)
        self._traces = traces

    async def test(self, *args: Any, **how: Any) -> Verdict:
        """As the inner one."""
        began = anyio.current_time()
        try:
            verdict = await super().test(*args, **how)
        except BaseException as error:
            self._traces.ran("test", began, self._about(), error)
            raise
        said = {
            "vwt.verdict.passed": verdict.passed,
            "vwt.verdict.reason": verdict.reason,
            "vwt.verdict.integrity": verdict.integrity,
            "vwt.tests.passed": verdict.tests_passed,
            "vwt.tests.failed": verdict.tests_failed,
        }
        self._traces.ran("test", began, {**self._about(), **said})
        return verdict

    async def run(self, *args: Any, **how: Any) -> Any:
        """As the inner one."""
        began = anyio.current_time()
        try:
            result = await super().run(*args, **how)
        except BaseException as error:
            self._traces.ran("run", began, self._about(), error)
            raise
        self._traces.ran("run", began, {**self._about(), "process.exit.code": result.exit_code})
        return result

    def _about(self) -> dict[str, Any]:
        return {"vwt.sandbox.backend": self.backend.name, "vwt.sandbox.level": self.backend.level}


def _failed(span: Span, kind: str, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, why))


def _asked(request: Request) -> dict[str, Any]:
    options, labels = request.options, request.labels
    named = {
        "gen_ai.agent.name": labels.get("agent"),
        "gen_ai.output.type": "json" if request.format is not None else "text",
        "gen_ai.request.temperature": options.temperature,
        "gen_ai.request.top_p": options.top_p,
        "gen_ai.request.top_k": options.top_k,
        "gen_ai.request.seed": options.seed,
        "gen_ai.request.max_tokens": options.num_predict,
        "gen_ai.request.stop_sequences": options.stop or None,
        "vwt.stage": labels.get("stage"),
        "vwt.item": labels.get("item"),
        "vwt.call.id": labels.get("call"),
        "vwt.tier": labels.get("tier"),
        "vwt.endpoint": request.endpoint,
        "vwt.num_ctx": request.num_ctx,
    }
    return {name: value for name, value in named.items() if value is not None}


def _answered(response: Response) -> dict[str, Any]:
    usage = response.usage
    named = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.response.finish_reasons": (response.done_reason,),
        "vwt.endpoint": response.endpoint,
    }
    return {name: value for name, value in named.items() if value is not None}


def _content(request: Request, response: Response | None) -> dict[str, str]:
    """Prompt and answer in the form the conventions give them."""
    system = [_part(message.content) for message in request.messages if message.role == "system"]
    asked = [
        {"role": message.role, "parts": [_part(message.content)]}
        for message in request.messages
        if message.role != "system"
    ]
    found = {"gen_ai.input.messages": json.dumps(asked)}
    if system:
        found["gen_ai.system_instructions"] = json.dumps(system)
    if response is not None:
        said = {"role": "assistant", "parts": [_part(response.text)], "finish_reason": response.done_reason}
        found["gen_ai.output.messages"] = json.dumps([said])
    return found


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}
