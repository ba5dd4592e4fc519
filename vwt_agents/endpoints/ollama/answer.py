"""A streamed answer as it comes: lines of a body, the part in each, what it cost. Pure; owns no connection.

Parts are read as they are, without a model of the `ollama` package's for each: there is one for every token.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from vwt_agents.messages import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from typing import Any

__all__ = ["Part", "lines"]

_NS: Final = 1e9


class Part(NamedTuple):
    """A part of an answer, read from its line; the last one says how it ended and what it cost.

    `thought`: the model was still thinking, of which no more is read.
    """

    text: str
    thought: bool = False
    done: bool = False
    done_reason: str = "stop"
    usage: Usage = Usage()

    @classmethod
    def read(cls, line: bytes) -> Part:
        """Raises what the mapping knows where it is no part; ollama.ResponseError where the server says what went wrong."""
        part = json.loads(line.decode("utf-8", "replace"))
        if fault := part.get("error"):
            import ollama

            raise ollama.ResponseError(fault)
        message = part["message"] if "response" not in part else {"content": part["response"]}
        text, thought = message.get("content") or "", bool(message.get("thinking"))
        if not isinstance(text, str):
            raise TypeError(f"the content of a message is text, not {text!r}")
        if part.get("done") is not True:
            return cls(text, thought)
        return cls(text, thought, done=True, done_reason=str(part.get("done_reason") or "stop"), usage=_usage(part))


async def lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The lines of a body, at newlines only: an answer may well contain what else Unicode takes for the end of a line."""
    begun = b""
    async for chunk in chunks:
        *whole, begun = (begun + chunk).split(b"\n")
        for line in whole:
            yield line
    if begun:
        yield begun


def _usage(part: Mapping[str, Any]) -> Usage:
    """Of the last part of an answer; `cached_prompt_count` is what our embedded workers add to Ollama's."""
    cached = part.get("cached_prompt_count")
    return Usage(
        prompt_tokens=int(part.get("prompt_eval_count") or 0),
        output_tokens=int(part.get("eval_count") or 0),
        cached_tokens=None if cached is None else int(cached),
        prompt_s=(part.get("prompt_eval_duration") or 0) / _NS,
        output_s=(part.get("eval_duration") or 0) / _NS,
        total_s=(part.get("total_duration") or 0) / _NS,
        load_s=(part.get("load_duration") or 0) / _NS,
    )
