"""HTTP/1.1 on loopback for test servers: one request per connection, an answer whole or in lines. Owns sockets, no behaviour.

A handler is cancelled when its client goes away, as a server that notices disconnects would stop working for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Exchange", "HttpServer", "Serve"]

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(slots=True)
class Exchange:
    """One request and the way to answer it."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    async def reply(self, payload: Any, status: int = 200) -> None:
        """The whole answer as JSON."""
        data = json.dumps(payload).encode()
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await self.writer.drain()

    async def begin(self) -> None:
        """The head of an answer in lines."""
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
        self.writer.write(f"{head}Connection: close\r\n\r\n".encode())
        await self.writer.drain()

    async def line(self, payload: Any) -> None:
        """One line of it: JSON, or a str as it is."""
        data = (payload if isinstance(payload, str) else json.dumps(payload)).encode() + b"\n"
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()

    async def end(self) -> None:
        """The proper end of an answer in lines; without it the connection just breaks."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()


Serve: TypeAlias = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """Listens on 127.0.0.1 from `start` to `stop`; at `port` 0 on a free one, which stays the same when it starts again."""

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = port

    async def start(self) -> None:
        """Listen; connections are refused before. Nothing where it listens already."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and break those that are open; returns when nothing of them is left."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.own(asyncio.ensure_future(self._connection(reader, writer)))

    def own(self, task: asyncio.Task[None]) -> None:
        """Cancel a task of the server's, and wait for it, when the server stops."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            exchange = await _read(reader, writer)
            serving = asyncio.ensure_future(self._serve(exchange))
            leaving = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait((serving, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (serving, leaving):
                    task.cancel()
                await asyncio.gather(serving, leaving, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that leaves before it has asked
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, headers, json.loads(body) if body else {}, writer)
