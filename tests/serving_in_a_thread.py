"""A scripted server in a thread of its own, for tests that watch a command from the outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vwt_agents.testing import OllamaServer


@contextmanager
def in_a_thread(make: Callable[[], OllamaServer]) -> Iterator[OllamaServer]:
    """The server, up for the block."""
    up, made = threading.Event(), []

    async def serve() -> None:
        async with make() as server:
            stop = asyncio.Event()
            made.extend([server, asyncio.get_running_loop(), stop])
            up.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        yield made[0]
    finally:
        if made:
            made[1].call_soon_threadsafe(made[2].set)
        thread.join(10)
