"""Ollama's API in front of the engine's own, which has other routes: one client path serves both kinds of endpoint.

Owns: the loopback server in a worker and the translation of requests and answers. A client that closes its connection frees the
slot: every call is streamed from the engine, and closing that stream is what cancels it. Never lets a prompt be cut silently.
"""

from __future__ import annotations

import hmac
import http.client
import json
import os
import select
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from vwt_agents.endpoints.embedded.chorus import Chorus
from vwt_agents.endpoints.embedded.memory import process_mib
from vwt_agents.endpoints.embedded.translation import Refused, end_of, events_of, reason_of, text_of, to_native
from vwt_agents.endpoints.prefill import EchoFilter
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vwt_agents.endpoints.embedded.chorus import Stream
    from vwt_agents.endpoints.embedded.gguf import GgufHeader

__all__ = ["Engine", "serve"]

_LARGEST_BODY: Final = 64 * MIB
_CHAT: Final = "/v1/chat/completions"
_HANGUP: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


@dataclass(frozen=True, slots=True)
class Engine:
    """The loaded model and where the engine serves it; `keep` holds the engine's object alive."""

    name: str
    sha256: str
    num_ctx: int
    header: GgufHeader
    address: str
    key: str
    version: str
    keep: object


def serve(engine: Engine, token: str) -> ThreadingHTTPServer:
    """A server on a free loopback port, bound and not yet serving."""
    chorus = Chorus(lambda native: _asked(engine, _CHAT, native))
    handler = type("Handler", (_Handler,), {"engine": engine, "token": token, "chorus": chorus})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    engine: ClassVar[Engine]
    token: ClassVar[str]
    chorus: ClassVar[Chorus]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "vwt-agents"
    sys_version = ""

    def log_message(self, *_args: object) -> None:
        """Say nothing: stderr is for what goes wrong."""

    def do_GET(self) -> None:
        """Answer what is asked of the worker itself."""
        self._answer({"/api/version": self._version, "/api/tags": self._tags, "/api/ps": self._ps})

    def do_POST(self) -> None:
        """Answer what is asked of the model."""
        self._answer({"/api/show": self._show, "/api/chat": self._chat, "/api/generate": self._generate})

    def do_HEAD(self) -> None:
        """Say that somebody is here, as Ollama does."""
        self._answer({"/": dict, "/api/version": dict})

    def _answer(self, routes: Mapping[str, Any]) -> None:
        self.started = time.monotonic()
        try:
            self.body = self._read_body()
            route = routes.get(urlsplit(self.path).path)
            answer = route() if route else self._nothing_here()
            if answer is not None:
                self._send(200, answer)
        except Refused as refused:
            self._send(refused.status, {"error": str(refused)})
        except ConnectionError:
            self.close_connection = True  # the client has gone; nobody to tell

    def _nothing_here(self) -> dict[str, Any]:
        raise Refused(404, f"no {self.command} {self.path} here")

    def _read_body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            self.close_connection = True  # its body is left unread
            raise Refused(401, "the bearer token is missing or wrong")
        if length > _LARGEST_BODY:
            self.close_connection = True
            raise Refused(413, f"a body of {length} bytes is more than the {_LARGEST_BODY} taken here")
        try:
            body = json.loads(self.rfile.read(length) or b"{}")
        except ValueError as error:
            raise Refused(400, f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body is not a JSON object")
        return body

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")  # or the client sends its next request into a closed one
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # What there is

    def _version(self) -> dict[str, Any]:
        return {"version": f"xllamacpp-{self.engine.version}"}

    def _details(self) -> dict[str, Any]:
        header = self.engine.header
        arch = header.architecture
        size = str(header.metadata.get("general.size_label", ""))
        details = {"format": "gguf", "family": arch, "families": [arch], "parameter_size": size}
        return {**details, "quantization_level": header.quantisation}

    def _model(self) -> dict[str, Any]:
        engine = self.engine
        named = {"name": engine.name, "model": engine.name, "digest": engine.sha256}
        return {**named, "size": engine.header.tensors_end, "details": self._details()}

    def _tags(self) -> dict[str, Any]:
        return {"models": [self._model()]}

    def _ps(self) -> dict[str, Any]:
        size = process_mib(os.getpid()) * MIB
        return {"models": [{**self._model(), "size": size, "size_vram": 0, "context_length": self.engine.num_ctx}]}

    def _show(self) -> dict[str, Any]:
        self._require_model()
        metadata = self.engine.header.metadata
        shown = {"details": self._details(), "model_info": dict(metadata), "capabilities": ["completion"]}
        return {**shown, "template": str(metadata.get("tokenizer.chat_template", "")), "parameters": ""}

    def _require_model(self) -> None:
        name = self.body.get("model") or self.body.get("name")
        if name != self.engine.name:
            raise Refused(404, f"model {name!r} not found: this worker has {self.engine.name!r}")

    # Calls

    def _generate(self) -> dict[str, Any] | None:
        self._require_model()
        prompt = self.body.get("prompt")
        if not prompt:
            return {**self._stamp(), "response": "", "done": True, "done_reason": "load"}
        if self.body.get("raw"):
            raise Refused(400, "raw prompts are not taken here; send messages to /api/chat")
        messages = [{"role": "user", "content": prompt}]
        if system := self.body.get("system"):
            messages.insert(0, {"role": "system", "content": system})
        return self._call(messages, lambda text: {"response": text})

    def _chat(self) -> dict[str, Any] | None:
        self._require_model()
        messages = self.body.get("messages")
        if not messages:
            return {
                **self._stamp(),
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "load",
            }
        try:
            plain = [{"role": str(one["role"]), "content": str(one.get("content") or "")} for one in messages]
        except (KeyError, TypeError, AttributeError):
            raise Refused(400, "messages have to be objects with role and content") from None
        return self._call(plain, lambda text: {"message": {"role": "assistant", "content": text}})

    def _call(self, messages: list[dict[str, str]], wrap: Any) -> dict[str, Any] | None:
        native = to_native(self.body, messages, self.engine.num_ctx)
        echo = EchoFilter(messages[-1]["content"] if messages[-1]["role"] == "assistant" else "")
        streaming = self.body.get("stream", True)

        def emit(piece: str) -> str:
            if piece and streaming:
                self._line({**self._stamp(), **wrap(piece), "done": False})
            return piece

        text = ""
        end: dict[str, Any] = {}
        with self._native(native) as events:
            for event in events:
                text += emit(echo.feed(text_of(event)))
                end |= end_of(event)
            text += emit(echo.finish())
        if "finish_reason" not in end:
            raise ConnectionAbortedError("the engine's stream was cut")
        last = {**self._stamp(), **wrap("" if streaming else text), "done": True, **self._counts(end)}
        if not streaming:
            return last
        self._line(last)
        self._end_lines()
        return None

    def _stamp(self) -> dict[str, Any]:
        return {"model": self.engine.name, "created_at": datetime.now(UTC).isoformat()}

    def _counts(self, end: Mapping[str, Any]) -> dict[str, Any]:
        timings = end.get("timings", {})
        cached = timings.get("cache_n", 0)
        return {
            "done_reason": end.get("finish_reason", "stop"),
            "total_duration": int((time.monotonic() - self.started) * 1e9),
            "load_duration": 0,
            "prompt_eval_count": cached + timings.get("prompt_n", 0),
            "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
            "cached_prompt_count": cached,  # ours: Ollama does not say
            "eval_count": timings.get("predicted_n", 0),
            "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
        }

    # Streaming: the head is only sent with the first line, so that a refusal can still be a status

    _lines_sent = 0

    def _line(self, answer: dict[str, Any]) -> None:
        if not self._lines_sent:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        self._lines_sent += 1
        data = json.dumps(answer).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _end_lines(self) -> None:
        self._lines_sent = 0
        self.wfile.write(b"0\r\n\r\n")

    @contextmanager
    def _native(self, native: dict[str, Any]) -> Iterator[Iterable[Mapping[str, Any]]]:
        """The engine's events for one request; they end early when our client goes away."""
        said = self.body.get("together")
        together = said if isinstance(said, int) and "seed" in native else 1
        asked = self.chorus.join(native, together) if together > 1 else _asked(self.engine, _CHAT, native)
        try:
            with asked as events, _hung_up_with(self.connection, events):
                yield events
        except http.client.HTTPException as error:
            raise ConnectionAbortedError(str(error)) from None  # only a hang-up cuts this stream
        except Refused as refused:
            if not self._lines_sent:
                raise
            self._line({"error": str(refused)})
            self._end_lines()
            raise ConnectionAbortedError(str(refused)) from None


class _Events:
    """The engine's answer to one request, event by event; `shutdown` cuts it, also while it is waited for."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._socket = connection.sock  # which the connection forgets once the answer is there

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        response = self._connection.getresponse()
        _require_ok(response)
        yield from events_of(response)

    def shutdown(self, how: int, /) -> None:
        """Cut it."""
        self._socket.shutdown(how)


@contextmanager
def _asked(engine: Engine, path: str, body: dict[str, Any]) -> Iterator[_Events]:
    """One request to the engine."""
    upstream = http.client.HTTPConnection(urlsplit(engine.address).netloc)
    upstream.connect()
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {engine.key}"}
        upstream.request("POST", path, json.dumps(body), headers)
        yield _Events(upstream)
    finally:
        upstream.close()


def _require_ok(response: http.client.HTTPResponse) -> None:
    if response.status != 200:
        raise Refused(response.status, reason_of(response.read()))


@contextmanager
def _hung_up_with(client: socket.socket, upstream: Stream) -> Iterator[None]:
    """While the block runs, a client that goes away takes the upstream request with it, also while we wait for it."""
    stop, stopped = socket.socketpair()

    def watch() -> None:
        poll = select.poll()
        poll.register(client, _HANGUP)
        poll.register(stopped, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if stopped.fileno() not in ready:
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.close()
        watcher.join()
        stopped.close()
