"""One chat request and its answer, from Ollama's words into the engine's and back. Pure; knows no connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Refused", "end_of", "events_of", "reason_of", "text_of", "to_native"]

_SAME_NAME: Final = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "repeat_penalty")


class Refused(Exception):
    """An answer with a status instead of a 200; the message is for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def to_native(body: Mapping[str, Any], messages: list[dict[str, str]], num_ctx: int) -> dict[str, Any]:
    """The engine's chat request for a request of Ollama's; refuses what would need another load."""
    options = body.get("options") or {}
    wanted = options.get("num_ctx") or num_ctx
    if wanted > num_ctx:
        raise Refused(
            400, f"num_ctx {wanted} is more than the {num_ctx} tokens each slot was loaded with; load it again"
        )
    native: dict[str, Any] = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    native |= {name: options[name] for name in _SAME_NAME if options.get(name) is not None}
    if (options.get("num_predict") or -1) >= 0:  # negative is Ollama's "no limit", which is the engine's default
        native["max_tokens"] = options["num_predict"]
    form = body.get("format")
    if form == "json":
        native["response_format"] = {"type": "json_object"}
    elif form:
        native["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}
    return native


def events_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of the engine's stream; Refused for an error in the middle of it."""
    for line in lines:
        if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
            event = json.loads(line[6:])
            if "error" in event:
                raise Refused(int(event["error"].get("code", 500)), reason_of(line[6:]))
            yield event


def text_of(event: Mapping[str, Any]) -> str:
    """The new text of one event."""
    return "".join(choice.get("delta", {}).get("content") or "" for choice in event.get("choices", ()))


def end_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """What the last events say of the whole answer: why it ended, and its timings."""
    end: dict[str, Any] = {"timings": event["timings"]} if "timings" in event else {}
    for choice in event.get("choices", ()):
        if choice.get("finish_reason"):
            end["finish_reason"] = choice["finish_reason"]
    return end


def reason_of(data: bytes) -> str:
    """The engine's refusal in one sentence."""
    try:
        error = json.loads(data)["error"]
        if error.get("type") == "exceed_context_size_error":
            return (
                f"the prompt has {error['n_prompt_tokens']} tokens and a slot holds {error['n_ctx']}; "
                "shorten it or raise num_ctx"
            )
        return str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return data.decode("utf-8", "replace")[:500] or "the engine said nothing"
