"""A server on loopback that behaves as Ollama documents, with faults to switch on. Owns no model: answers come from a script.

What it imitates: one runner per model, reloaded for another `num_ctx` or `num_gpu`; preload and unload by an empty
generate; an unload that is answered at once and happens once the model is idle; implicit loads; `keep_alive`; slots; models
that evict each other or spill when `vram_mib` is short; pieces as NDJSON; errors as JSON, or as a line of a stream that has
begun.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from vwt_agents.endpoints.address import canonical
from vwt_agents.testing.http import Exchange, HttpServer
from vwt_agents.types import MIB, Mib

__all__ = ["Fault", "OllamaServer", "ServedModel"]

Fault: TypeAlias = Literal["busy", "oom", "error", "cut", "short", "garbage", "hang"]
"""503 queue full; 500 out of memory; an error line, a broken connection, an end without `done`, or a line that is no JSON,
each after the first piece; no answer at all."""

Reply: TypeAlias = str | Sequence[str]
_BUSY = "server busy, please try again.  maximum pending requests exceeded"
_OOM = "llama-server: cudaMalloc failed: out of memory"
_DEAD = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model in the server's store: what it takes once loaded, and what /api/show says of it.

    `file_mib` is its file, as large as its footprint where it is 0. `weights` names its blob, its own where it is empty: tags
    with the same weights share one runner. `parameters` are the PARAMETER lines of its Modelfile.
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


@dataclass(slots=True)
class _Runner:
    num_ctx: int
    size: Mib
    vram: Mib
    slots: asyncio.Semaphore
    users: int = 0
    leaving: bool = False
    num_gpu: int = -1


class OllamaServer:
    """`async with OllamaServer({"mistral:latest": ServedModel()}) as server:` listens at `server.url` for that block.

    `script(body) -> str | pieces` answers a chat; `calls` are the bodies of /api/chat, `requests` all (path, body), `loads` and
    `unloads` what its memory went through. `fail(path, fault)` breaks the next requests; `hold(path)` makes a gate.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        script: Callable[[dict[str, Any]], Reply] | Reply = "ok",
        *,
        vram_mib: Mib = 16000,
        parallel: int = 1,
        version: str = "0.33.0",
        token: str | None = None,
        port: int = 0,
    ) -> None:
        self.models = {canonical(name): model for name, model in models.items()}
        self.pullable: dict[str, ServedModel] = {}
        self.calls: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.loads: list[tuple[str, int]] = []
        self.unloads: list[str] = []
        self.active = 0
        self.peak_active = 0
        self.vram_mib = vram_mib
        self.version = version
        self.token = token
        self._parallel = parallel
        self._script = script if callable(script) else lambda _: script
        self._runners: dict[str, _Runner] = {}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._gates: dict[str, asyncio.Event] = {}
        self._reached: dict[str, asyncio.Event] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._http = HttpServer(self._serve, port)

    async def __aenter__(self) -> OllamaServer:
        await self._http.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.stop()

    @property
    def url(self) -> str:
        """Where it listens; the same after `refuse` and `accept`."""
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def resident(self) -> dict[str, int]:
        """The models in its memory, and the num_ctx of each."""
        return {name: runner.num_ctx for name, runner in self._runners.items()}

    def fail(self, path: str, fault: Fault, times: int = 1) -> None:
        """Break the next requests to a path, such as `/api/chat`; loads are at `load`, whatever request asks for them."""
        self._faults[path].extend([fault] * times)

    def hold(self, path: str) -> asyncio.Event:
        """A gate: requests to a path (or loads at `load`, unloads at `unload`, pieces of an answer at `piece`) wait at it."""
        self._reached[path] = asyncio.Event()
        gate = self._gates[path] = asyncio.Event()
        return gate

    async def reached(self, path: str) -> None:
        """Return once a request has come to the gate that `hold` made; TimeoutError when none does in 10 seconds."""
        await asyncio.wait_for(self._reached[path].wait(), 10)

    async def idle(self) -> None:
        """Return once no call is being answered."""
        await self._idle.wait()

    async def refuse(self) -> None:
        """Break every connection and refuse new ones, as a server that died; its memory is lost."""
        await self._http.stop()
        self._runners.clear()

    async def accept(self) -> None:
        """Listen again, at the same port."""
        await self._http.start()

    def evict(self, model: str) -> None:
        """A model is gone from memory, as when another client's request evicted it."""
        self._runners.pop(canonical(model), None)

    async def _serve(self, exchange: Exchange) -> None:
        self.requests.append((exchange.path, exchange.body))
        if self.token is not None and exchange.headers.get("authorization") != f"Bearer {self.token}":
            await exchange.reply({"error": "unauthorized"}, 400)
            return
        fault = self._next(exchange.path)
        if fault in {"busy", "oom"}:
            await exchange.reply({"error": _BUSY if fault == "busy" else _OOM}, 503 if fault == "busy" else 500)
            return
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "garbage" and exchange.path not in {"/api/chat", "/api/pull"}:
            await exchange.reply(["not", "Ollama"])
            return
        await self._gate(exchange.path)
        await self._route(exchange, fault)

    async def _route(self, exchange: Exchange, fault: Fault | None) -> None:
        match exchange.path:
            case "/api/version":
                await exchange.reply({"version": self.version})
            case "/api/tags":
                await exchange.reply({"models": [self._listed(name) for name in self.models]})
            case "/api/ps":
                await exchange.reply({"models": [self._running(name) for name in self._runners]})
            case "/api/show":
                await self._show(exchange)
            case "/api/generate":
                await self._generate(exchange)
            case "/api/chat":
                await self._chat(exchange, fault)
            case "/api/pull":
                await self._pull(exchange, fault)
            case _:
                await exchange.reply({"error": "404 page not found"}, 404)

    async def _show(self, exchange: Exchange) -> None:
        if (name := await self._named(exchange)) is None:
            return
        model = self.models[name]
        verbose = bool(exchange.body.get("verbose"))
        info = {key: value if verbose or not isinstance(value, list) else None for key, value in model.metadata.items()}
        await exchange.reply(
            {
                "license": model.licence,
                "modelfile": f"# from {name}\nFROM /root/.ollama/models/blobs/sha256-{_digest(model.weights or name)}\n",
                "parameters": model.parameters,
                "details": _details(),
                "model_info": info,
                "capabilities": list(model.capabilities),
            }
        )

    async def _generate(self, exchange: Exchange) -> None:
        if (name := await self._named(exchange)) is None:
            return
        if exchange.body.get("prompt"):
            await exchange.reply({"error": "this server only loads and unloads by generate"}, 400)
            return
        reason, name = "load", self._runner_of(name)
        if exchange.body.get("keep_alive") == 0:
            reason = "unload"
            self._leave(name)
        elif not await self._loaded(exchange, name):
            return
        await exchange.reply({"model": name, "response": "", "done": True, "done_reason": reason})

    async def _chat(self, exchange: Exchange, fault: Fault | None) -> None:
        self.calls.append(exchange.body)
        if (asked := await self._named(exchange)) is None:
            return
        name = self._runner_of(asked)
        if not await self._loaded(exchange, name):
            return
        runner = self._runners[name]
        if exchange.body.get("keep_alive") not in {None, 0}:
            runner.leaving = False  # ollama#17408: a call that says how long to stay revives a victim
        async with self._in_use(name, runner), runner.slots:
            reply = self._script(exchange.body)
            await self._stream(exchange, [reply] if isinstance(reply, str) else list(reply), name, fault)

    async def _stream(self, exchange: Exchange, pieces: Sequence[str], name: str, fault: Fault | None) -> None:
        await exchange.begin()
        for index, piece in enumerate(pieces):
            if index:
                await self._gate("piece")
            await exchange.line({"model": name, "message": {"role": "assistant", "content": piece}, "done": False})
            if fault is not None:
                break
        if fault == "cut":
            exchange.writer.transport.abort()
            return
        if fault == "garbage":
            await exchange.line("<html>proxy</html>")
        elif fault == "error":
            await exchange.line({"error": _DEAD})
        elif fault is None:
            words = sum(len(message["content"].split()) for message in exchange.body["messages"])
            await exchange.line(_last(name, words, len(pieces)))
        await exchange.end()

    async def _pull(self, exchange: Exchange, fault: Fault | None) -> None:
        name = canonical(exchange.body.get("model", ""))
        await exchange.begin()
        await exchange.line({"status": "pulling manifest"})
        if name not in self.pullable and name not in self.models:
            await exchange.line({"error": "pull model manifest: file does not exist"})
        elif fault is None:
            self.models.setdefault(name, self.pullable.get(name, ServedModel()))
            digest = _digest(name)
            for completed in (0, 50, 100):
                line = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": 100}
                await exchange.line({**line, "completed": completed})
            for status in ("verifying sha256 digest", "writing manifest", "success"):
                await exchange.line({"status": status})
        await exchange.end()

    async def _named(self, exchange: Exchange) -> str | None:
        name = canonical(exchange.body.get("model", ""))
        if name in self.models:
            return name
        await exchange.reply({"error": f"model '{exchange.body.get('model')}' not found"}, 404)
        return None

    def _runner_of(self, name: str) -> str:
        """The name under which the weights are in memory: that of the tag that was loaded first."""
        weights = self.models[name].weights
        tags = (other for other in self._runners if weights and other in self.models)
        return next((other for other in tags if self.models[other].weights == weights), name)

    async def _loaded(self, exchange: Exchange, name: str) -> bool:
        """Bring a model into memory for a request; False when that failed and the request has its answer."""
        num_ctx = int(exchange.body.get("options", {}).get("num_ctx", 4096))
        num_gpu = int(exchange.body.get("options", {}).get("num_gpu", -1))
        runner = self._runners.get(name)
        if runner is not None and runner.num_ctx == num_ctx and num_gpu in {-1, runner.num_gpu}:
            return True
        await self._gate("load")
        if (fault := self._next("load")) is not None:
            await exchange.reply({"error": _OOM if fault == "oom" else _DEAD}, 500)
            return False
        self._runners.pop(name, None)
        size = self.models[name].footprint
        for idle in [other for other, there in self._runners.items() if not there.users]:
            if num_gpu != 0 and self._free() < size:
                self._runners.pop(idle)
                self.unloads.append(idle)
        vram = 0 if num_gpu == 0 else min(size, self._free())
        self._runners[name] = _Runner(num_ctx, size, vram, asyncio.Semaphore(self._parallel), num_gpu=num_gpu)
        self.loads.append((name, num_ctx))
        return True

    @asynccontextmanager
    async def _in_use(self, name: str, runner: _Runner) -> AsyncIterator[None]:
        runner.users += 1
        self.active += 1
        self._idle.clear()
        self.peak_active = max(self.peak_active, self.active)
        try:
            yield
        finally:
            runner.users -= 1
            self.active -= 1
            if runner.leaving:
                self._leave(name)
            if not self.active:
                self._idle.set()

    def _leave(self, name: str) -> None:
        runner = self._runners.get(name)
        if runner is None:
            return
        runner.leaving = True
        if not runner.users:
            self._http.own(asyncio.ensure_future(self._gone(name, runner)))

    async def _gone(self, name: str, runner: _Runner) -> None:
        await self._gate("unload")
        if self._runners.get(name) is runner and runner.leaving and not runner.users:
            del self._runners[name]
            self.unloads.append(name)

    async def _gate(self, path: str) -> None:
        if (gate := self._gates.get(path)) is not None:
            self._reached[path].set()
            await gate.wait()

    def _next(self, path: str) -> Fault | None:
        return self._faults[path].popleft() if self._faults[path] else None

    def _free(self) -> Mib:
        return max(0, self.vram_mib - sum(runner.vram for runner in self._runners.values()))

    def _listed(self, name: str) -> dict[str, Any]:
        size = (self.models[name].file_mib or self.models[name].footprint) * MIB
        return {"name": name, "model": name, "size": size, "digest": _digest(f"manifest {name}"), "details": _details()}

    def _running(self, name: str) -> dict[str, Any]:
        runner = self._runners[name]
        sizes = {"size": runner.size * MIB, "size_vram": runner.vram * MIB, "context_length": runner.num_ctx}
        return {"name": name, "model": name, "digest": _digest(f"manifest {name}"), **sizes}


def _details() -> dict[str, Any]:
    return {"format": "gguf", "family": "llama", "parameter_size": "7B", "quantization_level": "Q4_0"}


def _last(name: str, prompt: int, output: int) -> dict[str, Any]:
    counts = {"prompt_eval_count": prompt, "eval_count": output}
    times = {"total_duration": 3_000_000_000, "load_duration": 500_000_000}
    parts = {"prompt_eval_duration": 1_000_000_000, "eval_duration": 1_500_000_000}
    message = {"role": "assistant", "content": ""}
    return {"model": name, "message": message, "done": True, "done_reason": "stop", **counts, **times, **parts}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
