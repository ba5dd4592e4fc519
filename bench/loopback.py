"""An instant Ollama server for bench/overhead.py: python bench/loopback.py MODEL prints its address and serves.

A bare asyncio protocol that keeps connections alive and looks at nothing but the path, so that what is measured is the
client's cost.
"""

from __future__ import annotations

import asyncio
import json
import sys

MODEL = sys.argv[1]
ANSWER = (
    {"model": MODEL, "message": {"role": "assistant", "content": "def add(a, b): return a + b"}, "done": False},
    {
        "model": MODEL,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 12,
        "eval_count": 9,
    },
)
LOADED = {"name": MODEL, "model": MODEL, "size": 100 << 20, "size_vram": 100 << 20, "context_length": 2048}


def _reply(kind: str, *pieces: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + chunks + b"0\r\n\r\n"


CHAT = _reply("application/x-ndjson", *(json.dumps(part).encode() + b"\n" for part in ANSWER))
DONE = _reply("application/json", json.dumps({"model": MODEL, "response": "", "done": True}).encode())

SHOWN = _reply(
    "application/json", json.dumps({"model_info": {}, "details": {}, "capabilities": ["completion"]}).encode()
)


class Stub(asyncio.Protocol):
    """One connection; requests come one after the other."""

    loaded = False  # of the whole server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.read = b""

    def data_received(self, data: bytes) -> None:
        self.read += data
        head, end, body = self.read.partition(b"\r\n\r\n")
        if not end:
            return
        length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        if len(body) < int(length):
            return
        self.read = b""
        self.transport.write(self.answer(head.split(b" ", 2)[1], body))

    def answer(self, path: bytes, body: bytes) -> bytes:
        """What Ollama would say: a load and an unload are seen by /api/ps."""
        if path == b"/api/chat":
            return CHAT
        if path == b"/api/ps":
            return _reply("application/json", json.dumps({"models": [LOADED] if Stub.loaded else []}).encode())
        if path == b"/api/show":
            return SHOWN
        Stub.loaded = json.loads(body or b"{}").get("keep_alive") != 0
        return DONE


async def main() -> None:
    """Serve until terminated."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
