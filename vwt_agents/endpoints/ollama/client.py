"""One server's API in our words: typed answers, our errors.

Only a load says how long a model stays (`keep_alive` -1: until told otherwise). A `keep_alive` on a call would revive a
model that is being unloaded, and then every cold load on that server waits for ever (ollama#17408). Calls send
`truncate: false`: a prompt longer than the context is an error with the numbers, never a silently shortened prompt; where a
server does not obey, its count gives it away. Loads and calls name the same `num_ctx`, `num_batch` and `shift`, because any
difference would load the model again; with `shift: false` a long answer ends with `length` and forgets nothing.
"""

from __future__ import annotations

import contextlib
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from vwt_agents.endpoints.base import ModelInfo, OnProgress, Progress, Residence
from vwt_agents.endpoints.ollama.answer import Part, lines
from vwt_agents.endpoints.ollama.connection import Connection
from vwt_agents.endpoints.ollama.error_mapping import ASK_S, as_ours, mapped
from vwt_agents.endpoints.ollama.listing import lacks_layers, listed, running, shown
from vwt_agents.endpoints.prefill import EchoFilter
from vwt_agents.errors import (
    CallFailed,
    CallTimeout,
    EndpointUnavailable,
    LoadFailed,
    PullFailed,
    UnloadFailed,
    WorldError,
)
from vwt_agents.messages import Chunk, OnChunk, Options, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
    from contextlib import AbstractContextManager

    import httpx

__all__ = ["OllamaClient"]

_NUM_BATCH: Final = 512  # what `footprint` counts on; left open, Ollama takes up to four times as much


class OllamaClient:
    """One server's API over one pooled connection: typed answers, our errors, no time limits but those it is given.

    An async context manager; the client behind it is built by the first call. `token` goes along as a bearer token.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self._connection = Connection(url, token)
        self.url = self._connection.url

    async def __aenter__(self) -> OllamaClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connection.close()

    async def version(self) -> str:
        """The server's version, such as `0.33.0`."""
        with self._mapped("asked for its version", EndpointUnavailable):
            return str((await self._connection.raw("GET", "/api/version"))["version"])

    async def tags(self) -> tuple[ModelInfo, ...]:
        """The models in the server's store, without their metadata; names in their one spelling."""
        with self._mapped("asked for its models", EndpointUnavailable), anyio.fail_after(ASK_S):
            entries = (await self._connection.client.list()).models
        return tuple(listed(entry) for entry in entries if entry.model)

    async def show(self, model: str) -> ModelInfo:
        """One model's metadata, licence and the digest of its weights; `size_bytes` is 0, only `tags` knows it."""
        with self._mapped("asked about it", EndpointUnavailable, model), anyio.fail_after(ASK_S):
            answer = await self._connection.client.show(model)
            metadata = dict(answer.modelinfo or {})
            if lacks_layers(metadata):
                metadata |= await self._layers(model, metadata)
        return shown(model, answer, metadata)

    async def ps(self) -> tuple[Residence, ...]:
        """What is in the server's memory now; `device_mib` is the part on its GPUs. A model still loading is absent."""
        with self._mapped("asked what is loaded", EndpointUnavailable), anyio.fail_after(ASK_S):
            entries = (await self._connection.client.ps()).models
        return tuple(running(entry) for entry in entries)

    async def preload(self, model: str, num_ctx: int, *, on_cpu: bool = False) -> None:
        """Load a model to stay until it is unloaded; returns once it can serve. Cancelling aborts the load.

        `on_cpu` keeps it off the server's GPUs. Only the load says so: a call that says nothing of it never reloads.
        """
        with self._mapped("asked to load it", LoadFailed, model):
            await self._generate(model, num_ctx, keep_alive=-1, options={"num_gpu": 0} if on_cpu else None)

    async def poke(self, model: str, num_ctx: int) -> None:
        """One token from a model that is resident with our options: whether it answers at all."""
        with self._mapped("asked for one token", CallFailed, model):
            await self._generate(model, num_ctx, prompt="1", raw=True, options={"num_predict": 1})

    async def _generate(
        self, model: str, num_ctx: int, *, options: Mapping[str, int] | None = None, **more: Any
    ) -> None:
        # AsyncClient.generate() has no `shift`
        body = {"model": model, "prompt": "", "stream": False, **_runner(num_ctx, options or {}), **more}
        if (await self._connection.raw("POST", "/api/generate", json=body)).get("done") is not True:
            raise ValueError("an answer that is not `done`")

    async def unload(self, model: str) -> None:
        """Tell the server to unload once the model is idle; returns at once, `ps` shows when it is done."""
        with self._mapped("asked to unload it", UnloadFailed, model), anyio.fail_after(ASK_S):
            await self._connection.client.generate(model, "", keep_alive=0)

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Have the server fetch a model. Cancelling pauses it: the next pull goes on where this one stopped."""
        status = ""
        with self._mapped("asked to pull it", PullFailed, model):
            parts = await self._connection.client.pull(model, stream=True)
        async with aclosing(self._parts(parts, "pulling it", PullFailed, model)) as pulled:
            async for part in pulled:
                status = part.status or status
                if on_progress is not None:
                    on_progress(Progress(status, part.completed or 0, part.total or 0))
        if status != "success":
            raise PullFailed(
                f"{self.url} stopped pulling {model!r} after {status!r}", hint="pull it again: it goes on from there"
            )

    async def rendered(self, request: Request) -> str | None:
        """The text the model would read of these messages; None from a server that does not say (before 0.11.5)."""
        body = self._body(replace(request, options=Options(num_predict=1), format=None))
        body |= {"messages": _messages(request), "stream": False, "_debug_render_only": True}
        with self._mapped("asked to render a prompt", CallFailed, request.model), anyio.fail_after(ASK_S):
            answer = await self._connection.raw("POST", "/api/chat", json=body)
            text = (answer.get("_debug_info") or {}).get("rendered_template")
        return None if text is None else str(text)

    async def chat(self, request: Request, on_chunk: OnChunk | None = None, *, prompt: str | None = None) -> Response:
        """The complete answer within `request.timeout` seconds; its text never begins with the prefill.

        `prompt` is what the model is to read, as it is, instead of what its template makes of the messages.
        """
        with anyio.move_on_after(request.timeout):
            return await self._chat(request, on_chunk, prompt)
        raise CallTimeout(
            f"{request.model!r} at {self.url} had not finished its answer after {request.timeout:g} s",
            hint="raise the time limit, or lower num_predict",
        )

    async def _chat(self, request: Request, on_chunk: OnChunk | None, prompt: str | None) -> Response:
        echo = EchoFilter(request.prefill)
        texts: list[str] = []
        thought = False
        reply = await self._asked(request, prompt)
        parts = lines(
            reply.aiter_bytes()
            if reply.headers.get("content-encoding")
            else aiter(cast("AsyncIterable[bytes]", reply.stream))
        )
        try:
            while part := await self._next(parts, request.model):
                thought = thought or part.thought
                text = echo.feed(part.text)
                if part.done:
                    text += echo.finish()
                if text:
                    texts.append(text)
                    if on_chunk is not None:
                        on_chunk(Chunk(text))
                if part.done:
                    # Read to its end, its connection is used again; the answer is complete, whatever is wrong with the rest.
                    with contextlib.suppress(Exception):
                        async for _ in parts:
                            pass
                    if thought and not texts and part.done_reason == "length":
                        raise _only_thought(request, part.usage.output_tokens)
                    return Response("".join(texts), request.model, request.endpoint, part.done_reason, part.usage)
        finally:
            await reply.aclose()
        raise CallFailed(
            f"{self.url} broke off the answer of {request.model!r} after {sum(map(len, texts))} characters",
            hint="its runner may have stopped: see the server's log",
            retryable=True,
        )

    async def _next(self, parts: AsyncIterator[bytes], model: str) -> Part | None:
        """The next part, None after the last; only reading is mapped: a fault of the one who listens stays his."""
        try:
            return Part.read(await anext(parts))
        except StopAsyncIteration:
            return None
        except Exception as error:
            if ours := as_ours(self.url, error, "answering", CallFailed, model):
                raise ours from error
            raise

    async def _asked(self, request: Request, prompt: str | None) -> httpx.Response:
        """The server's reply to a call, which is to be read and closed."""
        body = self._body(request)
        if prompt is None:
            path, body["messages"] = "/api/chat", _messages(request)
        else:
            path, body = "/api/generate", {**body, "prompt": prompt, "raw": True}
        with self._mapped("asked to answer", CallFailed, request.model):
            return await self._connection.ask(path, body)

    @staticmethod
    def _body(request: Request) -> dict[str, Any]:
        """What asks for an answer, whatever it is to be an answer to."""
        options = request.options.as_ollama()
        think = options.pop("think", None)
        body = {"model": request.model, "stream": True, "truncate": False, **_runner(request.num_ctx, options)}
        if think is not None:
            body["think"] = think
        if request.format is not None:
            body["format"] = dict(request.format)
        if request.together > 1:
            body["together"] = request.together  # our embedded workers know it; Ollama takes no notice
        return body

    async def _parts(self, parts: Any, doing: str, failed: type[WorldError], model: str) -> AsyncGenerator[Any, None]:
        """The parts of a stream; only reading them is mapped, so that a fault of the one who uses them stays his."""
        async with aclosing(parts):
            while True:
                with self._mapped(doing, failed, model):
                    try:
                        part = await anext(parts)
                    except StopAsyncIteration:
                        return
                yield part

    async def _layers(self, model: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The per-layer numbers, which a server leaves out unless it is asked for everything."""
        everything = (await self._connection.raw("POST", "/api/show", json={"model": model, "verbose": True})).get(
            "model_info"
        ) or {}
        return {key: everything[key] for key in metadata if key in everything and not key.startswith("tokenizer.")}

    def _mapped(self, doing: str, failed: type[WorldError], model: str | None = None) -> AbstractContextManager[None]:
        return mapped(self.url, doing, failed, model)


def _messages(request: Request) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in request.messages]


def _only_thought(request: Request, tokens: int) -> CallFailed:
    return CallFailed(
        f"{request.model!r} thought for all of its {tokens} tokens and had none left for an answer",
        hint="raise num_predict, or leave `think` out of the agent's options",
    )


def _runner(num_ctx: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a runner is started with: the same in every request to one model, or it would be loaded again."""
    return {"shift": False, "options": {**options, "num_ctx": num_ctx, "num_batch": _NUM_BATCH}}
