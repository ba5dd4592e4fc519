"""The shapes of Ollama's answers, and the models in a test server's store. Pure; owns no memory and no socket."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.types import MIB, Mib, Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BUSY",
    "DEAD",
    "FOREVER",
    "KILLED",
    "OOM",
    "TOO_LONG",
    "ServedModel",
    "Times",
    "digest",
    "expiry",
    "last",
    "listed",
    "rendered",
    "running",
    "said",
    "shown",
    "spoken",
    "tokens",
    "too_long",
]

BUSY: Final = "server busy, please try again.  maximum pending requests exceeded"
OOM: Final = "llama-server: cudaMalloc failed: out of memory"
DEAD: Final = "an error was encountered while running the model: unexpected EOF"
KILLED: Final = "llama-server process has terminated: signal: killed"
TOO_LONG: Final = "the prompt is longer than the context length currently available to the model"

FOREVER: Final[Seconds] = float("inf")

_NS: Final = 1_000_000_000
_TOKEN: Final = re.compile(r"[^\W_]+|[^\w\s]|_")
_YEARS: Final = timedelta(microseconds=(2**63 - 1) // 1000)  # how far off Ollama shows `keep_alive: -1`


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model in the server's store: what it takes once loaded, and what /api/show says of it.

    `file_mib` is its file, as large as its footprint where it is 0. `weights` names its blob, its own where it is empty: tags
    with the same weights share one runner. `parameters` are the PARAMETER lines of its Modelfile. With the capability
    `thinking` it has `thoughts`, a token each, before an answer. `closes`: its chat template ends every message, also an
    assistant's that is to be gone on with.
    """

    footprint: Mib = 1000
    metadata: Mapping[str, Any] = field(
        default_factory=lambda: {"general.architecture": "llama", "llama.block_count": 4}
    )
    licence: str = "Apache License 2.0"
    capabilities: tuple[str, ...] = ("completion",)
    weights: str = ""
    parameters: str = ""
    file_mib: Mib = 0
    thoughts: tuple[str, ...] = ("Let me", " see.")
    closes: bool = False

    @property
    def trained(self) -> int | None:
        """The most context it was trained for; None where its metadata does not say."""
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.context_length")


@dataclass(frozen=True, slots=True)
class Times:
    """What a call waited for. As with Ollama, a load is told in `load_duration`, a slot only in the total."""

    load: Seconds = 0.0
    slot: Seconds = 0.0


def tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """What a prompt counts here: a token for each word, number and sign."""
    return sum(len(_TOKEN.findall(message["content"])) for message in messages)


def listed(name: str, model: ServedModel) -> dict[str, Any]:
    """An entry of /api/tags."""
    size = (model.file_mib or model.footprint) * MIB
    named = {"name": name, "model": name, "modified_at": _now(), "size": size, "digest": digest(f"manifest {name}")}
    return {**named, "details": _details(), "capabilities": list(model.capabilities)}


def shown(name: str, model: ServedModel, *, verbose: bool) -> dict[str, Any]:
    """The answer of /api/show; lists only come with `verbose`."""
    info = {key: value if verbose or not isinstance(value, list) else None for key, value in model.metadata.items()}
    return {
        "license": model.licence,
        "modelfile": f"# from {name}\nFROM /root/.ollama/models/blobs/sha256-{digest(model.weights or name)}\n",
        "parameters": model.parameters,
        "details": _details(),
        "model_info": info,
        "capabilities": list(model.capabilities),
    }


def expiry(keep_alive: Seconds) -> datetime:
    """When a model that is idle from now on will leave, as /api/ps has it."""
    return datetime.now(UTC) + (_YEARS if keep_alive == FOREVER else timedelta(seconds=keep_alive))


def running(name: str, *, size: Mib, vram: Mib, num_ctx: int, expires: datetime) -> dict[str, Any]:
    """An entry of /api/ps."""
    sizes = {"size": size * MIB, "size_vram": vram * MIB, "context_length": num_ctx}
    named = {"name": name, "model": name, "digest": digest(f"manifest {name}")}
    return {**named, "details": _details(), **sizes, "expires_at": expires.isoformat()}


def last(name: str, prompt: int, output: int, times: Times, *, reason: str = "stop") -> dict[str, Any]:
    """The last line of an answer: 0.5 s of load, 1 s of prompt, 1.5 s of output, and what was waited for."""
    counts = {"prompt_eval_count": prompt, "eval_count": output}
    load, slot = int((0.5 + _felt(times.load)) * _NS), int(_felt(times.slot) * _NS)
    parts = {"load_duration": load, "prompt_eval_duration": _NS, "eval_duration": _NS * 3 // 2}
    total = {"total_duration": slot + sum(parts.values())}
    message = {"role": "assistant", "content": ""}
    return said(name, message=message, done=True, done_reason=reason, **total, **counts, **parts)


def digest(text: str) -> str:
    """A sha256 in hex, as of a blob."""
    return hashlib.sha256(text.encode()).hexdigest()


def _felt(seconds: Seconds) -> Seconds:
    """A wait worth telling; what this process itself takes is not."""
    return seconds if seconds > 0.05 else 0.0


def said(name: str, **more: Any) -> dict[str, Any]:
    """A reply to a generate or a chat, or a part of one, in the name the model was asked for by."""
    return {"model": name, "created_at": _now(), **more}


def spoken(name: str, text: str = "", *, thinking: str = "") -> dict[str, Any]:
    """A part of an answer, or of what comes before it."""
    message = {"role": "assistant", "content": text} | ({"thinking": thinking} if thinking else {})
    return said(name, message=message, done=False)


def rendered(messages: Sequence[Mapping[str, Any]], *, closes: bool) -> str:
    """What a chat template makes of messages."""
    text = "".join(f"<{message['role']}>{message['content']}</s>" for message in messages)
    opened = bool(messages) and messages[-1]["role"] == "assistant" and not closes
    return text.removesuffix("</s>") if opened else f"{text}<assistant>"


def too_long(count: int, num_ctx: int) -> str:
    """The words for a prompt that was to be left whole: those of llama-server, as they are."""
    words = f"request ({count} tokens) exceeds the available context size ({num_ctx} tokens), try increasing it"
    fault = {
        "code": 400,
        "message": words,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": count,
        "n_ctx": num_ctx,
    }
    return json.dumps({"error": fault})


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _details() -> dict[str, Any]:
    sort = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
    return {**sort, "parameter_size": "7B", "quantization_level": "Q4_0"}
