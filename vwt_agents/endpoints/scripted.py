"""An endpoint in this process that answers from a script. Owns no model, no clock and no socket.

It obeys the Endpoint protocol, records what it was told, and stops at gates: a test decides when things happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import anyio
import anyio.lowlevel

from vwt_agents.endpoints.address import canonical
from vwt_agents.endpoints.base import Health, ModelInfo, OnProgress, Progress, Residence, Undo
from vwt_agents.endpoints.prefill import EchoFilter
from vwt_agents.errors import CallFailed, CallTimeout, EndpointUnavailable, LoadFailed, ModelMissing
from vwt_agents.messages import Chunk, OnChunk, Request, Response, Usage
from vwt_agents.types import MIB, Mib, Seconds

__all__ = ["Answer", "Script", "ScriptedEndpoint"]

Answer: TypeAlias = str | Exception | Sequence[str]
"""A whole answer, an error to raise, or the pieces of an answer."""

Script: TypeAlias = Callable[[Request], Answer] | Mapping[str, Answer] | Iterable[Answer]
"""Answers by request, by model, or one after the other."""


class ScriptedEndpoint:
    """Serves `models` (name: footprint in MiB) in an imagined memory; a call is answered by `script`, and never waits.

    `loads`, `unloads`, `calls` and `pulls` record what it was told, in order. `hold(verb, model)` makes a gate: operations
    of that verb wait at it until it is set; `reached(verb, model)` says that one has come so far. `fail_loads` maps a
    model to the error its loads end in; `catalogue` (name: footprint) are models that can be pulled.
    """

    kind = "scripted"
    url = ""

    def __init__(
        self,
        models: Mapping[str, Mib],
        script: Script = "",
        *,
        name: str = "scripted",
        device: str = "gpu0",
        catalogue: Mapping[str, Mib] | None = None,
    ) -> None:
        self.name = name
        self.device = device
        self.up = True
        self.loads: list[tuple[str, int, int]] = []
        self.unloads: list[str] = []
        self.calls: list[Request] = []
        self.pulls: list[str] = []
        self.running = 0
        self.peak_running = 0
        self.fail_loads: dict[str, Exception] = {}
        self._models = {canonical(model): (model, footprint) for model, footprint in models.items()}
        self._catalogue = {canonical(model): (model, footprint) for model, footprint in (catalogue or {}).items()}
        self._resident: dict[str, Residence] = {}
        self._script = _as_function(script)
        self._gates: dict[tuple[str, str], anyio.Event] = {}
        self._reached: dict[tuple[str, str], anyio.Event] = {}

    async def __aenter__(self) -> ScriptedEndpoint:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._resident.clear()

    def hold(self, verb: str, model: str) -> anyio.Event:
        """A gate: every `load`, `unload`, `call` or `pull` of the model waits until it is set."""
        gate = self._gates[verb, canonical(model)] = anyio.Event()
        self._reached[verb, canonical(model)] = anyio.Event()
        return gate

    async def reached(self, verb: str, model: str) -> None:
        """Return once an operation has come to the gate that `hold` made; TimeoutError when none does in 10 seconds."""
        with anyio.fail_after(10):
            await self._reached[verb, canonical(model)].wait()

    def vanish(self, model: str) -> None:
        """The model is gone from memory, as after a crash of its runner."""
        self._resident.pop(canonical(model), None)

    async def probe(self) -> Health:
        """Up, unless `up` was set to False."""
        return Health(ok=self.up, detail=f"{self.name} is {'up' if self.up else 'down'}", version="scripted")

    async def deep_probe(self) -> Health:
        """The same as `probe`: there is no server that could be stuck."""
        return await self.probe()

    async def models(self) -> tuple[ModelInfo, ...]:
        """Its models, then those of the catalogue that are not here yet."""
        self._check_up()
        absent = [known for name, known in self._catalogue.items() if name not in self._models]
        return tuple(_info(*known) for known in self._models.values()) + tuple(
            _info(*known, installed=False) for known in absent
        )

    async def describe(self, model: str) -> ModelInfo:
        """One model; ModelMissing unless it is here."""
        return _info(model, self._known(model)[1])

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Load at once, or when the gate opens."""
        footprint = self._known(model)[1]
        self.loads.append((model, num_ctx, slots))
        with anyio.move_on_after(timeout) as limit:
            await self._pass_gate("load", model)
        if limit.cancelled_caught:
            raise LoadFailed(f"{self.name} had not loaded {model!r} (num_ctx {num_ctx}) after {timeout:g} s")
        self._check_up()
        if (error := self.fail_loads.get(model)) is not None:
            raise error
        residence = Residence(model, footprint, footprint, num_ctx)
        self._resident[canonical(model)] = residence
        return residence

    def undo_by(self, undo: Undo) -> None:
        """Nothing: a load that fails here leaves nothing."""

    async def unload(self, model: str) -> None:
        """Forget it at once, or when the gate opens."""
        self.unloads.append(model)
        await self._pass_gate("unload", model)
        self._check_up()
        self._resident.pop(canonical(model), None)

    async def resident(self) -> tuple[Residence, ...]:
        """What was loaded and not unloaded, in that order."""
        self._check_up()
        return tuple(self._resident.values())

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The script's answer, in its pieces."""
        self._known(request.model)
        self.calls.append(request)
        self.running += 1
        self.peak_running = max(self.peak_running, self.running)
        try:
            with anyio.move_on_after(request.timeout):
                return await self._answer(request, on_chunk)
        finally:
            self.running -= 1
        raise CallTimeout(f"{request.model!r} at {self.name} had not finished its answer after {request.timeout:g} s")

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:
        """Take a model over from the catalogue; ModelMissing when it is not in there."""
        self.pulls.append(model)
        await self._pass_gate("pull", model)
        self._check_up()
        name = canonical(model)
        if name not in self._catalogue and name not in self._models:
            raise ModelMissing(f"{self.name} knows no model {model!r} to pull", hint=f"possible: {self._names()}")
        if name in self._catalogue:
            self._models[name] = self._catalogue[name]
        if on_progress is not None:
            on_progress(Progress("success", 1, 1))

    async def _answer(self, request: Request, on_chunk: OnChunk | None) -> Response:
        await self._pass_gate("call", request.model)
        self._check_up()
        if canonical(request.model) not in self._resident:
            raise CallFailed(f"{request.model!r} is not loaded at {self.name}", hint="load it first")
        answer = self._script(request)
        if isinstance(answer, Exception):
            raise answer
        pieces = [answer] if isinstance(answer, str) else list(answer)
        echo = EchoFilter(request.prefill)
        texts = [text for text in (*map(echo.feed, pieces), echo.finish()) if text]
        for text in texts:
            await anyio.lowlevel.checkpoint()
            if on_chunk is not None:
                on_chunk(Chunk(text))
        usage = Usage(prompt_tokens=_words(m.content for m in request.messages), output_tokens=_words(texts))
        return Response("".join(texts), request.model, request.endpoint, "stop", usage)

    async def _pass_gate(self, verb: str, model: str) -> None:
        await anyio.lowlevel.checkpoint()
        key = (verb, canonical(model))
        if (gate := self._gates.get(key)) is not None:
            self._reached[key].set()
            await gate.wait()

    def _known(self, model: str) -> tuple[str, Mib]:
        self._check_up()
        if (known := self._models.get(canonical(model))) is None:
            raise ModelMissing(f"{self.name} does not have the model {model!r}", hint=f"possible: {self._names()}")
        return known

    def _names(self) -> str:
        return ", ".join(sorted(model for model, _ in (*self._models.values(), *self._catalogue.values()))) or "none"

    def _check_up(self) -> None:
        if not self.up:
            raise EndpointUnavailable(f"{self.name} is down", hint="set its `up` to True")


def _info(model: str, footprint: Mib, *, installed: bool = True) -> ModelInfo:
    return ModelInfo(model, footprint * MIB, digest=canonical(model), installed=installed)


def _words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)


def _as_function(script: Script) -> Callable[[Request], Answer]:
    if callable(script):
        return script
    if isinstance(script, str):
        return lambda _: script
    if isinstance(script, Mapping):
        by_model = {canonical(model): answer for model, answer in script.items()}
        return lambda request: by_model.get(
            canonical(request.model), CallFailed(f"the script has no answer of {request.model!r}")
        )
    answers = iter(script)
    return lambda _: next(answers, CallFailed("the script has no further answer"))
