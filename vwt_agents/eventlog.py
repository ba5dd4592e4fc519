"""Where modules say what happened: `log = get_logger(__name__)`, then `log.info("model.loaded", model=...)`.

Owns the logger object and the keys bound to the current task. Never formats, never chooses where lines go (that is
`logs`), and imports nothing heavy: an event is a stdlib record that carries its keys, so an application without
`logs.configure` sees it too, and stdout stays clean.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

__all__ = ["EventLog", "EventText", "bind_here", "bound", "bound_keys", "get_logger"]

ExcInfo: TypeAlias = bool | BaseException | tuple[type[BaseException], BaseException, TracebackType | None] | None


class bound:  # noqa: N801 - used as a function is; a class, because many wait within its block
    """Within the block, events of this task and of tasks it starts carry these keys: run, stage, agent, call.

    They are bound as it is made; `undo` is the end of the block for who has a `finally` of his own.
    """

    # Linked from the last binding to the first; the words are all names, then all values. Keys are bound for every stage and
    # call, held while it waits, and read only where an event is let through.
    __slots__ = ("before", "words")

    def __init__(self, **keys: object) -> None:
        self.words: tuple[Any, ...] = (*keys, *keys.values())
        self.before = _bound.get()
        _bound.set(self)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        self.undo()

    def undo(self) -> None:
        """Bind what was bound before."""
        _bound.set(self.before)


_bound: ContextVar[bound | None] = ContextVar("vwt_agents_bound", default=None)


bind_here: Final = bound
"""From here to the end of the current context, events carry these keys; for who owns the whole context."""


def bound_keys() -> Mapping[str, object]:
    """The keys bound to the current task; of a name that was bound again, the later value."""
    bindings = []
    left = _bound.get()
    while left is not None:
        bindings.append(left.words)
        left = left.before
    return {name: value for one in reversed(bindings) for name, value in zip(one, one[len(one) // 2 :], strict=False)}


class EventText:
    """The message of a record: the event's name and its flat keys, readable as text by any stdlib handler."""

    __slots__ = ("event", "keys")

    def __init__(self, event: str, keys: Mapping[str, object]) -> None:
        self.event = event
        self.keys = keys

    def __str__(self) -> str:
        return " ".join((self.event, *(f"{key}={value!r}" for key, value in self.keys.items())))


class EventLog:
    """Says what happened under one logger's name; a filtered event costs about a microsecond."""

    __slots__ = ("_keys", "_logger", "_name")

    def __init__(self, name: str, keys: Mapping[str, object] | None = None) -> None:
        self._name = name
        self._keys = dict(keys or {})
        self._logger: logging.Logger | None = None

    def bind(self, **keys: object) -> EventLog:
        """The same log, with these keys on every event."""
        return EventLog(self._name, {**self._keys, **keys})

    def debug(self, event: str, /, **keys: object) -> None:
        """For whoever looks into a fault."""
        self._emit(10, event, keys)

    def info(self, event: str, /, exc_info: ExcInfo = None, **keys: object) -> None:
        """What a run's log should tell."""
        self._emit(20, event, keys, exc_info)

    def warning(self, event: str, /, exc_info: ExcInfo = None, **keys: object) -> None:
        """What the user should see although the run goes on."""
        self._emit(30, event, keys, exc_info)

    def error(self, event: str, /, exc_info: ExcInfo = None, **keys: object) -> None:
        """What went wrong for good."""
        self._emit(40, event, keys, exc_info)

    def exception(self, event: str, /, **keys: object) -> None:
        """An error, with the traceback of the exception being handled."""
        self._emit(40, event, keys, exc_info=True)

    def _emit(self, level: int, event: str, keys: dict[str, object], exc_info: ExcInfo = None) -> None:
        logger = self._logger
        if logger is None:
            import logging

            logger = self._logger = logging.getLogger(self._name)
        if logger.isEnabledFor(level):
            merged = {**bound_keys(), **self._keys, **keys}
            logger.log(level, EventText(event, merged), exc_info=exc_info, stacklevel=3)


def get_logger(name: str) -> EventLog:
    """The log of a module; costs nothing until the first event, so a module may hold it at its top."""
    return EventLog(name)
