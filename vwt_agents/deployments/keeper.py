"""The process that owns a server we started: starts it, watches who uses it, stops it when idle, and ends with it.

`python -m vwt_agents.deployments.keeper` reads a Job from stdin, detaches itself, and its first process ends when the
keeper is at work: exit code 0, or 75 where another one already is. It imports nothing heavy and asks nobody anything but
the server. SIGTERM stops the server; SIGUSR1 stops it unless somebody uses it, for a start that was given up.

A keeper that is killed leaves its server as it is. The next who wants it, or asks for it to be stopped, starts a new
keeper, which finds the server by what is written of it and goes on.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vwt_agents.deployments.folder import Record, ServerFolder, State
from vwt_agents.deployments.job import TAKEN, Job
from vwt_agents.deployments.server import CommandServer, ComposeServer, Server
from vwt_agents.processes import ProcessMark

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.types import Seconds

__all__ = ["Keeper", "main"]

_SECOND_S: Final = 0.3  # whoever only looks whether the lock is taken holds it for microseconds
_TICK_S: Final = (0.02, 15.0)
_SOON_S: Final = 0.5
_LOST: Final = 4  # ticks in a row without an answer, after which a service that ran is taken to have been stopped
_ASK_S: Final = 3.0
_LOG_BYTES: Final = 16 * 1024 * 1024


class Keeper:
    """Looks after one server, from its start to its end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = ServerFolder(job.folder)
        low, high = _TICK_S
        self._tick = min(high, max(low, job.deployment.idle_stop / 8))
        self._signals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._used = time.monotonic()
        self._seen: str | None = None
        self._unanswered = 0
        self._server: Server | None = None
        self._record = Record("starting", job.deployment, ProcessMark.here())

    def take_over(self) -> bool:
        """Whether this process now is the server's keeper; False where it has another."""
        until = time.monotonic() + _SECOND_S
        while not self.folder.keeper.take():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        signal.signal(signal.SIGTERM, lambda *_: self._signals.put("stop"))
        signal.signal(signal.SIGUSR1, lambda *_: self._signals.put("abandon"))
        signal.signal(signal.SIGCHLD, lambda *_: self._signals.put("child"))
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        before = self.folder.record()
        if before is not None and before.failed(self.job.deployment, since=self.job.since):
            return False
        if before is not None and before.lives() and (_surely(before.server) or self._answer() is not None):
            self._adopt(before)
        self._write(self._record.state)
        return True

    def _adopt(self, before: Record) -> None:
        """Its keeper was killed, and the server is still there."""
        self._record = replace(before, keeper=ProcessMark.here(), state="running")
        self._server = self._make(before.server)
        if before.state == "stopping":  # in the midst of which the keeper was killed
            self._server.stop(self.folder.log)
            self._record, self._server = Record("starting", self.job.deployment, ProcessMark.here()), None

    def keep(self) -> None:
        """Start the server unless it was found running, and return once it is gone."""
        if self.job.stop and self._server is None:
            self._end("stopped", "nothing of it was running")
            return
        if self._server is None:
            self._server = self._make(None)
            if (fault := self._server.start(self.folder.log)) is not None:
                self._end("failed", fault)
                return
            self._write(self._server.state, server=self._server.mark)
        if self.job.stop:
            self._signals.put("stop")
        while not self._done(self._server, self._heard()):
            pass

    def _make(self, mark: ProcessMark | None) -> Server:
        order, down = self._record.deployment.up(), self._record.deployment.down()
        if down is not None:
            return ComposeServer(order, down, running=self._record.state == "running")
        return CommandServer(order, mark)

    def _heard(self) -> str | None:
        left = self._used + self.job.deployment.idle_stop - time.monotonic()
        soon = min(self._tick, _SOON_S) if self._unanswered else self._tick
        try:
            return self._signals.get(timeout=max(_TICK_S[0], min(soon, left)))
        except queue.Empty:
            return None

    def _done(self, server: Server, heard: str | None) -> bool:
        """One look at the server and its users; True once there is nothing left to look after."""
        if (end := server.ended()) is not None:
            self._end(*end)
            if isinstance(server, ComposeServer):
                server.stop(self.folder.log)  # a container that never became healthy still runs
            return True
        if server.state != self._record.state:
            self._write(server.state)
        if heard == "stop":
            return self._stop(server, "it was told to")
        if heard == "abandon":
            return self._stop_unused(server, "nobody waited for it any longer", idle=0.0)
        if self._vanished(server):
            self._end("stopped", "it no longer answered: somebody else stopped it")
            return True
        idle_stop = self.job.deployment.idle_stop
        return self._stop_unused(server, f"nobody used it for {idle_stop:g} s", idle=idle_stop)

    def _stop_unused(self, server: Server, why: str, *, idle: Seconds) -> bool:
        self._look_for_use()
        if time.monotonic() - self._used < idle or self.folder.users():
            return False
        try:
            self.folder.shut_door()
        except TimeoutError:
            return False
        try:
            self.folder.forget_dead_users()
            if self.folder.users():
                return False
            self._write("stopping")  # behind the door: who comes from now on waits until it is gone, and starts it anew
        finally:
            self.folder.door.let_go()
        return self._stop(server, why)

    def _stop(self, server: Server, why: str) -> bool:
        self._write("stopping")
        fault = server.stop(self.folder.log)
        self._end("stopped" if fault is None else "stopping", fault or why)
        return True

    def _look_for_use(self) -> None:
        """Note when it was last used: by a process that says so here, or by anybody whose models the server shows."""
        if self.folder.users():
            self._used, self._seen = time.monotonic(), None
            return
        if (answer := self._answer()) is None:
            return
        seen = hashlib.sha256(answer).hexdigest()
        if seen != self._seen:
            if self._seen is not None:
                self._used = time.monotonic()
            self._seen = seen
            self._write(self._record.state)
        if self.folder.log.exists() and self.folder.log.stat().st_size > _LOG_BYTES:
            os.truncate(self.folder.log, 0)  # the server appends, so it goes on at the new end

    def _vanished(self, server: Server) -> bool:
        """Whether a service that ran has not answered for a while; a command's process is watched itself."""
        if not isinstance(server, ComposeServer) or server.state != "running":
            return False
        self._unanswered = 0 if self._answer() is not None else self._unanswered + 1
        return self._unanswered >= _LOST

    def _answer(self) -> bytes | None:
        """What the server says of its models in memory, which changes with each use of them; None without an answer."""
        parts = urlsplit(self.job.deployment.url)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.hostname or "", parts.port, timeout=_ASK_S)
        try:
            connection.request("GET", f"{parts.path.rstrip('/')}/api/ps")
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _write(self, state: State, *, server: ProcessMark | None = None) -> None:
        used_at = time.time() - (time.monotonic() - self._used)
        self._record = replace(self._record, state=state, server=server or self._record.server, used_at=used_at)
        self._record = self.folder.write_record(self._record)

    def _end(self, state: State, said: str) -> None:
        words = self.folder.tail() if state != "stopped" and self._server is not None else ""
        self._record = replace(self._record, said=f"{said}; the end of what it said:\n{words}" if words else said)
        self._write(state)


def _surely(server: ProcessMark | None) -> bool:
    """Whether a process that lives is the server, and not a later one with its pid: where the system tells when it began."""
    return server is not None and server.started > 0


def main() -> int:
    """The exit code of the first process, or of the keeper itself once its server is gone."""
    keeper = Keeper(Job.read(sys.stdin.buffer.read()))
    keeper.folder.make()
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return {b"1": 0, b"0": TAKEN}.get(os.read(reader, 1), 1)
    os.close(reader)
    _detach(keeper.folder.path / "keeper.log")
    ours = Keeper(keeper.job)
    taken = ours.take_over()
    os.write(writer, b"1" if taken else b"0")
    os.close(writer)
    if taken:
        ours.keep()
    return 0


def _detach(log: Path) -> None:
    """Nothing of the terminal or the pipes of whoever started us is kept open."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, file in ((0, nothing), (1, words), (2, words)):
        os.dup2(file, number)
    os.close(nothing)
    os.close(words)


if __name__ == "__main__":
    sys.exit(main())
