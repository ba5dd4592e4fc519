"""Where events go: a console for people on stderr, JSON lines in the run's folder. Owns the formats and the list of
event names.

Events of this package (`eventlog`) and of foreign libraries take one path. structlog renders them; it is imported
when the first line is really written, because that costs 0.15 s and most commands write none.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vwt_agents.eventlog import EventText, bound, bound_keys, get_logger
from vwt_agents.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from pathlib import Path
    from typing import TextIO

    from structlog.stdlib import ProcessorFormatter
    from structlog.typing import ExcInfo, Processor

__all__ = ["EVENTS", "ConsoleMode", "Level", "bound", "configure", "get_logger", "run_log"]

ConsoleMode: TypeAlias = Literal["auto", "plain", "colour", "json", "off"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]

EVENTS: Final[frozenset[str]] = frozenset(
    {
        "call.answered",
        "call.failed",
        "approval.asked",
        "approval.given",
        "call.moved",
        "call.repeated",
        "call.retried",
        "device.lost",
        "device.returned",
        "endpoint.back",
        "endpoint.lost",
        "endpoint.not_replaced",
        "endpoint.not_seen",
        "endpoint.replaced",
        "footprint.measured",
        "footprint.not_believed",
        "footprint.not_kept",
        "footprint.unread",
        "habits.unread",
        "ledger.behind",
        "ledger.unusable",
        "load.retried",
        "log.lost",
        "memory.not_freed",
        "memory.occupied",
        "memory.source_failed",
        "model.adopted",
        "model.left_over",
        "model.left_to_others",
        "model.load_deferred",
        "model.load_failed",
        "model.loaded",
        "model.loading",
        "model.not_adopted",
        "model.reclaim_failed",
        "model.reclaimed",
        "model.unload_failed",
        "model.unloaded",
        "model.used_as_it_is",
        "model.vanished",
        "neighbours.not_seen",
        "report.not_made",
        "run.ended",
        "run.started",
        "sandbox.chosen",
        "stage.cached",
        "stage.changed",
        "stage.done",
        "stage.failed",
        "stage.forgiven",
        "stage.kept",
        "stage.retried",
        "stage.started",
        "traces.not_sent",
        "timeline.not_kept",
    }
)
"""Every event this package logs, as `noun.verbed`; a test keeps the list and the code equal."""

_OURS: Final = "vwt_agents"
_log = get_logger("vwt_agents.logs")


@contextmanager
def configure(
    *,
    run_dir: Path | None = None,
    console: ConsoleMode = "auto",
    level: Level = "warning",
    file_level: Level = "debug",
    json_file: str = "log.jsonl",
) -> Iterator[None]:
    """Within the block, events go to stderr from `level` on and, if `run_dir` is given, to `json_file` in it.

    The console shows foreign libraries from warnings on, whatever `level` says. "auto" colours a terminal and is
    plain elsewhere.
    """
    handler = logging.NullHandler() if console == "off" else _Console(console, level)
    with _listening(handler):
        if run_dir is None:
            yield
        else:
            with run_log(run_dir / json_file, level=file_level):
                yield


@contextmanager
def run_log(path: Path, *, level: Level = "debug", run: str | None = None) -> Iterator[None]:
    """Within the block, append events as JSON lines to `path`; with `run`, only those bound to that run.

    Every line is written whole and at once, so a process that is killed leaves complete lines.
    """
    handler = _JsonLines(path, level)
    if run is not None:
        handler.addFilter(lambda record: _keys(record).get("run") == run)
    with _listening(handler):
        yield


_listeners: list[logging.Handler] = []
_levels_before = (logging.WARNING, logging.NOTSET)


@contextmanager
def _listening(handler: logging.Handler) -> Iterator[None]:
    """The handler hears all events within the block; the first one opens the levels, the last restores them."""
    global _levels_before  # noqa: PLW0603 -- logging's own state is the process's, so what it was before is too
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    if not _listeners:
        _levels_before = (root.level, ours.level)
        root.setLevel(logging.INFO)  # below it, HTTP libraries tell every byte
        ours.setLevel(logging.DEBUG)
    _listeners.append(handler)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        _listeners.remove(handler)
        if not _listeners:
            root.setLevel(_levels_before[0])
            ours.setLevel(_levels_before[1])


class _Lazy(logging.Formatter):
    """A formatter made when the first line needs it."""

    def __init__(self, make: Callable[[], ProcessorFormatter]) -> None:
        super().__init__()
        self._make = make
        self._made: ProcessorFormatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        self._made = self._made or self._make()
        return self._made.format(record)


class _Console(logging.Handler):
    """Lines on stderr, looked up for each one so that a live display may stand in for it."""

    def __init__(self, mode: ConsoleMode, level: Level) -> None:
        super().__init__(level.upper())
        terminal = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        colours = mode == "colour" or (mode == "auto" and terminal)
        self.setFormatter(_Lazy(_json_formatter if mode == "json" else lambda: _console_formatter(colours=colours)))
        self.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.split(".", 1)[0] == _OURS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except OSError:  # a reader such as `head` has left: nobody to tell
            return
        except Exception:  # noqa: BLE001 -- logging must never end what it tells about
            self.handleError(record)


class _JsonLines(logging.Handler):
    """One JSON object a line, each written by one call, so nothing waits to be flushed."""

    def __init__(self, path: Path, level: Level) -> None:
        super().__init__(level.upper())
        self.setFormatter(_Lazy(_json_formatter))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        _drop_half_line(self._fd)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 -- logging must never end what it tells about
            self.handleError(record)
            return
        if self._fd is None:
            return
        start = os.fstat(self._fd).st_size
        try:
            _write_all(self._fd, line)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, start)
            self.close()  # before the warning, which comes this way too
            _log.warning("log.lost", path=str(self._path), reason=error.strerror)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
        super().close()


def _write_all(fd: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _drop_half_line(fd: int) -> None:
    """A resumed run goes on after the last complete line, should a power cut have left half of one."""
    size = os.fstat(fd).st_size
    end = size
    while end:
        start = max(0, end - 65536)
        cut = os.pread(fd, end - start, start).rfind(b"\n")
        if cut >= 0:
            end = start + cut + 1
            break
        end = start
    if end != size:
        os.ftruncate(fd, end)


def _keys(record: logging.LogRecord) -> dict[str, object]:
    """The keys of a record: its own, or for a foreign one those bound to the task that called the library."""
    return dict(record.msg.keys if isinstance(record.msg, EventText) else bound_keys())


def _flat(_logger: Any, _method: str, made: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Time, level, event, logger, then the keys; a key never hides one of the first four."""
    record: logging.LogRecord = made["_record"]
    keys = _keys(record)
    head = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": record.msg.event if isinstance(record.msg, EventText) else made["event"],
        "logger": record.name,
    }
    rest = {(f"{name}_" if name in head else name): value for name, value in keys.items()}
    return {**made, **head, **rest}


def _short(_logger: Any, _method: str, made: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For people: the time of day where they are, and no logger for our own events."""
    record: logging.LogRecord = made["_record"]
    made["time"] = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    if isinstance(record.msg, EventText):
        made.pop("logger", None)
    return {name: printable(value) if isinstance(value, str) else value for name, value in made.items()}


def _json_formatter() -> ProcessorFormatter:
    from structlog.processors import JSONRenderer, dict_tracebacks

    return _formatter([_flat], [dict_tracebacks, JSONRenderer(serializer=json.dumps, default=str, ensure_ascii=False)])


def _console_formatter(*, colours: bool) -> ProcessorFormatter:
    from structlog.dev import ConsoleRenderer, plain_traceback

    def traceback(out: TextIO, error: ExcInfo) -> None:
        text = StringIO()
        plain_traceback(text, error)
        out.write(printable(text.getvalue()))

    console = ConsoleRenderer(
        colors=colours, exception_formatter=traceback, timestamp_key="time", pad_event_to=0, sort_keys=False
    )
    return _formatter([_flat, _short], [console])


def _formatter(before: list[Processor], render: list[Processor]) -> ProcessorFormatter:
    from structlog.stdlib import ProcessorFormatter

    return ProcessorFormatter(foreign_pre_chain=before, processors=[ProcessorFormatter.remove_processors_meta, *render])
