"""What the body of a request asks a test server for: options of the runner, keep_alive, thinking; what Ollama refuses. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vwt_agents.testing.memory import RunnerOptions
from vwt_agents.testing.replies import FOREVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.testing.replies import ServedModel
    from vwt_agents.types import Seconds

__all__ = ["Refusal", "keep_alive_of", "refusal_of", "runner_options", "thinks"]

_UNITS: Final[Mapping[str, Seconds]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"-?(\d+(\.\d+)?(ms|s|m|h))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class Refusal(NamedTuple):
    """A status and the words that go with it."""

    status: int
    words: str


def refusal_of(body: Mapping[str, Any], model: ServedModel) -> Refusal | None:
    """Why a chat or a generate is refused before anything is loaded; None where it is not."""
    name, said, shape = body.get("model"), body.get("keep_alive"), body.get("format")
    if isinstance(said, str) and not _DURATION.fullmatch(said):
        return Refusal(400, f'time: missing unit in duration "{said}"')
    if body.get("think") and "thinking" not in model.capabilities:
        return Refusal(400, f'"{name}" does not support thinking')
    if body.get("tools") and "tools" not in model.capabilities:
        return Refusal(400, f"registry.ollama.ai/library/{name} does not support tools")
    if shape not in (None, "", "json") and not isinstance(shape, dict):
        return Refusal(
            500, f'invalid format: {json.dumps(json.dumps(shape))}; expected "json" or a valid JSON Schema object'
        )
    return None


def keep_alive_of(body: Mapping[str, Any]) -> Seconds | None:
    """The seconds a request asks for, of a number or of Go's words for a duration (`5m`, `-1s`); None where it does not say."""
    said = body.get("keep_alive")
    if said is None:
        return None
    if isinstance(said, str):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(said))
        return FOREVER if said.startswith("-") else seconds
    return FOREVER if said < 0 else float(said)


def runner_options(body: Mapping[str, Any]) -> RunnerOptions:
    """What a request wants of its runner."""
    options = body.get("options") or {}
    shift = body.get("shift")
    num_gpu = int(options.get("num_gpu", -1))
    return RunnerOptions(
        options.get("num_ctx"), options.get("num_batch"), True if shift is None else bool(shift), num_gpu
    )


def thinks(body: Mapping[str, Any], model: ServedModel) -> bool:
    """Whether the model thinks before this answer: one that can does, unless it is told not to."""
    return "thinking" in model.capabilities and body.get("think") is not False
