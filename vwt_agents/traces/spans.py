"""Traces: a run as OpenTelemetry spans and metrics. Owns which spans there are and in which they are; decides nothing.

    invoke_workflow PIPELINE            the run
    ├── load MODEL                      and unload
    └── stage STAGE
        ├── queue MODEL                 what a call waited for its slot, where it waited
        ├── chat MODEL                  the call itself, with the gen_ai.* attributes
        ├── sandbox test                and run
        └── attempt N                   of a repair: from its first call or test to its last
            └── queue, chat, sandbox

Names are those of OpenTelemetry's GenAI conventions (github.com/open-telemetry/semantic-conventions-genai, v0.1.0), which may
still change; what they do not know is called `vwt.*`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.errors import VwtError
from vwt_agents.eventlog import bound_keys, get_logger
from vwt_agents.traces.attributes import Engine, answered, asked, content
from vwt_agents.traces.observer import ObservedCaller, ObservedSandbox
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.trace import Span, SpanKind

    from vwt_agents.board import Board, Swap
    from vwt_agents.messages import Caller, Request, Response
    from vwt_agents.result import RunResult
    from vwt_agents.sandbox.service import Sandbox
    from vwt_agents.traces.otlp import Providers
    from vwt_agents.types import Seconds

__all__ = ["Traces"]

log = get_logger(__name__)

_SCOPE: Final = "vwt_agents"
_FLUSH_S: Final[Seconds] = 5.0
_INTERRUPTED_S: Final[Seconds] = 0.5
"""Who presses Ctrl-C is not kept waiting."""
_WAITED: Final[Seconds] = 0.001  # a slot that was free took less to get
# The boundaries the conventions advise.
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))


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
        board.watch(self._look)

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
        return ObservedCaller(inner, self)

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """The sandbox, a span for each program it runs."""
        return ObservedSandbox(inner, self)

    async def ended(self, result: RunResult) -> None:
        """End what is open, and send it; what nobody takes within a few seconds is lost, and the log says so."""
        now = self._clock()
        self._look()
        self._board.unwatch(self._look)
        for name in list(self._stages):
            self._end_stage(name, now, self._board.stages[name].status)
        self._run.set_attributes({"vwt.run.status": result.status, "vwt.run.exit_code": result.exit_code})
        if result.error is not None:
            _failed(self._run, result.status, result.error)
        self._run.end(self._ns(now))
        why = await self._send(_INTERRUPTED_S if result.status == "interrupted" else _FLUSH_S)
        if why:
            log.warning("traces.not_sent", error=why)
            self._board.say(f"note: traces were not sent: {why}")

    async def _send(self, limit: Seconds) -> str:
        """Why what is left was not sent in time; empty where it was."""
        loop, sent, faults = asyncio.get_running_loop(), anyio.Event(), list[str]()

        def closing() -> None:
            try:
                self._to.close()
            except Exception as error:  # noqa: BLE001 - whatever ails an exporter, the run is over and stays what it was
                faults.append(str(error) if isinstance(error, ConnectionError) else f"{type(error).__name__}: {error}")
            with suppress(RuntimeError):  # nobody has waited so long
                loop.call_soon_threadsafe(sent.set)

        Thread(target=closing, daemon=True).start()  # of our own: one that hangs must not hold the process
        with anyio.move_on_after(limit):
            await sent.wait()
            return faults[0] if faults else ""
        return f"the collector took nothing for {limit:g} s"

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
        own = {**common, **asked(request), **(answered(response) if response is not None else {})}
        if self._content:
            own |= content(request, response)
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
            _failed(spans.own, "stage_failed")
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


def _failed(span: Span, kind: str, why: str | None = None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, why))
