"""What a test server writes in lines: an answer, whole or broken off by a fault, and a pull. Owns no model and no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vwt_agents.testing.bodies import thinks
from vwt_agents.testing.replies import DEAD, digest, said, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from vwt_agents.testing.faults import Fault
    from vwt_agents.testing.http import Exchange
    from vwt_agents.testing.replies import ServedModel

__all__ = ["parts_of", "stream_answer", "stream_pull", "stream_text"]


def parts_of(
    body: Mapping[str, Any], model: ServedModel, reply: str | Sequence[str]
) -> tuple[list[dict[str, Any]], str]:
    """The parts of what a model thinks and of what it says, and why it ended; a thought takes a token of `num_predict`."""
    name = str(body["model"])
    thoughts = [spoken(name, thinking=thought) for thought in model.thoughts] if thinks(body, model) else []
    most = (body.get("options") or {}).get("num_predict") or -1
    if 0 < most <= len(thoughts):
        return thoughts[:most], "length"
    return [*thoughts, *(spoken(name, piece) for piece in ([reply] if isinstance(reply, str) else reply))], "stop"


async def stream_answer(
    exchange: Exchange,
    parts: Sequence[dict[str, Any]],
    end: Mapping[str, Any],
    *,
    fault: Fault | None,
    pause: Callable[[], Awaitable[None]],
) -> None:
    """The parts of an answer, with a pause before each but the first, and its end; a fault comes after the first part."""
    await exchange.begin()
    for index, part in enumerate(parts):
        if index:
            await pause()
        await exchange.line(part)
        if fault is not None:
            break
    if fault == "cut":
        exchange.writer.transport.abort()
        return
    if fault == "garbage":
        await exchange.line("<html>proxy</html>")
    elif fault == "error":
        await exchange.line({"error": DEAD})
    elif fault is None:
        await exchange.line(end)
    await exchange.end()


async def stream_text(exchange: Exchange, asked: str, pieces: Iterable[str], counts: Mapping[str, int]) -> None:
    """The answer of a generate."""
    await exchange.begin()
    for piece in pieces:
        await exchange.line(said(asked, response=piece, done=False))
    await exchange.line(said(asked, response="", done=True, done_reason="stop", **counts))
    await exchange.end()


async def stream_pull(exchange: Exchange, name: str, *, there: bool, broken: bool) -> None:
    """A pull of a model; one that is not `there` is an error, a `broken` one just ends."""
    await exchange.begin()
    await exchange.line({"status": "pulling manifest"})
    if not there:
        await exchange.line({"error": "pull model manifest: file does not exist"})
    elif not broken:
        blob = digest(name)
        for completed in (0, 50, 100):
            line = {"status": f"pulling {blob[:12]}", "digest": f"sha256:{blob}", "total": 100}
            await exchange.line({**line, "completed": completed})
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            await exchange.line({"status": status})
    await exchange.end()
