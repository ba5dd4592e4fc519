"""VwtApp: whole runs in a user's test, with answers that were recorded or that the test gives. The fixture `vwt_app` is one.

A run here is a real one: config, graph, routing, scheduler, journal and sandbox are the program's own. Only the endpoints and
the devices are not this machine's, so that a test does the same everywhere.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from vwt_agents.app import App, Job
from vwt_agents.app.outside import Outside
from vwt_agents.app.world import THIS_MACHINE
from vwt_agents.config.settings import frozen
from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.endpoints.scripted import Answer, ScriptedEndpoint
from vwt_agents.errors import RecordingStale, UsageError, did_you_mean
from vwt_agents.testing.recording import RecordedDevice
from vwt_agents.testing.recording_text import load, save
from vwt_agents.testing.redaction import redactor
from vwt_agents.testing.replay import FixedDevices, NotedDevices, RecordingEndpoint, Replay, ReplayEndpoint, Tape
from vwt_agents.values import jsonable

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.config import EndpointSettings, Settings
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.messages import OnChunk, Request, Response
    from vwt_agents.result import RunResult
    from vwt_agents.testing.recording import Recording
    from vwt_agents.testing.redaction import Redact
    from vwt_agents.types import Mib

__all__ = ["Answers", "VwtApp"]

Answers: TypeAlias = str | Sequence[str] | Callable[["Request"], Answer] | Mapping[str, str | Sequence[str]]
"""One answer to everything, answers in the order of the calls, a function of the request, or either of the first two by the
name of a stage or of an agent (the stage goes first)."""

_ROOM: Final[Mib] = 1 << 20  # a device of a test whose answers the test gives: nothing is ever short there
_MODEL: Final[Mib] = 16


class VwtApp:
    """Runs pipelines for one test, each in a state of its own.

    `root` is where paths count from and where agents.toml is looked for, `here` the folder of the test's file: recordings lie
    in `recordings` beside it. With `record` the models are really asked. `command` records a test anew, for messages.
    """

    def __init__(self, folder: Path, *, root: Path, here: Path, record: bool = False, command: str = "") -> None:
        self.folder = folder
        self.root = root
        self.here = here
        self.record = record
        self.command = command
        self.calls: list[Request] = []
        self.out = folder / "out"
        self._runs = 0
        self._recorded: set[Path] = set()

    async def run(
        self,
        pipeline: str | Path,
        *,
        inputs: Mapping[str, Any] | None = None,
        recording: str | Path | None = None,
        answers: Answers | None = None,
        config: str | Path | None = None,
        sandbox: str | None = None,
        seed: int = 0,
        strict: bool = True,
        redact: Redact | None = None,
    ) -> RunResult:
        """The result of a run of `pipeline` (a file), with the answers of a `recording`, or with `answers`.

        RecordingStale, with a diff of the prompt, where the run asks what was not recorded; also where it does not ask all
        that was, unless `strict` is False: then that is a warning. The files the run delivered are in `out`, what it asked
        in `calls`. `sandbox` goes over the backend agents.toml names.
        """
        __tracebackhide__ = True
        if (recording is None) == (answers is None):
            raise UsageError(
                "a run in a test needs either a `recording` or `answers`",
                hint='run(..., recording="codegen") or run(..., answers={"coder": "def f(): ..."})',
            )
        self._runs += 1
        self.calls = []
        self.out = self.folder / (f"out{self._runs}" if self._runs > 1 else "out")
        job = self._job(pipeline, inputs, config, seed)
        if answers is not None:
            return await App(outside=self._answered(answers, sandbox)).run(job)
        path = self._path(recording or "")
        if self.record:
            return await self._record(job, path, sandbox, redactor(redact))
        return await self._replay(job, path, sandbox, redactor(redact), strict=strict)

    def run_sync(self, pipeline: str | Path, **how: Any) -> RunResult:
        """As `run`, for a test that is not async."""
        __tracebackhide__ = True

        async def running() -> RunResult:
            return await self.run(pipeline, **how)

        return anyio.run(running)

    def _job(self, pipeline: str | Path, inputs: Mapping[str, Any] | None, config: str | Path | None, seed: int) -> Job:
        file = self.root / pipeline
        settings = self.root / config if config is not None else None
        if settings is None and not (file.parent / "agents.toml").is_file():
            beside = self.root / "agents.toml"
            settings = beside if beside.is_file() else None
        given = None
        if inputs is not None:
            given = self.folder / "inputs.json"
            given.write_text(json.dumps(jsonable(dict(inputs))), encoding="utf-8")
        return Job(file, inputs_file=given, config=settings, out=self.out, seed=seed)

    def _path(self, recording: str | Path) -> Path:
        path = self.here / "recordings" / recording if isinstance(recording, str) else self.here / recording
        return path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")

    async def _record(self, job: Job, path: Path, sandbox: str | None, clean: Redact) -> RunResult:
        if path in self._recorded:
            raise UsageError(f"this test has recorded {path.name} already", hint="give each run a recording of its own")
        tape = Tape(clean)
        outside = Outside(
            lambda settings: _Noting(RecordingEndpoint(THIS_MACHINE.endpoint(settings), tape), self.calls),
            lambda: NotedDevices(THIS_MACHINE.reader(), tape),
            lambda settings: _with_sandbox(settings, sandbox),
        )
        result = await App(outside=outside).run(job)
        if result.status not in {"good", "bad"}:
            raise UsageError(f"not recorded, because the run {result.status}: {result.error}")
        self._recorded.add(path)
        recording = tape.recording(result.pipeline, [stage.name for stage in result.stages])
        save(recording, path, command=self.command)
        return result

    async def _replay(self, job: Job, path: Path, sandbox: str | None, clean: Redact, *, strict: bool) -> RunResult:
        __tracebackhide__ = True
        replay = Replay(self._load(path), clean)
        outside = Outside(
            lambda settings: _Noting(ReplayEndpoint(settings.name, settings.device, replay), self.calls),
            lambda: FixedDevices(replay.recording.devices),
            lambda settings: _with_sandbox(_unstarted(settings), sandbox),
            _nowhere,
        )
        result = await App(outside=outside).run(job)
        self._judge(replay, path, result, strict=strict)
        return result

    def _load(self, path: Path) -> Recording:
        if not path.is_file():
            raise UsageError(f"there is no recording {path}", hint=f"record it: {self.command}")
        return load(path)

    def _judge(self, replay: Replay, path: Path, result: RunResult, *, strict: bool) -> None:
        __tracebackhide__ = True
        if replay.stale:
            more = len(replay.stale) - 1
            others = f"\n({more} more like it; the first is shown)" if more else ""
            raise self._is_stale(path, f"{replay.stale[0]}{others}")
        if not (unused := replay.unused):
            return
        if result.error:
            unused = f"{unused}\nthe run ended early: {result.error}"
        if strict:
            raise self._is_stale(path, unused)
        warnings.warn(f"the recording {path.name} is stale: {unused}", stacklevel=4)

    def _is_stale(self, path: Path, why: str) -> RecordingStale:
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        return RecordingStale(
            f"the recording {shown} is stale: {why}", hint=f"if that is as it should be, record it anew: {self.command}"
        )

    def _answered(self, answers: Answers, sandbox: str | None) -> Outside:
        models: dict[str, dict[str, Mib]] = {}
        script, devices = _script(answers), {"cpu"}

        def adjust(settings: Settings) -> Settings:
            for name, endpoint in settings.endpoints.items():
                models[name] = dict.fromkeys(settings.listed(name), _MODEL)
                devices.add("gpu0" if endpoint.device == "auto" else endpoint.device)
            return _with_sandbox(_unstarted(settings), sandbox)

        return Outside(
            lambda one: _Noting(
                ScriptedEndpoint(models[one.name], script, name=one.name, device=one.device), self.calls
            ),
            lambda: FixedDevices([RecordedDevice(name, _ROOM) for name in sorted(devices)]),
            adjust,
            _nowhere,
        )


class _Noting(EndpointAround):
    """Keeps what is asked, for the test to look at."""

    def __init__(self, inner: Endpoint, calls: list[Request]) -> None:
        super().__init__(inner)
        self._calls = calls

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the inner one."""
        self._calls.append(request)
        return await self.inner.call(request, on_chunk)


def _nowhere(_say: object) -> None:
    """No spans leave a test, whatever the environment says."""


def _with_sandbox(settings: Settings, backend: Any) -> Settings:
    return settings if backend is None else replace(settings, sandbox=replace(settings.sandbox, backend=backend))


def _unstarted(settings: Settings) -> Settings:
    """No server is brought up in a test that asks none."""

    def alone(endpoint: EndpointSettings) -> EndpointSettings:
        return replace(endpoint, start=None)

    return replace(settings, endpoints=frozen({name: alone(one) for name, one in settings.endpoints.items()}))


def _script(answers: Answers) -> Callable[[Request], Answer]:
    if callable(answers):
        return answers
    if isinstance(answers, str):
        return lambda _request: answers
    if not isinstance(answers, Mapping):
        return _in_turn(answers, "the test")
    named = {
        name: (lambda _request, one=given: one) if isinstance(given, str) else _in_turn(given, repr(name))
        for name, given in answers.items()
    }

    def by_name(request: Request) -> Answer:
        stage, agent = request.labels.get("stage", ""), request.labels.get("agent", "")
        found = named.get(stage) or named.get(agent)
        if found is not None:
            return found(request)
        near = did_you_mean(stage, named) or f"possible: {', '.join(named)}"
        return UsageError(f"the test has no answer for agent {agent!r} of stage {stage!r}", hint=near)

    return by_name


def _in_turn(answers: Sequence[str], whose: str) -> Callable[[Request], Answer]:
    rest = list(answers)
    count = len(rest)

    def following(request: Request) -> Answer:
        if rest:
            return rest.pop(0)
        who = f"agent {request.labels.get('agent')!r} of stage {request.labels.get('stage')!r}"
        return UsageError(f"{who} asks once more, and {whose} gives only {count} answers")

    return following
