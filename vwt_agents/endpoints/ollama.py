"""Ollama as an endpoint.

Owns the one import of the `ollama` package, what is sent to its servers, and the mapping of their errors.
`OllamaClient` is one server's API in our words; `OllamaEndpoint` adds what the core relies on: a load is wholly on its
device or it failed, an unload has ended when its memory is free. Neither decides what is resident, or retries.

Only a load says how long a model stays (`keep_alive` -1: until told otherwise). A `keep_alive` on a call would revive a
model that is being unloaded, and then every cold load on that server waits for ever (ollama#17408). Calls send
`truncate: false`: a prompt longer than the context is an error with the numbers, never a silently shortened prompt; where a
server does not obey, its count gives it away. Loads and calls name the same `num_ctx`, `num_batch` and `shift`, because any
difference would load the model again; with `shift: false` a long answer ends with `length` and forgets nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import anyio

from vwt_agents.endpoints.address import canonical, server_url
from vwt_agents.endpoints.base import Health, ModelInfo, OnProgress, Progress, Residence, Undo
from vwt_agents.endpoints.deep_probe import deep_probe
from vwt_agents.endpoints.loading import watched
from vwt_agents.endpoints.lockup import LoadWatch
from vwt_agents.endpoints.prefill import EchoFilter
from vwt_agents.endpoints.truncation import Window
from vwt_agents.errors import (
    CallFailed,
    CallTimeout,
    EndpointUnavailable,
    LoadFailed,
    LoadsHang,
    ModelMissing,
    PullFailed,
    Spilled,
    UnloadFailed,
    WorldError,
)
from vwt_agents.hosts import is_loopback
from vwt_agents.messages import Chunk, OnChunk, Request, Response, Usage
from vwt_agents.types import MIB, Mib, Seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping

    import httpx
    import ollama

__all__ = ["OllamaClient", "OllamaEndpoint"]

_CONNECT_S: Final = 5.0
_PROBE_S: Final = 3.0
_ASK_S: Final = 30.0
_UNLOAD_S: Final = 60.0
_CLEAN_UP_S: Final = 10.0
_LAST_SWEEP_S: Final = 1.0
_NS: Final = 1e9
_NUM_BATCH: Final = 512  # what `footprint` counts on; left open, Ollama takes up to four times as much
_WEIGHTS: Final = re.compile(r"^FROM .*sha256[-:]([0-9a-f]{64})", re.MULTILINE)


class OllamaClient:
    """One server's API over one pooled connection: typed answers, our errors, no time limits but those it is given.

    An async context manager; the client behind it is built by the first call. `token` goes along as a bearer token.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = server_url(url)
        self._token = token
        self._client: ollama.AsyncClient | None = None
        self._direct: httpx.AsyncHTTPTransport | None = None
        self._chat_url: httpx.URL | None = None

    async def __aenter__(self) -> OllamaClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]

    async def version(self) -> str:
        """The server's version, such as `0.33.0`."""
        with self._mapped("asked for its version", EndpointUnavailable):
            return str((await self._raw("GET", "/api/version"))["version"])

    async def tags(self) -> tuple[ModelInfo, ...]:
        """The models in the server's store, without their metadata; names in their one spelling."""
        with self._mapped("asked for its models", EndpointUnavailable), anyio.fail_after(_ASK_S):
            listed = (await self._open().list()).models
        return tuple(
            ModelInfo(
                name=canonical(entry.model),
                size_bytes=int(entry.size or 0),
                digest=(entry.digest or "").removeprefix("sha256:"),
                quantisation=_detail(entry.details, "quantization_level"),
                parameters=_detail(entry.details, "parameter_size"),
            )
            for entry in listed
            if entry.model
        )

    async def show(self, model: str) -> ModelInfo:
        """One model's metadata, licence and the digest of its weights; `size_bytes` is 0, only `tags` knows it."""
        with self._mapped("asked about it", EndpointUnavailable, model), anyio.fail_after(_ASK_S):
            shown = await self._open().show(model)
            metadata = dict(shown.modelinfo or {})
            if _lacks_layers(metadata):
                metadata |= await self._layers(model, metadata)
        weights = _WEIGHTS.search(shown.modelfile or "")
        return ModelInfo(
            name=canonical(model),
            size_bytes=0,
            digest=weights[1] if weights else "",
            metadata=MappingProxyType(metadata),
            quantisation=_detail(shown.details, "quantization_level"),
            parameters=_detail(shown.details, "parameter_size"),
            licence=shown.license or "",
            options=MappingProxyType(_options(shown.parameters or "")),
        )

    async def ps(self) -> tuple[Residence, ...]:
        """What is in the server's memory now; `device_mib` is the part on its GPUs. A model still loading is absent."""
        with self._mapped("asked what is loaded", EndpointUnavailable), anyio.fail_after(_ASK_S):
            running = (await self._open().ps()).models
        return tuple(
            Residence(
                model=canonical(entry.model or entry.name or ""),
                size_mib=_mib(int(entry.size or 0)),
                device_mib=_mib(int(entry.size_vram or 0)),
                num_ctx=entry.context_length or 0,
                expires_in=entry.expires_at.timestamp() - time.time() if entry.expires_at else None,
            )
            for entry in running
        )

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
        if (await self._raw("POST", "/api/generate", json=body)).get("done") is not True:
            raise ValueError("an answer that is not `done`")

    async def unload(self, model: str) -> None:
        """Tell the server to unload once the model is idle; returns at once, `ps` shows when it is done."""
        with self._mapped("asked to unload it", UnloadFailed, model), anyio.fail_after(_ASK_S):
            await self._open().generate(model, "", keep_alive=0)

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Have the server fetch a model. Cancelling pauses it: the next pull goes on where this one stopped."""
        status = ""
        with self._mapped("asked to pull it", PullFailed, model):
            parts = await self._open().pull(model, stream=True)
        async with aclosing(self._parts(parts, "pulling it", PullFailed, model)) as pulled:
            async for part in pulled:
                status = part.status or status
                if on_progress is not None:
                    on_progress(Progress(status, part.completed or 0, part.total or 0))
        if status != "success":
            raise PullFailed(
                f"{self.url} stopped pulling {model!r} after {status!r}", hint="pull it again: it goes on from there"
            )

    async def chat(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The complete answer within `request.timeout` seconds; its text never begins with the prefill."""
        with anyio.move_on_after(request.timeout):
            return await self._chat(request, on_chunk)
        raise CallTimeout(
            f"{request.model!r} at {self.url} had not finished its answer after {request.timeout:g} s",
            hint="raise the time limit, or lower num_predict",
        )

    async def _chat(self, request: Request, on_chunk: OnChunk | None) -> Response:
        echo = EchoFilter(request.prefill)
        texts: list[str] = []
        reply = await self._asked(request)
        # Parts are read as they are, without a model of the package's for each: there is one for every token.
        lines = _lines(
            reply.aiter_bytes()
            if reply.headers.get("content-encoding")
            else aiter(cast("AsyncIterable[bytes]", reply.stream))
        )
        try:
            while True:
                try:
                    part = _Part.read(await anext(lines))
                except StopAsyncIteration:
                    break
                except Exception as error:  # only reading is mapped: a fault of the one who listens stays his
                    if ours := self._ours(error, "answering", CallFailed, request.model):
                        raise ours from error
                    raise
                text = echo.feed(part.text)
                if part.done:
                    text += echo.finish()
                if text:
                    texts.append(text)
                    if on_chunk is not None:
                        on_chunk(Chunk(text))
                if part.done:
                    with contextlib.suppress(
                        Exception
                    ):  # the answer is complete, whatever is wrong with the rest of it
                        async for _ in lines:  # read to its end, its connection is used again
                            pass
                    return Response("".join(texts), request.model, request.endpoint, part.done_reason, part.usage)
        finally:
            await reply.aclose()
        raise CallFailed(
            f"{self.url} broke off the answer of {request.model!r} after {sum(map(len, texts))} characters",
            hint="its runner may have stopped: see the server's log",
            retryable=True,
        )

    async def _asked(self, request: Request) -> httpx.Response:
        """The server's reply to a call, which is to be read and closed."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": True,
            "truncate": False,
            **_runner(request.num_ctx, request.options.as_ollama()),
        }
        if request.format is not None:
            body["format"] = dict(request.format)
        if request.together > 1:
            body["together"] = request.together  # our embedded workers know it; Ollama takes no notice
        with self._mapped("asked to answer", CallFailed, request.model):
            import httpx
            import ollama

            # AsyncClient.chat() has no `truncate`, and makes a pydantic model of every message and every part
            pool: httpx.AsyncClient = self._open()._client  # noqa: SLF001
            if self._chat_url is None:  # kept: putting it together anew takes longer than all the rest of the request
                self._chat_url = pool.build_request("POST", "/api/chat").url
            asked = httpx.Request(
                "POST",
                self._chat_url,
                headers=pool.headers,
                cookies=pool.cookies,
                json=body,
                extensions={"timeout": pool.timeout.as_dict()},
            )
            reply = await self._sent(asked, pool)
            if reply.is_success:
                return reply
            try:
                await reply.aread()
                raise ollama.ResponseError(reply.text, reply.status_code)
            finally:
                await reply.aclose()

    async def _sent(self, asked: httpx.Request, pool: httpx.AsyncClient) -> httpx.Response:
        # What the client adds to its transport (redirects, cookies, logins) costs more than all we do for a call ourselves,
        # and a server on this machine has no use for it.
        if self._direct is not None:
            reply = await self._direct.handle_async_request(asked)
            if not reply.has_redirect_location:
                return reply
            await reply.aclose()
        return await pool.send(asked, stream=True)

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
        everything = (await self._raw("POST", "/api/show", json={"model": model, "verbose": True})).get(
            "model_info"
        ) or {}
        return {key: everything[key] for key in metadata if key in everything and not key.startswith("tokenizer.")}

    async def _raw(self, *request: str, **body: Any) -> Any:
        """What the package has no verb or no argument for, through the same connection."""
        reply = await self._open()._request_raw(*request, **body)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return reply.json()

    def _open(self) -> ollama.AsyncClient:
        if self._client is None:
            import httpx
            import ollama

            tls = self.url.startswith("https:")  # or 20 ms go into certificates that nobody needs
            limits = httpx.Limits(
                max_connections=None, max_keepalive_connections=16
            )  # a probe never waits behind calls
            if is_loopback(self.url):  # a proxy for the outside world would swallow its calls
                self._direct = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)
            self._client = ollama.AsyncClient(
                self.url,
                headers={"Authorization": f"Bearer {self._token}"} if self._token else None,
                # a client that gives up during a load makes the server abort it
                timeout=httpx.Timeout(None, connect=_CONNECT_S),
                limits=limits,
                verify=tls,
                trust_env=self._direct is None,
                transport=self._direct,
            )
        return self._client

    @contextmanager
    def _mapped(self, doing: str, failed: type[WorldError], model: str | None = None) -> Iterator[None]:
        """What goes wrong within the block comes out as an error of ours."""
        try:
            yield
        except Exception as error:
            if ours := self._ours(error, doing, failed, model):
                raise ours from error
            raise

    def _ours(self, error: Exception, doing: str, failed: type[WorldError], model: str | None) -> WorldError | None:
        """The one place where foreign errors become ours; None for an error that is no server's."""
        import httpx
        import ollama

        what = f"{self.url}, {doing}" if model is None else f"{self.url}, {doing} ({model!r})"
        match error:
            case ollama.ResponseError():
                return self._refused(error.status_code, str(error.error).strip(), what, failed, model)
            case (
                httpx.ConnectError()
                | httpx.ConnectTimeout()
                | httpx.InvalidURL()
                | httpx.UnsupportedProtocol()
                | ConnectionError()
            ):
                nobody = EndpointUnavailable(
                    f"no Ollama server answers at {self.url}" + (f" (wanted for {model!r})" if model else ""),
                    hint="start one with `ollama serve`, or correct its url in agents.toml or OLLAMA_HOST; "
                    "`python -m vwt_agents doctor` says what works here",
                )
                nobody.refused = True
                return nobody
            case TimeoutError():
                return _failure(failed, f"{what}: it said nothing for {_ASK_S:g} s", "restart that server")
            case httpx.HTTPError() | httpx.StreamError():
                words = f"the connection broke: {what}: {str(error) or type(error).__name__}"
                return _failure(failed, words, "see the server's log", retryable=True)
            case ValueError() | TypeError() | AttributeError() | KeyError():
                # what is raised for lines that are not JSON, JSON that is no object, or objects of another shape
                hint = "is an Ollama server listening there, and not something else?"
                return _failure(failed, f"not an answer of Ollama's API: {what}: {error}", hint)
            case _:
                return None

    def _refused(self, status: int, words: str, what: str, failed: type[WorldError], model: str | None) -> WorldError:
        if status == 404 and model is not None:
            return ModelMissing(
                f"{self.url} does not have the model {model!r}: {words}",
                hint=f"bring it with `python -m vwt_agents models pull {model}` (or `ollama pull {model}`)",
            )
        if status == 503:
            return _failure(failed, f"{what}: {words or 'busy'}", "its queue is full: ask again later", retryable=True)
        if status in {401, 403}:
            return EndpointUnavailable(
                f"{what}: it refused access (HTTP {status}): {words}", hint="does it want a token?"
            )
        spoken = words or "it gave no reason"
        return _failure(failed, f"{what}: {spoken}" if status < 0 else f"{what}: HTTP {status}: {spoken}", None)


class OllamaEndpoint:
    """An Ollama server as an endpoint. `url` defaults to OLLAMA_HOST, else the local server; it loads on `device`.

    How many slots a model has there is the server's OLLAMA_NUM_PARALLEL, which no API shows: configure both to agree.
    """

    kind = "ollama"

    def __init__(self, name: str, url: str | None = None, *, device: str = "gpu0") -> None:
        self.name = name
        self.device = device
        self.url = server_url(url)
        self._client = OllamaClient(self.url)
        self._spelling: dict[str, str] = {}
        self._shown: dict[
            str, str
        ] = {}  # of our models, those that the server lists under another tag of their weights
        self._sizes: dict[str, Mib] = {}
        self._held: dict[str, int] = {}
        self._leaving: set[str] = set()
        self._remains: set[str] = set()
        self._windows: dict[str, Window] = {}
        self._undo: Undo = _for_oneself
        self._counts = True

    async def __aenter__(self) -> OllamaEndpoint:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._remains |= self._leaving
        with anyio.move_on_after(_LAST_SWEEP_S, shield=True), contextlib.suppress(WorldError):
            await self._sweep()
        await self._client.__aexit__(*exc)

    async def probe(self) -> Health:
        """Whether the server answers within 3 seconds."""
        import ollama  # noqa: F401 - which may itself take seconds where the machine is busy: those are not the server's

        try:
            with anyio.move_on_after(_PROBE_S):
                version = await self._client.version()
                # Before 0.4 the count left out what was cached; 0.0.0 is a build of one's own.
                self._counts = not re.match(r"0\.[0-3]\.(?!0$)", version)
                return Health(ok=True, detail=f"Ollama {version} at {self.url}", version=version)
        except WorldError as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=False, detail=f"{self.url} accepts connections but did not answer within {_PROBE_S:g} s")

    async def deep_probe(self) -> Health:
        """Whether models answer and load too, which `probe` does not see; evicts nobody, bounded to a few minutes."""
        return await deep_probe(self, self._client, self._held)

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models in the server's store, with metadata; those that run in Ollama's cloud are left out."""
        local = [info for info in await self._client.tags() if not info.name.endswith("cloud")]
        found: dict[str, ModelInfo] = {}
        limit = anyio.CapacityLimiter(4)

        async def look(info: ModelInfo) -> None:
            async with limit:
                with contextlib.suppress(ModelMissing):  # removed since it was listed
                    found[info.name] = _joined(info, await self._client.show(info.name))

        async with anyio.create_task_group() as tasks:
            for info in local:
                tasks.start_soon(look, info)
        return tuple(found[info.name] for info in local if info.name in found)

    async def describe(self, model: str) -> ModelInfo:
        """One model's metadata; ModelMissing with the command that brings it."""
        shown = await self._client.show(model)
        name = canonical(model)
        listed = next((info for info in await self._client.tags() if info.name == name), shown)
        self._sizes[name] = _mib(listed.size_bytes)
        return replace(_joined(listed, shown), name=model)

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Load to stay, wholly on the device, else LoadFailed and nothing is left in memory there."""
        self._spelling[canonical(model)] = model
        watch = LoadWatch(canonical(model), self._sizes.get(canonical(model), 0))
        done = False
        try:
            with anyio.move_on_after(timeout):
                await self._sweep()
                on_cpu = self.device == "cpu"
                load = partial(self._client.preload, model, num_ctx, on_cpu=on_cpu)
                if hang := await watched(load, self._client.ps, watch):
                    raise LoadsHang(
                        f"{self.url} will not load {model!r}: {hang}",
                        hint="restart that server; no client of it should send `keep_alive` with its calls (ollama#17408)",
                    )
                residence = await self._whole(model, num_ctx, slots)
                self._held[canonical(model)] = num_ctx
                done = True
                return residence
        finally:
            if not done:
                await self._clean_up(model)
        raise LoadFailed(
            f"{self.url} had not loaded {model!r} (num_ctx {num_ctx}) after {timeout:g} s",
            hint="see the server's log; a slow disk needs a longer time limit",
        )

    def undo_by(self, undo: Undo) -> None:
        """From now on, what loads and unloads that did not succeed may have left in memory is unloaded through `undo`."""
        self._undo = undo

    async def unload(self, model: str) -> None:
        """Unload and return once it is gone from there; calls in flight finish first. UnloadFailed after a minute."""
        self._held.pop(canonical(model), None)
        self._leaving.add(model)
        with anyio.move_on_after(_UNLOAD_S):
            await self._gone(model)
            self._leaving.discard(model)
            return
        raise UnloadFailed(
            f"{self.url} still shows {model!r} {_UNLOAD_S:g} s after it was told to unload it",
            hint="someone else is using it there; `ollama ps` shows it, `ollama stop` ends it",
        )

    async def resident(self) -> tuple[Residence, ...]:
        """What is in memory there now, under the names it was loaded by here, else Ollama's own."""
        return tuple(self._seen(residence) for residence in await self._client.ps())

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """Answer one request, all of whose prompt was read. Cancelling closes the connection, which frees the slot."""
        response = await self._client.chat(request, on_chunk)
        window = self._windows.setdefault(request.model, Window())
        texts = tuple(message.content for message in request.messages)
        if self._counts and (cut := window.judge(texts, request.num_ctx, response.usage.prompt_tokens)):
            raise CallFailed(
                f"{self.url} cut the prompt of {request.model!r} to fit its num_ctx {request.num_ctx}: {cut}",
                hint="raise the agent's num_ctx, give it less, or use a newer Ollama, which refuses such a prompt itself",
            )
        return response

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Have the server fetch and verify a model; what has arrived is kept when it is broken off."""
        await self._client.pull(model, on_progress)

    async def _whole(self, model: str, num_ctx: int, slots: int) -> Residence:
        name = canonical(model)
        seen = next((found for found in await self._client.ps() if found.model == name), None)
        if seen is None:
            seen = await self._other_tag(name)
        if seen is None:
            raise LoadFailed(
                f"{self.url} said it loaded {model!r}, but it is not in memory there",
                hint="another client's request may have evicted it: let nobody else load models on that server",
            )
        if self.device != "cpu" and seen.device_mib < seen.size_mib:
            raise Spilled(
                f"{model!r} spilled to the CPU at {self.url}: of its {seen.size_mib} MiB"
                f" (num_ctx {num_ctx} x {slots} slots) only {seen.device_mib} MiB fitted on {self.device}: unloaded",
                hint="lower num_ctx, or the server's OLLAMA_NUM_PARALLEL, or take a smaller model",
                size_mib=seen.size_mib,
                device_mib=seen.device_mib,
            )
        if self.device == "cpu" and seen.device_mib > 0:
            raise LoadFailed(
                f"{model!r} was to stay on the CPU at {self.url}, but {seen.device_mib} MiB of it are on a GPU: unloaded",
                hint="another client's load may have moved it; or give that endpoint the GPU as its device in agents.toml",
            )
        return self._seen(seen)

    async def _other_tag(self, name: str) -> Residence | None:
        """The residence of these weights under another tag: a server has one runner for them, and lists its first name."""
        weights = (await self._client.show(name)).digest
        for found in await self._client.ps():
            with contextlib.suppress(ModelMissing):
                if weights and (await self._client.show(found.model)).digest == weights:
                    self._shown[name] = found.model
                    self._spelling[found.model] = self._spelling.get(name, name)
                    return found
        return None

    async def _gone(self, model: str) -> None:
        name = canonical(model)
        pause = 0.02
        names = {name, self._shown.get(name, name)}
        while any(found.model in names for found in await self._client.ps()):
            # told again each time: another client's request in between may have given it a new stay
            with contextlib.suppress(ModelMissing):
                await self._client.unload(model)
            await anyio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    async def _clean_up(self, model: str) -> None:
        """After a load that did not succeed: whatever of it came to be leaves again, also when we are cancelled. What could not
        be made to leave is remembered, and no other load begins before it has: the core knows nothing of it.
        """
        self._remains.add(model)
        pause = 0.1
        with anyio.move_on_after(_CLEAN_UP_S, shield=True):
            while self._remains:
                with contextlib.suppress(WorldError):
                    await self._sweep()
                    return
                await anyio.sleep(pause)
                pause *= 2

    async def _sweep(self) -> None:
        for model in tuple(self._remains):
            await self._undo(model, partial(self._swept, model))
            self._remains.discard(model)

    async def _swept(self, model: str) -> None:
        try:
            await self._client.unload(model)
            await self._gone(model)
        except ModelMissing:
            pass
        except EndpointUnavailable as error:
            if not error.refused:
                raise

    def _seen(self, residence: Residence) -> Residence:
        on_device = residence.size_mib - residence.device_mib if self.device == "cpu" else residence.device_mib
        return replace(residence, model=self._spelling.get(residence.model, residence.model), device_mib=on_device)


async def _for_oneself(_model: str, unload: Callable[[], Awaitable[None]]) -> None:
    """Nobody else uses the models there."""
    await unload()


def _failure(kind: type[WorldError], message: str, hint: str | None, *, retryable: bool = False) -> WorldError:
    error = kind(message, hint=hint)
    error.retryable = retryable
    return error


def _runner(num_ctx: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a runner is started with: the same in every request to one model, or it would be loaded again."""
    return {"shift": False, "options": {**options, "num_ctx": num_ctx, "num_batch": _NUM_BATCH}}


class _Part(NamedTuple):
    """A part of an answer, read from its line; the last one says how it ended and what it cost."""

    text: str
    done: bool = False
    done_reason: str = "stop"
    usage: Usage = Usage()

    @classmethod
    def read(cls, line: bytes) -> _Part:
        """Raises what the mapping knows where it is no part; ollama.ResponseError where the server says what went wrong."""
        part = json.loads(line.decode("utf-8", "replace"))
        if fault := part.get("error"):
            import ollama

            raise ollama.ResponseError(fault)
        text = part["message"].get("content") or ""
        if not isinstance(text, str):
            raise TypeError(f"the content of a message is text, not {text!r}")
        if part.get("done") is not True:
            return cls(text)
        return cls(text, done=True, done_reason=str(part.get("done_reason") or "stop"), usage=_usage(part))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The lines of a body, at newlines only: an answer may well contain what else Unicode takes for the end of a line."""
    begun = b""
    async for chunk in chunks:
        *whole, begun = (begun + chunk).split(b"\n")
        for line in whole:
            yield line
    if begun:
        yield begun


def _usage(part: Mapping[str, Any]) -> Usage:
    """Of the last part of an answer; `cached_prompt_count` is what our embedded workers add to Ollama's."""
    cached = part.get("cached_prompt_count")
    return Usage(
        prompt_tokens=int(part.get("prompt_eval_count") or 0),
        output_tokens=int(part.get("eval_count") or 0),
        cached_tokens=None if cached is None else int(cached),
        prompt_s=(part.get("prompt_eval_duration") or 0) / _NS,
        output_s=(part.get("eval_duration") or 0) / _NS,
        total_s=(part.get("total_duration") or 0) / _NS,
        load_s=(part.get("load_duration") or 0) / _NS,
    )


def _joined(listed: ModelInfo, shown: ModelInfo) -> ModelInfo:
    return replace(shown, name=listed.name, size_bytes=listed.size_bytes, digest=shown.digest or listed.digest)


def _options(parameters: str) -> dict[str, str]:
    """The PARAMETER lines of a Modelfile, as `/api/show` lists them; of those that may be repeated, the last."""
    return {
        line.split()[0]: line.split(maxsplit=1)[1].strip() for line in parameters.splitlines() if len(line.split()) > 1
    }


def _detail(details: Any, name: str) -> str:
    return str(getattr(details, name, None) or "")


def _lacks_layers(metadata: Mapping[str, Any]) -> bool:
    return any(key.endswith(".attention.head_count_kv") and not value for key, value in metadata.items())


def _mib(size: int) -> Mib:
    return -(-size // MIB)
