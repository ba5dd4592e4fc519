"""Where spans and metrics go: exporters over OTLP/HTTP as the OTEL_* variables set them. Owns the imports of the exporters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from vwt_agents.types import Seconds

__all__ = ["Providers", "providers"]

_EXPORT_S: Final[Seconds] = 3.0
_ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


@dataclass(frozen=True, slots=True)
class Providers:
    """Where spans and metrics go; `close` sends what is left and may block for seconds; ConnectionError where that was lost."""

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
        return _providers()
    except ImportError as error:
        say(f"note: no traces, because {error.name} is not installed: pip install 'vwt-agents[otel]'")
    except Exception as error:  # noqa: BLE001 - an OTEL_* variable that its package does not take, of which there are many
        say(f"note: no traces: {type(error).__name__}: {error}")
    return None


def _providers() -> Providers:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    lost: list[str] = []
    # Their default of 10 s, for each of them and its last words, is what the end of a run would wait for.
    limit = None if "OTEL_EXPORTER_OTLP_TIMEOUT" in os.environ else _EXPORT_S
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "vwt-agents"}
    resource = Resource.create({**named, "service.version": version("vwt-agents")})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(_span_exporter(limit, lost)))
    meters = MeterProvider([_metric_reader(limit, lost)], resource, shutdown_on_exit=False)

    def close() -> None:
        ending = [Thread(target=each.shutdown, daemon=True) for each in (tracers, meters)]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()
        if lost:
            raise ConnectionError(f"the collector did not take {', '.join(lost)}")

    return Providers(tracers, meters, close)


def _span_exporter(limit: Seconds | None, lost: list[str]) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Exporter(OTLPSpanExporter):
        """Remembers what nobody took."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS:
                lost.append(f"{len(spans)} spans")
            return result

    return Exporter(timeout=limit)


def _metric_reader(limit: Seconds | None, lost: list[str]) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader

    class Exporter(OTLPMetricExporter):
        """As above."""

        def export(
            self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **how: Any
        ) -> MetricExportResult:
            result = super().export(metrics_data, timeout_millis, **how)
            if result is not MetricExportResult.SUCCESS:
                lost.append("metrics")
            return result

    return PeriodicExportingMetricReader(Exporter(timeout=limit))
