"""The runs of the journal as Prometheus text: counters by pipeline and stage, and how the last run of each ended.

Owns the names of the metrics; what stages took is summed up by `tallies`. The format is prometheus-client's; there is
no server here: the text may be left in a file where node_exporter's textfile collector finds it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.errors import UsageError
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import CollectorRegistry, Metric

    from vwt_agents.entries import RunRecord
    from vwt_agents.render.tallies import Tallies

__all__ = ["prometheus_text"]

_OF_STAGE: Final = {
    "vwt_calls": ("calls", "Model calls that were made."),
    "vwt_stage_seconds": ("seconds", "Seconds that stages took to their end, waits included."),
    "vwt_stage_wait_seconds": ("wait_s", "Seconds that calls of a stage waited for a slot, loads included."),
    "vwt_stage_load_seconds": ("load_s", "The part of the waits in which a model was being loaded."),
    "vwt_stage_attempts": ("attempts", "Attempts of stages."),
    "vwt_prompt_tokens": ("prompt_tokens", "Tokens of prompts."),
    "vwt_prompt_tokens_cached": ("cached_tokens", "Tokens of prompts that the engine had read before."),
    "vwt_output_tokens": ("output_tokens", "Tokens of answers."),
}


def prometheus_text(records: Iterable[RunRecord], tallies: Tallies) -> str:
    """The text of a scrape: the runs, newest first, and what their stages took.

    UsageError where prometheus-client is not installed.
    """
    registry = _registry(list(records), tallies)
    from prometheus_client import generate_latest

    return generate_latest(registry).decode()


def _registry(records: Sequence[RunRecord], tallies: Tallies) -> CollectorRegistry:
    try:
        from prometheus_client.core import CollectorRegistry
    except ImportError:
        raise UsageError(
            "Prometheus text needs the package prometheus-client", hint="pip install 'vwt-agents[prometheus]'"
        ) from None
    registry = CollectorRegistry()
    registry.register(_Runs(records, tallies))
    return registry


class _Runs:
    """What prometheus-client collects from."""

    def __init__(self, records: Sequence[RunRecord], tallies: Tallies) -> None:
        self._records = records
        self._tallies = tallies
        self._summaries = [(record, _summary(record)) for record in records]

    def collect(self) -> Iterator[Metric]:
        """Counters of all runs, then gauges of the last one of each pipeline."""
        yield self._counter("vwt_runs", "Runs by how they ended.", ("pipeline", "status"), self._runs())
        yield self._counter("vwt_verdicts", "Verdicts of runs.", ("pipeline", "verdict"), self._verdicts())
        yield self._counter("vwt_model_loads", "Models loaded.", ("pipeline",), self._sum("loads"))
        yield self._counter("vwt_model_unloads", "Models unloaded.", ("pipeline",), self._sum("unloads"))
        for name, (key, about) in _OF_STAGE.items():
            yield self._counter(name, about, ("pipeline", "stage"), self._tallies.of(key))
        yield from self._last()

    @staticmethod
    def _counter(name: str, about: str, labels: tuple[str, ...], counts: Counter[Any]) -> Metric:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(name, about, labels=labels)
        for key in sorted(counts):
            family.add_metric(key, counts[key])
        return family

    def _runs(self) -> Counter[tuple[str, ...]]:
        return Counter((record.pipeline, record.status) for record in self._records)

    def _verdicts(self) -> Counter[tuple[str, ...]]:
        found = [(record.pipeline, summary.get("verdict")) for record, summary in self._summaries]
        return Counter((name, "passed" if verdict.get("passed") else "failed") for name, verdict in found if verdict)

    def _sum(self, key: str) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for record, summary in self._summaries:
            found[record.pipeline,] += summary.get(key, 0)
        return found

    def _last(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        ended = GaugeMetricFamily("vwt_last_run_end_time_seconds", "When the last run ended.", labels=("pipeline",))
        took = GaugeMetricFamily("vwt_last_run_seconds", "Seconds the last run took.", labels=("pipeline",))
        code = GaugeMetricFamily("vwt_last_run_exit_code", "Exit code of the last run.", labels=("pipeline",))
        labels = ("pipeline", "device")
        peak = GaugeMetricFamily(
            "vwt_last_run_peak_bytes", "Memory models took at most in the last run.", labels=labels
        )
        budget = GaugeMetricFamily("vwt_last_run_budget_bytes", "Memory they were allowed.", labels=labels)
        for record, summary in self._newest():
            if record.ended_at is not None:
                ended.add_metric([record.pipeline], record.ended_at.timestamp())
            if record.exit_code is not None:
                code.add_metric([record.pipeline], record.exit_code)
            took.add_metric([record.pipeline], summary.get("seconds", 0.0))
            for device, memory in sorted(summary.get("devices", {}).items()):
                peak.add_metric([record.pipeline, device], memory["peak_mib"] * MIB)
                budget.add_metric([record.pipeline, device], memory["budget_mib"] * MIB)
        yield from (ended, took, code, peak, budget)

    def _newest(self) -> list[tuple[RunRecord, dict[str, Any]]]:
        """Of each pipeline the last run that ended; records come newest first."""
        newest: dict[str, tuple[RunRecord, dict[str, Any]]] = {}
        for record, summary in self._summaries:
            if record.status != "running":
                newest.setdefault(record.pipeline, (record, summary))
        return [newest[name] for name in sorted(newest)]


def _summary(record: RunRecord) -> dict[str, Any]:
    found: Any = json.loads(record.summary) if record.summary else {}
    return found if isinstance(found, dict) else {}
