"""A run as OpenTelemetry spans and metrics, where an OTLP endpoint is set: docs/observability.md.

Nothing of OpenTelemetry is imported where none is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.traces.attributes import Engine
from vwt_agents.traces.observer import Observer, Unobserved
from vwt_agents.traces.otlp import Providers, providers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.board import Board

__all__ = ["Engine", "Observer", "Providers", "Unobserved", "observer", "providers"]

_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


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
    from vwt_agents.traces.spans import Traces

    content = os.environ.get(_CONTENT, "").strip().lower() == "true"
    return Traces(
        found, run=run, pipeline=pipeline, board=board, engines=engines, attributes=attributes, content=content
    )
