"""What a span says of a call: the names of OpenTelemetry's GenAI conventions, and ours where they have none. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vwt_agents.messages import Request, Response

__all__ = ["Engine", "answered", "asked", "content"]


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


def asked(request: Request) -> dict[str, Any]:
    """What a request says of itself, without its prompt."""
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
        "vwt.call.id": str(request.call) if request.call else None,
        "vwt.tier": labels.get("tier"),
        "vwt.endpoint": request.endpoint,
        "vwt.num_ctx": request.num_ctx,
    }
    return {name: value for name, value in named.items() if value is not None}


def answered(response: Response) -> dict[str, Any]:
    """What an answer cost and how it ended, without its text."""
    usage = response.usage
    named = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.response.finish_reasons": (response.done_reason,),
        "vwt.endpoint": response.endpoint,
    }
    return {name: value for name, value in named.items() if value is not None}


def content(request: Request, response: Response | None) -> dict[str, str]:
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
