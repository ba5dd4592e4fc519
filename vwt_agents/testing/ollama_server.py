"""A server that behaves as Ollama does, with faults to switch on. Owns its HTTP API and no model: answers come from a script.

What it imitates: preload and unload by an empty generate; an unload that is answered at once and happens once the model is
idle; implicit loads; slots; pieces as NDJSON; errors as JSON, or as a line of a stream that has begun; a prompt cut silently
unless `truncate` is false; the client's leaving noticed, which ends a call and aborts a load. What is in memory, who is
loaded again and who is evicted is told in memory.py, what can be wrong in faults.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from vwt_agents.endpoints.address import canonical
from vwt_agents.testing.bodies import keep_alive_of, refusal_of, runner_options
from vwt_agents.testing.faults import Fault, Faults, Gates
from vwt_agents.testing.http import Exchange, HttpServer
from vwt_agents.testing.memory import Busy, Memory, Runner, RunnerOptions
from vwt_agents.testing.replies import (
    BUSY,
    KILLED,
    OOM,
    TOO_LONG,
    ServedModel,
    Times,
    last,
    listed,
    rendered,
    running,
    said,
    shown,
    tokens,
    too_long,
)
from vwt_agents.testing.streams import parts_of, stream_answer, stream_pull, stream_text

if TYPE_CHECKING:
    from vwt_agents.types import Mib, Seconds

__all__ = ["Fault", "OllamaServer", "ServedModel"]

Reply: TypeAlias = str | Sequence[str]


class OllamaServer:
    """`async with OllamaServer({"mistral:latest": ServedModel()}) as server:` listens at `server.url` for that block.

    `script(body) -> str | pieces` answers a chat; `calls` are the bodies of /api/chat, `requests` all (path, body), `loads` and
    `unloads` what its memory went through. `fail(path, fault)` breaks the next requests; `hold(path)` makes a gate.
    `lock_up`, `evict`, `load_by_another`, `refuse` are what others do to it. `piece_s` is the time between pieces, `load_s`
    that of a load, `obeys_truncate` False an old version's deafness to `truncate: false`.
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
        self.active = 0
        self.peak_active = 0
        self.version = version
        self.token = token
        self.piece_s: Seconds = 0.0
        self.obeys_truncate = True
        self._script = script if callable(script) else lambda _: script
        self._faults = Faults()
        self._gates = Gates()
        self.memory = Memory(vram_mib, parallel, self._gates.through)
        self._idle = asyncio.Event()
        self._idle.set()
        self._http = HttpServer(self._serve, port)

    async def __aenter__(self) -> OllamaServer:
        await self._http.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.stop()
        await self.memory.close()

    # -- what a test sees ------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens; the same after `refuse` and `accept`."""
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def resident(self) -> dict[str, int]:
        """The models in its memory, and the num_ctx of each."""
        return {name: runner.num_ctx for name, runner in self.memory.runners.items()}

    @property
    def loads(self) -> list[tuple[str, int]]:
        """The loads that succeeded: model and num_ctx, in order."""
        return self.memory.loads

    @property
    def unloads(self) -> list[str]:
        """The models that left, told to or evicted by a load."""
        return self.memory.unloads

    async def reached(self, path: str) -> None:
        """Return once a request has come to the gate that `hold` made; TimeoutError when none does in 10 seconds."""
        await self._gates.reached(path)

    async def idle(self) -> None:
        """Return once no call is being answered."""
        await self._idle.wait()

    # -- what a test does ------------------------------------------------------------------------------------------

    @property
    def vram_mib(self) -> Mib:
        """The memory of its GPU; may be changed."""
        return self.memory.vram_mib

    @vram_mib.setter
    def vram_mib(self, mib: Mib) -> None:
        self.memory.vram_mib = mib

    @property
    def load_s(self) -> Seconds:
        """How long a load takes; may be changed."""
        return self.memory.load_s

    @load_s.setter
    def load_s(self, seconds: Seconds) -> None:
        self.memory.load_s = seconds

    def fail(self, path: str, fault: Fault, times: int = 1) -> None:
        """Break the next requests to a path, such as `/api/chat`; loads are at `load`, whatever request asks for them."""
        self._faults.add(path, fault, times)

    def hold(self, path: str) -> asyncio.Event:
        """A gate: requests to a path (or loads at `load`, unloads at `unload`, pieces of an answer at `piece`) wait at it."""
        return self._gates.hold(path)

    def lock_up(self) -> None:
        """From now on every cold load waits until some model leaves, while all else works (ollama#17408)."""
        self.memory.lock_up()

    async def refuse(self) -> None:
        """Break every connection and refuse new ones, as a server that died; its memory is lost."""
        await self._http.stop()
        self.memory.lose()

    async def accept(self) -> None:
        """Listen again, at the same port."""
        await self._http.start()

    def evict(self, model: str) -> None:
        """A model is gone from memory, as when another client's request evicted it."""
        self.memory.lose(canonical(model))

    async def load_by_another(
        self, model: str, *, num_ctx: int | None = None, num_batch: int | None = None, shift: bool = True
    ) -> None:
        """Another client's request loads a model with its own options: others may have to leave, and ours be loaded again."""
        name = canonical(model)
        await self.memory.runner(name, self.models[name], RunnerOptions(num_ctx, num_batch, shift))

    # -- the API ---------------------------------------------------------------------------------------------------

    async def _serve(self, exchange: Exchange) -> None:
        self.requests.append((exchange.path, exchange.body))
        if self.token is not None and exchange.headers.get("authorization") != f"Bearer {self.token}":
            await exchange.reply({"error": "unauthorized"}, 400)
            return
        fault = self._faults.take(exchange.path)
        if await self._broken(exchange, fault):
            return
        await self._gates.through(exchange.path)
        await self._route(exchange, fault)

    async def _broken(self, exchange: Exchange, fault: Fault | None) -> bool:
        """Whether the fault is all the answer there is."""
        match fault:
            case "busy":
                await exchange.reply({"error": BUSY}, 503)
            case "oom":
                self.memory.lose()
                await exchange.reply({"error": OOM}, 500)
            case "hang":
                await asyncio.Event().wait()
            case "reset":
                exchange.writer.transport.abort()
            case "garbage" if exchange.path not in {"/api/chat", "/api/pull"}:
                await exchange.reply(["not", "Ollama"])
            case _:
                return False
        return True

    async def _route(self, exchange: Exchange, fault: Fault | None) -> None:
        match exchange.path:
            case "/api/version":
                await exchange.reply({"version": self.version})
            case "/api/tags":
                await exchange.reply({"models": [listed(name, model) for name, model in self.models.items()]})
            case "/api/ps":
                await exchange.reply({"models": [self._running(*each) for each in self.memory.runners.items()]})
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

    def _running(self, name: str, runner: Runner) -> dict[str, Any]:
        return running(name, size=runner.size, vram=runner.vram, num_ctx=runner.num_ctx, expires=runner.expires)

    async def _show(self, exchange: Exchange) -> None:
        if (name := await self._named(exchange)) is not None:
            await exchange.reply(shown(name, self.models[name], verbose=bool(exchange.body.get("verbose"))))

    async def _generate(self, exchange: Exchange) -> None:
        """Load, unload, or answer a prompt in one piece."""
        if (asked := await self._asked(exchange)) is None:
            return
        prompt, empty = exchange.body.get("prompt") or "", {"response": ""}
        if not prompt:
            await self._stay_or_leave(exchange, asked, empty)
            return
        name = self._runner_of(asked)
        if (runner := await self._loaded(exchange, name)) is not None:
            async with self.memory.use(name, runner, keep_alive_of(exchange.body)), runner.slots:
                counts = {"prompt_eval_count": tokens([{"content": prompt}]), "eval_count": 1}
                if exchange.body.get("stream") is False:
                    await exchange.reply(said(asked, response="ok", done=True, done_reason="stop", **counts))
                    return
                reply = self._script(exchange.body)
                await stream_text(exchange, asked, [reply] if isinstance(reply, str) else reply, counts)

    async def _stay_or_leave(self, exchange: Exchange, asked: str, empty: dict[str, Any]) -> None:
        """What a request without a prompt asks for: an unload with a `keep_alive` of 0, else a load."""
        name, keep_alive = self._runner_of(asked), keep_alive_of(exchange.body)
        if keep_alive == 0:
            self.memory.told_to_leave(name)
            await exchange.reply(said(asked, **empty, done=True, done_reason="unload"))
        elif await self._loaded(exchange, name) is not None:
            self.memory.keep(name, keep_alive)
            await exchange.reply(said(asked, **empty, done=True, done_reason="load"))

    async def _chat(self, exchange: Exchange, fault: Fault | None) -> None:
        if not exchange.body.get("_debug_render_only"):
            self.calls.append(exchange.body)
        began = _now()
        if (asked := await self._asked(exchange)) is None:
            return
        if not exchange.body.get("messages"):
            await self._stay_or_leave(exchange, asked, {"message": {"role": "assistant", "content": ""}})
            return
        name = self._runner_of(asked)
        if (runner := await self._loaded(exchange, name)) is None:
            return
        if exchange.body.get("_debug_render_only"):
            text = rendered(exchange.body["messages"], closes=self.models[asked].closes)
            await exchange.reply(said(asked, done=False, _debug_info={"rendered_template": text}))
            return
        granted = _now()
        self._count(1)
        try:
            async with self.memory.use(name, runner, keep_alive_of(exchange.body)), runner.slots:
                times = Times(load=granted - began, slot=_now() - granted)
                if (prompt := await self._prompt(exchange, runner)) is not None:
                    parts, reason = parts_of(exchange.body, self.models[asked], self._script(exchange.body))
                    end = last(asked, prompt, len(parts), times, reason=reason)
                    if fault == "error":
                        self.memory.kill(name)
                    await stream_answer(exchange, parts, end, fault=fault, pause=self._pause)
        finally:
            self._count(-1)

    async def _prompt(self, exchange: Exchange, runner: Runner) -> int | None:
        """The tokens of the prompt that the model sees; None where it was refused as too long."""
        count, body = tokens(exchange.body["messages"]), exchange.body
        if count < runner.num_ctx:
            return count
        if body.get("truncate") is False and self.obeys_truncate:
            await exchange.reply({"error": too_long(count, runner.num_ctx)}, 400)
        elif not runner.options.shift and self.obeys_truncate:
            await exchange.reply({"error": TOO_LONG}, 400)
        else:
            return runner.num_ctx - max((runner.num_ctx - 4) // 2, 1)
        return None

    async def _pause(self) -> None:
        await self._gates.through("piece")
        await asyncio.sleep(self.piece_s)

    async def _pull(self, exchange: Exchange, fault: Fault | None) -> None:
        name = canonical(exchange.body.get("model", ""))
        there = name in self.pullable or name in self.models
        if there and fault is None:
            self.models.setdefault(name, self.pullable.get(name, ServedModel()))
        await stream_pull(exchange, name, there=there, broken=fault is not None)

    async def _named(self, exchange: Exchange) -> str | None:
        name = canonical(exchange.body.get("model", ""))
        if name in self.models:
            return name
        await exchange.reply({"error": f"model '{exchange.body.get('model')}' not found"}, 404)
        return None

    async def _asked(self, exchange: Exchange) -> str | None:
        """The model of a chat or a generate; None where the request is refused and has its answer."""
        name = await self._named(exchange)
        if name is not None and (refusal := refusal_of(exchange.body, self.models[name])) is not None:
            await exchange.reply({"error": refusal.words}, refusal.status)
            return None
        return name

    def _runner_of(self, name: str) -> str:
        """The name under which the weights are in memory: that of the tag that was loaded first."""
        weights = self.models[name].weights
        tags = (other for other in self.memory.runners if weights and other in self.models)
        return next((other for other in tags if self.models[other].weights == weights), name)

    async def _loaded(self, exchange: Exchange, name: str) -> Runner | None:
        """The model in memory for a request; None when that failed and the request has its answer."""
        wanted = runner_options(exchange.body)
        there = self.memory.runners.get(name)
        if (there is None or not there.serves(wanted)) and (fault := self._faults.take("load")) is not None:
            if fault == "error":
                await exchange.reply({"error": KILLED}, 500)
            else:
                await self._broken(exchange, fault)
            return None
        try:
            return await self.memory.runner(name, self.models[name], wanted)
        except Busy:
            await exchange.reply({"error": BUSY}, 503)
            return None

    def _count(self, change: int) -> None:
        self.active += change
        self.peak_active = max(self.peak_active, self.active)
        if self.active:
            self._idle.clear()
        else:
            self._idle.set()


def _now() -> Seconds:
    return asyncio.get_running_loop().time()
