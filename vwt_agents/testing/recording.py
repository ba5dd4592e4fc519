"""A recording: what the models of one run were asked and what they answered, and what endpoints and devices said of themselves.

Pure data. `recording_text` has its text form, `replay` gives the answers again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vwt_agents.entries import fingerprint
from vwt_agents.messages import Message, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vwt_agents.endpoints.base import ModelInfo
    from vwt_agents.messages import Request
    from vwt_agents.types import Mib

__all__ = ["RecordedCall", "RecordedDevice", "RecordedEndpoint", "RecordedModel", "Recording"]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call: who asked what of which model, and the answer. `left`: whoever asked went away before the end of it."""

    stage: str
    agent: str
    model: str
    messages: tuple[Message, ...]
    item: str = ""
    options: Options = field(default_factory=Options)
    format: Mapping[str, Any] | None = None
    answer: str = ""
    done_reason: str = "stop"
    prompt_tokens: int = 0
    output_tokens: int = 0
    left: bool = False

    @classmethod
    def asked(cls, request: Request, clean: Callable[[str], str]) -> RecordedCall:
        """The request alone, cleaned of what must not be written down."""
        labels = request.labels
        return cls(
            stage=labels.get("stage", ""),
            item=labels.get("item", ""),
            agent=labels.get("agent", ""),
            model=request.model,
            messages=tuple(replace(message, content=clean(message.content)) for message in request.messages),
            options=replace(request.options, stop=tuple(clean(stop) for stop in request.options.stop)),
            # through JSON, as it will be read again: a tuple is a list there
            format=None if request.format is None else json.loads(clean(json.dumps(dict(request.format)))),
        )

    @property
    def question(self) -> str:
        """The fingerprint of what was asked: without endpoint and context, and without the seed, which only draws an answer."""
        return fingerprint(
            (self.stage, self.item, self.agent, self.model),
            self.messages,
            replace(self.options, seed=None).as_ollama(),
            self.format,
        )


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """What an endpoint said of a model, and the MiB it took once it was loaded (0: it never was)."""

    info: ModelInfo
    memory: Mib = 0


@dataclass(frozen=True, slots=True)
class RecordedEndpoint:
    """An endpoint that answered: its engine's version, and its models by name."""

    name: str
    version: str = ""
    models: Mapping[str, RecordedModel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedDevice:
    """A device the run was planned with, in MiB; `used` is what was taken before it began."""

    name: str
    total: Mib
    used: Mib = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """All of it. Calls come in the order of the stages, so that a new recording differs only where something has changed."""

    pipeline: str
    calls: tuple[RecordedCall, ...]
    endpoints: tuple[RecordedEndpoint, ...] = ()
    devices: tuple[RecordedDevice, ...] = ()

    def ordered(self, stages: Sequence[str]) -> Recording:
        """The same, its calls by stage, item and agent, and within those as they were asked."""
        place = {name: number for number, name in enumerate(stages)}
        calls = sorted(self.calls, key=lambda call: (place.get(call.stage, len(place)), call.item, call.agent))
        endpoints = sorted(self.endpoints, key=lambda endpoint: endpoint.name)
        return replace(self, calls=tuple(calls), endpoints=tuple(endpoints))
