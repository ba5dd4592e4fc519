"""The way from the tests to the code: one request, one answer, and what is done about an answer that is none.

Runs in the tests' sandbox. Owns the socket and the three ends that no test may take for an exception of the code.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vwt_agents.sandbox.held import Held
from vwt_agents.sandbox.wire import MOST_BYTES, Coder, WireError, look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "OURS",
    "CodeLost",
    "Link",
    "NotBelieved",
    "NotIsolatable",
    "ask",
    "connect",
    "doubt",
    "guarded",
    "lost",
    "made_here",
    "note",
    "refuse",
    "worked_here",
]


_PARTS: Final = 7


class NotIsolatable(BaseException):
    """The tests do what needs the code in their own process. No Exception, so that no test mistakes it for one of the code."""


class NotBelieved(BaseException):
    """The code answered what only the tests may judge."""


class CodeLost(BaseException):
    """The code's process ended, or answered with what is no answer."""


OURS: Final = (NotIsolatable, NotBelieved, CodeLost)


class Link:
    """The way to the code: one request, one answer."""

    def __init__(
        self, fd: int, modules: Collection[str], tell: Callable[..., None], exchange: Callable[[Link], Coder]
    ) -> None:
        self.fd = fd
        self.reading = os.fdopen(fd, "rb", closefd=False)
        self.modules = frozenset(modules)
        self.tell = tell
        self.exchange = exchange
        self.count = 0
        self.lost: str | None = None
        self.held = Held(1, look)
        self.before = 0
        self.made: dict[str, list[list[int]]] = {}
        self.worked: dict[str, list[list[int]]] = {}
        self.guarded: dict[str, list[list[int]]] = {}
        self.classes: dict[int, Any] = {}
        self.things: dict[int, Any] = {}

    def ask(self, what: str, *data: Any) -> Any:
        """The answer; raises what the code raised."""
        __tracebackhide__ = True
        if self.lost is not None:
            raise CodeLost(self.lost)
        self.count += 1
        coder = self.exchange(self)
        self.before = self.held.last
        changed = self.held.changed()
        forgotten = self.held.dropped(keep=changed)
        try:
            changes = coder.items_of(changed)
            request = json.dumps([self.count, forgotten, changes, what, *coder.each(data, 0)]).encode() + b"\n"
        except (WireError, OverflowError) as error:
            self.refuse(f"the tests hand {error} to the code")
        for number in changed:
            self.held.agree(number)
        self.held.sent()
        answer = self._exchange(request)
        try:
            value = self._taken(coder, answer)
            failed = answer[1] == "error"
        except OURS:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with an answer, it is no answer
            self.lose(f"it answered with what is no answer ({type(fault).__name__}: {fault})"[:300])
        if failed and isinstance(value, BaseException):
            raise value
        if failed:
            self.lose("it raised what is no exception")
        return value

    def _taken(self, coder: Coder, answer: list[Any]) -> Any:
        _, kind, value, changes, dropped, out, err = answer
        if kind == "unsendable":
            self.doubt(f"the code's answer cannot be sent: {value}")
        taken = coder.decode(value)
        coder.apply(changes)
        for number, _ in changes:
            self._doubt_change(number, answered=kind == "value" and taken is not None)
        self.held.drop(dropped)
        if out or err:
            sys.stdout.write(out)
            sys.stderr.write(err)
        return taken

    def _doubt_change(self, number: int, *, answered: bool) -> None:
        """Say so where the code has changed what a test handed over, and not only as what it was called for."""
        if number > 0 and (answered or number <= self.before):
            kind = type(self.held.entries[number].container).__name__
            later = "in a later call" if number <= self.before else "and answers too"
            self.tell(
                kind="note", text=f"changes a {kind} that a test handed over, {later}: what is told from it is its word"
            )

    def _exchange(self, request: bytes) -> list[Any]:
        view = memoryview(request)
        line = b""
        try:
            while view:
                view = view[os.write(self.fd, view) :]
            line = self.reading.readline(MOST_BYTES + 2)
        except OSError:
            pass  # the line is closed, and what was not read says so
        if not line.endswith(b"\n"):
            self.lose("its process ended" if len(line) < MOST_BYTES else "its answer has no end")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if type(answer) is not list or len(answer) != _PARTS or answer[0] != self.count:
            self.lose("it answered with what is no answer")
        return answer

    def lose(self, why: str) -> NoReturn:
        """Give the code up: nothing it says from now on counts, and the verdict is bad whatever the tests make of it."""
        self.lost = f"the code cannot be asked any more: {why}"
        self.tell(kind="lost", text=self.lost)
        raise CodeLost(self.lost)

    def doubt(self, why: str) -> NoReturn:
        """Refuse to believe an answer."""
        self.tell(kind="doubt", text=why)
        raise NotBelieved(why)

    def refuse(self, why: str) -> NoReturn:
        """Say that these tests cannot be run apart from the code."""
        self.tell(kind="not isolatable", text=why)
        raise NotIsolatable(why)


_links: list[Link] = []


def connect(link: Link) -> None:
    """Make this the link that everything here asks through."""
    _links[:] = [link]


def ask(what: str, *data: Any) -> Any:
    """The code's answer; raises what the code raised."""
    __tracebackhide__ = True
    return _links[0].ask(what, *data)


def made_here() -> bool:
    """Whether the line of a test that is running compares what the tests made themselves, as `made_lines.py` has read it."""
    return _is_line_of(_links[0].made)


def worked_here() -> bool:
    """Whether the line of a test that is running works with what the tests made themselves, as `made_lines.py` has read it."""
    return _is_line_of(_links[0].worked)


def guarded(trace: Any) -> bool:
    """Whether an exception came up on a line of a test that stands before an assertion in the same `with`, or is one."""
    while trace is not None:
        ranges = _links[0].guarded.get(trace.tb_frame.f_code.co_filename, ())
        if any(first <= trace.tb_lineno <= last for first, last in ranges):
            return True
        trace = trace.tb_next
    return False


def _is_line_of(lines: dict[str, list[list[int]]]) -> bool:
    frame: Any = sys._getframe(1)  # noqa: SLF001 - who asks is the test's line
    while lines and frame is not None:
        ranges = lines.get(frame.f_code.co_filename)
        if ranges is not None:
            return any(first <= frame.f_lineno <= last for first, last in ranges)
        frame = frame.f_back
    return False


def lost() -> bool:
    """Whether there is nobody to ask any more."""
    return _links[0].lost is not None


def note(why: str) -> None:
    """Have something said with the verdict."""
    _links[0].tell(kind="note", text=why)


def doubt(why: str) -> NoReturn:
    """Refuse to believe an answer."""
    _links[0].doubt(why)


def refuse(why: str) -> NoReturn:
    """Say that these tests cannot be run apart from the code."""
    _links[0].refuse(why)
