"""A run recorded, and a run replayed: endpoints that write down what is said, and endpoints that say it again.

Owns which recorded answer goes to which request. What a stale recording does to a test is `VwtApp`'s word.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from vwt_agents.config import licence_id
from vwt_agents.devices import Device, Found
from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.endpoints.base import Health, Residence
from vwt_agents.errors import ModelMissing, RecordingStale
from vwt_agents.messages import Chunk, Heard, Response, Usage
from vwt_agents.testing.drift import drift, unused
from vwt_agents.testing.recording import RecordedCall, RecordedDevice, RecordedEndpoint, RecordedModel, Recording
from vwt_agents.types import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.app.outside import Looks
    from vwt_agents.endpoints.base import Endpoint, ModelInfo, OnProgress, Undo
    from vwt_agents.messages import OnChunk, Request
    from vwt_agents.testing.redaction import Redact
    from vwt_agents.types import Seconds

__all__ = ["FixedDevices", "NotedDevices", "RecordingEndpoint", "Replay", "ReplayEndpoint", "Tape"]

_LEAVES: Final[Seconds] = 10.0
"""Whoever left a call early when it was recorded has so long to leave it again."""


# -- recording -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tape:
    """What is said while a run is recorded."""

    clean: Redact
    calls: list[RecordedCall | None] = field(default_factory=list)  # None: not answered yet, or never
    models: dict[str, dict[str, RecordedModel]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    devices: tuple[RecordedDevice, ...] = ()

    def recording(self, pipeline: str, stages: Sequence[str]) -> Recording:
        """All of it, in the order of the stages."""
        endpoints = [RecordedEndpoint(name, version, self.models[name]) for name, version in self.versions.items()]
        calls = tuple(call for call in self.calls if call is not None)
        return Recording(pipeline, calls, tuple(endpoints), self.devices).ordered(stages)


class RecordingEndpoint(EndpointAround):
    """Writes down on the tape what the endpoint says."""

    def __init__(self, inner: Endpoint, tape: Tape) -> None:
        super().__init__(inner)
        self.tape = tape
        self._models = tape.models.setdefault(inner.name, {})

    async def probe(self) -> Health:
        """As the inner one; only who answers is on the tape."""
        health = await self.inner.probe()
        if health.ok:
            self.tape.versions[self.name] = health.version or ""
        return health

    async def describe(self, model: str) -> ModelInfo:
        """As the inner one; the licence is kept as its short name."""
        info = await self.inner.describe(model)
        memory = self._models[model].memory if model in self._models else 0
        self._models[model] = RecordedModel(replace(info, name=model, licence=licence_id(info.licence)), memory)
        return info

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """As the inner one, with the memory it took."""
        residence = await self.inner.load(model, num_ctx=num_ctx, slots=slots, timeout=timeout)
        if model in self._models:
            self._models[model] = replace(self._models[model], memory=residence.device_mib)
        return residence

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the inner one; a call that fails is not on the tape, of one that is left early what had come."""
        place, pieces = len(self.tape.calls), list[str]()
        self.tape.calls.append(None)
        asked = RecordedCall.asked(request, self.tape.clean)

        def hear(chunk: Chunk) -> None:
            pieces.append(chunk.text)
            if on_chunk is not None:
                on_chunk(chunk)

        # Whether a broken answer may be begun again depends on who listens, and not on us.
        heard = Heard(hear, repeatable=Heard.by(on_chunk).repeatable)
        try:
            response = await self.inner.call(request, heard)
        except anyio.get_cancelled_exc_class():
            said = self.tape.clean("".join(pieces))
            self.tape.calls[place] = replace(asked, answer=said, left=True, output_tokens=len(pieces))
            raise
        usage = response.usage
        self.tape.calls[place] = replace(
            asked,
            answer=self.tape.clean(response.text),
            done_reason=response.done_reason,
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
        )
        return response


class NotedDevices:
    """Looks through another one, and puts on the tape what the first look saw."""

    def __init__(self, inner: Looks, tape: Tape) -> None:
        self._inner = inner
        self._tape = tape

    def read(self, *, who: bool = False) -> Found:
        """As the inner one."""
        found = self._inner.read(who=who)
        if not self._tape.devices:
            working = [device for device in found.devices if not device.problem]
            self._tape.devices = tuple(RecordedDevice(each.name, each.total_mib, each.used_mib) for each in working)
        return found

    def close(self) -> None:
        """As the inner one."""
        self._inner.close()


# -- replaying -------------------------------------------------------------------------------------------------------


class Replay:
    """Gives each recorded answer once. `stale` says what was asked and not recorded, in the order in which it was asked."""

    def __init__(self, recording: Recording, clean: Redact) -> None:
        self.recording = recording
        self.clean = clean
        self.stale: list[str] = []
        self._left: dict[str, list[RecordedCall]] = {}
        for call in recording.calls:
            self._left.setdefault(call.question, []).append(call)

    @property
    def left(self) -> list[RecordedCall]:
        """What nobody has asked yet, in the order of the recording."""
        return [call for call in self.recording.calls if any(call is one for one in self._left[call.question])]

    @property
    def unused(self) -> str:
        """What was recorded and not asked, for people; empty where there is nothing."""
        return unused(left) if (left := self.left) else ""

    def answer(self, request: Request) -> RecordedCall:
        """The answer recorded for this request: drawn from the same seed if there is one, else the first not given yet."""
        asked = RecordedCall.asked(request, self.clean)
        left = self._left.get(asked.question)
        if not left:
            self.stale.append(drift(asked, self.recording.calls, self.left))
            raise RecordingStale(self.stale[-1])
        same = (number for number, call in enumerate(left) if call.options.seed == asked.options.seed)
        return left.pop(next(same, 0))


class ReplayEndpoint:
    """An endpoint as it was when it was recorded. Loads at once, answers at once; was it not recorded, it does not answer."""

    kind = "replay"
    url = ""

    def __init__(self, name: str, device: str, replay: Replay) -> None:
        self.name = name
        self.device = device
        self._replay = replay
        self._facts = next((one for one in replay.recording.endpoints if one.name == name), None)
        self._resident: dict[str, Residence] = {}

    async def __aenter__(self) -> ReplayEndpoint:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._resident.clear()

    async def probe(self) -> Health:
        """As recorded."""
        if self._facts is None:
            return Health(ok=False, detail=f"{self.name} did not answer when the run was recorded")
        return Health(ok=True, detail=f"{self.name} as it was recorded", version=self._facts.version)

    async def deep_probe(self) -> Health:
        """As `probe`."""
        return await self.probe()

    async def models(self) -> tuple[ModelInfo, ...]:
        """Those the run looked at."""
        return tuple(model.info for model in self._facts.models.values()) if self._facts is not None else ()

    async def describe(self, model: str) -> ModelInfo:
        """As recorded; ModelMissing for what the run did not look at, or did not find."""
        return self._known(model).info

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ARG002, ASYNC109
        """At once, with the memory it took then."""
        known = self._known(model)
        mib = known.memory or known.info.size_bytes // MIB
        residence = self._resident[model] = Residence(model, mib, mib, num_ctx)
        return residence

    def undo_by(self, undo: Undo) -> None:
        """Nothing: no load fails here."""

    async def unload(self, model: str) -> None:
        """At once."""
        self._resident.pop(model, None)

    async def resident(self) -> tuple[Residence, ...]:
        """What was loaded and not unloaded."""
        return tuple(self._resident.values())

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The recorded answer, line by line. RecordingStale for a request that was not recorded."""
        await anyio.lowlevel.checkpoint()
        call = self._replay.answer(request)
        if on_chunk is not None:
            for line in call.answer.splitlines(keepends=True):
                on_chunk(Chunk(line))
                await anyio.lowlevel.checkpoint()
        if call.left:
            await anyio.sleep(_LEAVES)
            self._replay.stale.append(
                f"stage {call.stage!r} left a call early when it was recorded, and waits for it now"
            )
            raise RecordingStale(self._replay.stale[-1])
        usage = Usage(prompt_tokens=call.prompt_tokens, output_tokens=call.output_tokens)
        return Response(call.answer, request.model, self.name, call.done_reason, usage)

    async def pull(self, model: str, on_progress: OnProgress | None = None) -> None:  # noqa: ARG002
        """Nothing to bring."""
        self._known(model)

    def _known(self, model: str) -> RecordedModel:
        found = self._facts.models.get(model) if self._facts is not None else None
        if found is None:
            raise ModelMissing(f"{self.name} had no model {model!r} when the run was recorded", hint="record it anew")
        return found


class FixedDevices:
    """Devices whose memory nobody else ever takes: those given, in MiB."""

    def __init__(self, devices: Sequence[RecordedDevice]) -> None:
        self._found = Found(tuple(_device(each) for each in devices))

    def read(self, *, who: bool = False) -> Found:  # noqa: ARG002
        """Always the same."""
        return self._found

    def close(self) -> None:
        """Nothing to let go of."""


def _device(one: RecordedDevice) -> Device:
    kind = "gpu" if one.name.startswith("gpu") else "cpu"
    return Device(one.name, kind, one.total, one.used, one.total - one.used, "not a real one: a test's")  # type: ignore[arg-type]
