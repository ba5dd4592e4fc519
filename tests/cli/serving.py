"""An OllamaServer in a thread of its own, so that commands run as for users: in their own loop or process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from two_models import MODELS

from vwt_agents.testing import OllamaServer

PIPELINE = """
from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("two", doc="Two stages.", defaults={"task": "do it"})


@pipeline.stage
async def first(coder: Agent, task: str) -> str:
    return await coder.ask("first", given=[task])


@pipeline.stage
async def second(reviewer: Agent, run: Run, first: str) -> str:
    text = await reviewer.ask("second", given=[first])
    await run.deliver({"answer.txt": text})
    return text
"""


class Served:
    """A server that is up, and the loop it lives in."""

    def __init__(self, server: OllamaServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    def hold(self, path: str) -> asyncio.Event:
        """A gate at a path, made in the server's own loop."""
        return self._do(self._hold(path))

    def reached(self, path: str) -> None:
        """Return once a request has come to the gate."""
        self._do(self.server.reached(path))

    def open(self, gate: asyncio.Event) -> None:
        """Let everyone through."""
        self._loop.call_soon_threadsafe(gate.set)

    async def _hold(self, path: str) -> asyncio.Event:
        return self.server.hold(path)

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)


@contextmanager
def served(script: Any = "an answer") -> Iterator[Served]:
    """A server with `MODELS` for the block."""
    up = threading.Event()
    found: list[Served] = []

    async def serve() -> None:
        async with OllamaServer(MODELS, script, parallel=2) as server:
            found.append(Served(server, asyncio.get_running_loop()))
            stop.append(asyncio.Event())
            up.set()
            await stop[0].wait()

    stop: list[asyncio.Event] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        yield found[0]
    finally:
        found[0].open(stop[0])
        thread.join(10)
