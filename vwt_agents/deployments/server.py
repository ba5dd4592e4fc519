"""A server as its keeper has it: the process of a command, or a service of compose. Owns how each starts and stops.

Both say in plain words why they could not, with the end of what the server or compose said itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final, Protocol

from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vwt_agents.deployments.deployment import Order
    from vwt_agents.deployments.folder import State
    from vwt_agents.types import Seconds

__all__ = ["CommandServer", "ComposeServer", "Server"]

_GRACE_S: Final = 10.0
_KILL_S: Final = 5.0
_DOWN_S: Final = 120.0
_PAUSE_S: Final = 0.02


class Server(Protocol):
    """What a keeper needs of a server."""

    @property
    def state(self) -> State:
        """`starting` or `running`, as far as its process tells."""
        ...

    @property
    def mark(self) -> ProcessMark | None:
        """The server's process; None where it is not ours."""
        ...

    def start(self, log: Path) -> str | None:
        """Begin to start it; why that is not possible, if it is not."""
        ...

    def ended(self) -> tuple[State, str] | None:
        """How it ended by itself; None while it has not."""
        ...

    def stop(self, log: Path) -> str | None:
        """End it and return once it is gone; why it is not, if it is not."""
        ...


class CommandServer:
    """The process of a command, in a process group of its own; `mark` is that of one which was found running."""

    state: State = "running"

    def __init__(self, order: Order, mark: ProcessMark | None = None) -> None:
        self.mark = mark
        self._order = order
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, log: Path) -> str | None:
        """Start the process; it is the server and stays."""
        try:
            self._process = _spawn(self._order, log, fresh=True)
        except OSError as error:
            return f"{self._order.argv[0]} could not be started: {error.strerror or error}"
        self.mark = ProcessMark.of(self._process.pid)
        return None

    def ended(self) -> tuple[State, str] | None:
        """How the process ended."""
        assert self.mark is not None
        if not _gone(self.mark, self._process):
            return None
        _signal_group(self.mark.pid, signal.SIGKILL)  # runners of a server that was killed still hold its memory
        return ("stopped", "its process ended") if self._process is None else ("failed", _ending(self._process.wait()))

    def stop(self, log: Path) -> str | None:  # noqa: ARG002 - a service's needs it
        """Tell the group to end, and after 10 seconds force it."""
        assert self.mark is not None
        for number, patience in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _KILL_S)):
            _signal_group(self.mark.pid, number)
            if _within(patience, lambda: _gone(self.mark, self._process)):
                _signal_group(self.mark.pid, signal.SIGKILL)  # what it started and did not end
                return None
        return f"process {self.mark.pid} did not end"


class ComposeServer:
    """A service of compose: `up` returns once it is healthy, `down` stops its container and keeps its volumes."""

    mark = None

    def __init__(self, up: Order, down: Order, *, running: bool = False) -> None:
        self._up = up
        self._down = down
        self._running = running
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> State:
        """Starting until `up` has returned."""
        return "running" if self._running else "starting"

    def start(self, log: Path) -> str | None:
        """Begin `up`, which brings the image first where it is not here."""
        try:
            self._process = _spawn(self._up, log, fresh=True)
        except OSError as error:
            return f"{self._up.argv[0]} could not be run: {error.strerror or error}"
        return None

    def ended(self) -> tuple[State, str] | None:
        """How `up` failed."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return None
        self._process = None
        if code == 0:
            self._running = True
            return None
        return "failed", _ending(code)

    def stop(self, log: Path) -> str | None:
        """End an `up` under way, then have compose stop the service."""
        if (process := self._process) is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal_group(process.pid, number)
                if _within(_GRACE_S, lambda: process.poll() is not None):
                    break
        try:
            code = _spawn(self._down, log).wait(_DOWN_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"compose could not stop it: {error}"
        return None if code == 0 else f"compose could not stop it: {_ending(code)}"


def _spawn(order: Order, log: Path, *, fresh: bool = False) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that no Ctrl-C of a terminal reaches it, whose words go to the log."""
    with log.open("ab") as words:
        if fresh:
            words.truncate(0)
        return subprocess.Popen(
            order.argv,
            env={**os.environ, **order.env},
            cwd=order.folder,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _ending(code: int) -> str:
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with exit status {code}"


def _gone(mark: ProcessMark | None, process: subprocess.Popen[bytes] | None) -> bool:
    return process.poll() is not None if process is not None else mark is None or mark.gone()


def _within(seconds: Seconds, fact: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_S)
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of the dead
        os.killpg(pid, number)
