"""One model call as data: Request, Response, Chunk, Usage, and the Caller protocol that everything able to answer one obeys.

A Request is complete: whoever holds it can make the call, fingerprint it, or replay it. Wrapping callers is the only
composition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias

__all__ = [
    "Caller",
    "Chunk",
    "Heard",
    "Message",
    "OnChunk",
    "Options",
    "Priority",
    "Request",
    "Response",
    "Role",
    "Think",
    "Usage",
]

Role: TypeAlias = Literal["system", "user", "assistant"]
Think: TypeAlias = bool | Literal["low", "medium", "high"]
"""Whether a model thinks before it answers, or, of models that know levels, how hard."""
Priority: TypeAlias = Literal["interactive", "batch"]
"""A person waits for the answer, or nobody does: the class decides who goes first and how long one may wait."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat. A last message of role `assistant` is a prefill: the model continues it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling options; None leaves the engine's default. None of them ever reloads a model.

    `think` is whether a model that can think before it answers does; it does not unless it is told to, because what it thinks
    counts for `num_predict`, and comes before all that is waited for.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: tuple[str, ...] = ()
    think: Think | None = None

    def as_ollama(self) -> dict[str, Any]:
        """The `options` object of Ollama's API, without what is unset; and `think`, which a chat has beside it."""
        named: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty,
            "seed": self.seed,
            "num_predict": self.num_predict,
            "stop": list(self.stop) or None,
            "think": self.think,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Request:
    """One model call, routed: which endpoint and model, the messages, and how the answer is to be sampled and shaped.

    `num_ctx` is tokens per slot and the same in every request to one model, because another value would reload it.
    `format` is a JSON schema the answer is constrained to. `labels` name who asks (run, stage, agent, attempt); they never
    change the answer and are left out of the fingerprint. `timeout` bounds the call itself, from grant to last token;
    `deadline`, in seconds from the asking, bounds the wait and the call together. `priority` is the class it waits in
    (None: the run's), `prefix` names the text its prompt shares with others, so that they can be served one after another.
    `together` is how many requests, this one included, are made at once that differ in their seeds alone, which follow one
    another: an endpoint that can, reads their prompt once. `call` is its number in its run, 0 before it is made.
    """

    endpoint: str
    model: str
    messages: tuple[Message, ...]
    num_ctx: int
    options: Options = Options()
    format: Mapping[str, Any] | None = None
    timeout: float = 600.0
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    deadline: float | None = None
    priority: Priority | None = None
    prefix: str = ""
    together: int = 1
    call: int = 0

    def with_seed(self, seed: int) -> Request:
        """The same call, sampled from another seed."""
        return replace(self, options=replace(self.options, seed=seed))

    @property
    def prefill(self) -> str:
        """The text the answer is made to begin with; empty when the last message is not the assistant's."""
        last = self.messages[-1] if self.messages else None
        return last.content if last is not None and last.role == "assistant" else ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost: tokens, and seconds by part. `cached_tokens` is None where the engine does not say.

    Where a prompt was read once for several answers, the first one carries its tokens, the others none. `wait_s` is the time
    in our queue (for a slot, or for the model to be loaded); `load_s` the part of it the load took.
    """

    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    prompt_s: float = 0.0
    output_s: float = 0.0
    total_s: float = 0.0
    wait_s: float = 0.0
    load_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer. `text` never repeats the prefill, whatever the engine does. `done_reason`: stop or length."""

    text: str
    model: str
    endpoint: str
    done_reason: str = "stop"
    usage: Usage = Usage()
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer as it is generated."""

    text: str


OnChunk: TypeAlias = Callable[[Chunk], None]


class Heard:
    """A listener in between: passes pieces on and knows whether somebody has seen one, because then the answer cannot be begun
    again. `repeatable` says that the listener does not mind: it only counts.
    """

    __slots__ = ("_on_chunk", "pieces", "repeatable")

    def __init__(self, on_chunk: OnChunk | None, *, repeatable: bool = False) -> None:
        self.pieces = 0
        self.repeatable = repeatable or on_chunk is None
        self._on_chunk = on_chunk

    @classmethod
    def by(cls, on_chunk: OnChunk | None) -> Heard:
        """The listener itself where it is one of these already, so that a chain of callers has one."""
        return on_chunk if isinstance(on_chunk, Heard) else cls(on_chunk)

    def __call__(self, chunk: Chunk) -> None:
        """One piece more."""
        self.pieces += 1
        if self._on_chunk is not None:
            self._on_chunk(chunk)

    def begins(self) -> None:
        """The call has a slot and is to be made now; raises what forbids that."""

    @property
    def final(self) -> bool:
        """Whether what was said has been seen by somebody."""
        return self.pieces > 0 and not self.repeatable


class Caller(Protocol):
    """Anything that answers a Request: an endpoint, the dispatcher, the journaling wrapper."""

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The complete answer; `on_chunk` sees its pieces as they come and must not block. Cancelling ends the call."""
        ...
