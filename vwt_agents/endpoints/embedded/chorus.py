"""Chorus: calls that differ by their seed alone, answered by the engine as one request, so their prompt is read once.

Each call keeps its own connection, slot and stream. Calls say how many belong together; who comes within `PATIENCE_S` joins.
The engine samples the i-th answer of a request from its seed plus i, so calls whose seeds follow one another get the very
answers they would get alone. One that leaves is no longer told anything; when the last one has left, the request is cut.
"""

from __future__ import annotations

import json
import queue
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

__all__ = ["PATIENCE_S", "Chorus", "Listening", "Stream"]

PATIENCE_S: Final = 0.05
"""How long the first waits for the others. They come from one process, a millisecond apart; one without a slot comes later."""


class Stream(Protocol):
    """The engine's events for one request, and how to end them early."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """The events, in order."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End them."""
        ...


@dataclass(slots=True, eq=False)
class _Voice:
    """One call: what it is told (None: the end), and whether it still listens."""

    seed: int
    heard: queue.SimpleQueue[Mapping[str, Any] | BaseException | None] = field(default_factory=queue.SimpleQueue)
    left: bool = False


@dataclass(slots=True, eq=False)
class _Run:
    """One request to the engine, for voices whose seeds follow one another."""

    voices: list[_Voice]
    stream: Stream | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, stream: Stream) -> None:
        """The engine answers; nobody may be listening any more."""
        with self.lock:
            self.stream = stream
        self.cut_if_alone()

    def cut_if_alone(self) -> None:
        """End the request when all have left."""
        with self.lock:
            if self.stream is not None and all(voice.left for voice in self.voices):
                with suppress(OSError):
                    self.stream.shutdown(2)

    def tell(self, what: Mapping[str, Any] | BaseException | None, voice: _Voice | None = None) -> None:
        """Tell one of them, or all."""
        for one in self.voices if voice is None else (voice,):
            one.heard.put(what)


@dataclass(slots=True, eq=False)
class _Group:
    size: int
    voices: list[_Voice] = field(default_factory=list)
    full: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    runs: list[_Run] = field(default_factory=list)


class Listening:
    """One call's events, in order, as if it were alone; `shutdown` ends them, and the request if nobody else listens."""

    def __init__(self, voice: _Voice, run: _Run) -> None:
        self._voice = voice
        self._run = run

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        while (what := self._voice.heard.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what

    def shutdown(self, _how: int, /) -> None:
        """Leave."""
        self._voice.left = True
        self._voice.heard.put(None)
        self._run.cut_if_alone()


class Chorus:
    """Brings calls together. `ask` opens a request to the engine; used from a thread for each call."""

    def __init__(
        self, ask: Callable[[dict[str, Any]], AbstractContextManager[Stream]], *, patience: float = PATIENCE_S
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._lock = threading.Lock()
        self._gathering: dict[str, _Group] = {}

    @contextmanager
    def join(self, native: Mapping[str, Any], size: int) -> Iterator[Listening]:
        """The events for `native`, which up to `size` - 1 others ask for with other seeds; the end of the block leaves."""
        voice = _Voice(int(native["seed"]))
        listening = Listening(voice, self._gather(native, voice, size))
        try:
            yield listening
        finally:
            listening.shutdown(2)

    def _gather(self, native: Mapping[str, Any], voice: _Voice, size: int) -> _Run:
        plain = {name: value for name, value in native.items() if name != "seed"}
        key = json.dumps(plain, sort_keys=True)
        with self._lock:
            group = self._gathering.setdefault(key, _Group(size))
            group.voices.append(voice)
            first = len(group.voices) == 1
            if len(group.voices) >= group.size:
                del self._gathering[key]
                group.full.set()
        if first:
            group.full.wait(self._patience)
            with self._lock:
                if self._gathering.get(key) is group:
                    del self._gathering[key]
            group.runs = self._start(plain, group.voices)
            group.started.set()
        else:
            group.started.wait()
        return next(run for run in group.runs if voice in run.voices)

    def _start(self, plain: dict[str, Any], voices: list[_Voice]) -> list[_Run]:
        runs: list[_Run] = []
        for voice in sorted(voices, key=lambda one: one.seed):
            if runs and voice.seed == runs[-1].voices[-1].seed + 1:
                runs[-1].voices.append(voice)
            else:
                runs.append(_Run([voice]))
        for run in runs:
            threading.Thread(target=self._answer, args=(plain, run), daemon=True).start()
        return runs

    def _answer(self, plain: dict[str, Any], run: _Run) -> None:
        native = {**plain, "seed": run.voices[0].seed}
        if len(run.voices) > 1:
            native["n"] = len(run.voices)
        try:
            with self._ask(native) as stream:
                run.opened(stream)
                self._share(stream, run)
        except Exception as error:  # noqa: BLE001 -- whatever it was, those who wait have to hear it
            run.tell(error)
        run.tell(None)

    @staticmethod
    def _share(stream: Stream, run: _Run) -> None:
        # The engine says whose piece it is, but not whose timings: they follow the end of that answer.
        last = 0
        for event in stream:
            choices = event.get("choices") or ()
            last = int(choices[0].get("index", 0)) if choices else last
            run.tell(event if not last else _unread(event), run.voices[last])


def _unread(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event of an answer other than the first: its prompt was read for the first one."""
    if "timings" not in event:
        return event
    return {**event, "timings": {**event["timings"], "prompt_n": 0, "cache_n": 0, "prompt_ms": 0.0}}
