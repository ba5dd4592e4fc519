"""What goes wrong with a server, as errors of ours. Owns the one mapping of foreign errors; knows no request."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import EndpointUnavailable, ModelMissing, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ASK_S", "as_ours", "mapped"]

_TOO_LONG: Final = re.compile(r"exceeds the available context|longer than the context")
ASK_S: Final = 30.0  # how long a server may say nothing to what it can answer at once


@contextmanager
def mapped(url: str, doing: str, failed: type[WorldError], model: str | None = None) -> Iterator[None]:
    """What goes wrong within the block comes out as an error of ours."""
    try:
        yield
    except Exception as error:
        if ours := as_ours(url, error, doing, failed, model):
            raise ours from error
        raise


def as_ours(url: str, error: Exception, doing: str, failed: type[WorldError], model: str | None) -> WorldError | None:
    """The one place where foreign errors become ours; None for an error that is no server's."""
    import httpx
    import ollama

    what = f"{url}, {doing}" if model is None else f"{url}, {doing} ({model!r})"
    match error:
        case ollama.ResponseError():
            return _refused(url, error.status_code, _words(str(error.error).strip()), what, failed, model)
        case (
            httpx.ConnectError()
            | httpx.ConnectTimeout()
            | httpx.InvalidURL()
            | httpx.UnsupportedProtocol()
            | ConnectionError()
        ):
            nobody = EndpointUnavailable(
                f"no Ollama server answers at {url}" + (f" (wanted for {model!r})" if model else ""),
                hint="start one with `ollama serve`, or correct its url in agents.toml or OLLAMA_HOST; "
                "`python -m vwt_agents doctor` says what works here",
            )
            nobody.refused = True
            return nobody
        case TimeoutError():
            return _failure(failed, f"{what}: it said nothing for {ASK_S:g} s", "restart that server")
        case httpx.HTTPError() | httpx.StreamError():
            words = f"the connection broke: {what}: {str(error) or type(error).__name__}"
            return _failure(failed, words, "see the server's log", retryable=True)
        case ValueError() | TypeError() | AttributeError() | KeyError():
            # what is raised for lines that are not JSON, JSON that is no object, or objects of another shape
            hint = "is an Ollama server listening there, and not something else?"
            return _failure(failed, f"not an answer of Ollama's API: {what}: {error}", hint)
        case _:
            return None


def _refused(url: str, status: int, words: str, what: str, failed: type[WorldError], model: str | None) -> WorldError:
    if status == 404 and model is not None:
        return ModelMissing(
            f"{url} does not have the model {model!r}: {words}",
            hint=f"bring it with `python -m vwt_agents models pull {model}` (or `ollama pull {model}`)",
        )
    if status == 503:
        return _failure(failed, f"{what}: {words or 'busy'}", "its queue is full: ask again later", retryable=True)
    if status in {401, 403}:
        return EndpointUnavailable(f"{what}: it refused access (HTTP {status}): {words}", hint="does it want a token?")
    spoken = words or "it gave no reason"
    hint = "raise the agent's num_ctx, or give it less" if _TOO_LONG.search(words) else None
    return _failure(failed, f"{what}: {spoken}" if status < 0 else f"{what}: HTTP {status}: {spoken}", hint)


def _words(text: str) -> str:
    """What a server said; what its runner said to it, it hands on as the JSON it got."""
    try:
        inner = json.loads(text)["error"]
        return str(inner["message"] if isinstance(inner, dict) else inner)
    except (ValueError, TypeError, KeyError):
        return text


def _failure(kind: type[WorldError], message: str, hint: str | None, *, retryable: bool = False) -> WorldError:
    error = kind(message, hint=hint)
    error.retryable = retryable
    return error
