"""One worker process seen from its parent: started, watched, ended.

Owns: the spawn and its environment, the worker's first line, the end of its log, and that it is gone when `stop` returns. Never
decides which model runs. The log goes to an unnamed file, so nothing has to drain a pipe and its end can be read after a crash.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.errors import LoadFailed

if TYPE_CHECKING:
    from anyio.abc import Process

    from vwt_agents.endpoints.embedded.worker import Spec
    from vwt_agents.types import Seconds

__all__ = ["WorkerProcess"]

_LOG_LINES: Final = 40
_LOG_BYTES: Final = 16 * 1024
_GRACE_S: Final = 0.5
_KILL_S: Final = 1.0


class WorkerProcess:
    """A running worker; `port` is where it answers, `load_s` how long its load took."""

    def __init__(self, spec: Spec, process: Process, log: IO[bytes]) -> None:
        self.spec = spec
        self.port = 0
        self.load_s = 0.0
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, spec: Spec, *, limit: Seconds) -> WorkerProcess:
        """A worker that can serve; LoadFailed with the engine's own words, and then nothing of it is left."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 -- it lives as long as the process
        try:
            process = await anyio.open_process(
                [sys.executable, "-m", "vwt_agents.endpoints.embedded.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(spec.threads),
                cwd=Path(__file__).parents[3],  # `-m` searches there first; never in the user's folder
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle, in order
            )
        except OSError as error:
            log.close()
            raise LoadFailed(f"no process could be started for {spec.name}: {error}") from error
        except BaseException:
            log.close()
            raise
        worker = cls(spec, process, log)
        try:
            await worker._hand_over(limit)
        except BaseException:
            await worker.stop()
            raise
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is still there, as far as the event loop has heard."""
        return self._process.returncode is None

    def tail(self) -> str:
        """The last lines of its log."""
        if self._log.closed:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        # pread: the worker writes through the same offset
        data = os.pread(self._log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES))
        return "\n".join(data.decode("utf-8", "replace").splitlines()[-_LOG_LINES:])

    def epitaph(self) -> str:
        """How it ended, and the end of its log."""
        code = self._process.returncode
        ended = "is still running" if code is None else f"ended with exit status {code}"
        if code is not None and code < 0:
            ended = f"was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                ended += " (by somebody, or by the kernel for want of memory)"
        log = self.tail()
        return f"the worker of {self.spec.name} {ended}" + (
            f"; the end of its log:\n{log}" if log else "; its log is empty"
        )

    async def ended_within(self, seconds: Seconds) -> bool:
        """Whether the process has ended, or does so in that time."""
        with anyio.move_on_after(seconds):
            await self._process.wait()
        return not self.alive

    async def stop(self) -> None:
        """End the process and return once it is gone, within about 1.5 s, also when the caller is being cancelled."""
        with anyio.CancelScope(shield=True):
            if self.alive:
                self._signal(signal.SIGTERM)
                if not await self.ended_within(_GRACE_S):
                    self._signal(signal.SIGKILL)
                    await self.ended_within(_KILL_S)
            with anyio.move_on_after(_KILL_S):
                await self._process.aclose()
            self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            return  # it went by itself

    async def _hand_over(self, limit: Seconds) -> None:
        assert self._process.stdin is not None
        answer: dict[str, Any] | None = None
        with anyio.move_on_after(limit) as scope:
            try:
                await self._process.stdin.send(self.spec.line())
                answer = await self._first_line()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                await self.ended_within(_KILL_S)
        if scope.cancelled_caught:
            raise LoadFailed(
                f"{self.spec.name} was not loaded within {limit:g} s; the end of its log:\n{self.tail()}",
                hint="a slow disk or a busy machine needs a longer time limit",
            )
        if answer is None:
            raise LoadFailed(f"{self.spec.name} could not be loaded: {self.epitaph()}")
        if "error" in answer:
            await self.ended_within(_KILL_S)  # its log is only whole then
            raise LoadFailed(f"{self.spec.name} could not be loaded: {answer['error']}\n{self.tail()}".rstrip())
        self.port, self.load_s = int(answer["port"]), float(answer["load_s"])

    async def _first_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += await self._process.stdout.receive()
        answer: dict[str, Any] = json.loads(line)
        return answer


def _environment(threads: int) -> dict[str, str]:
    # Read when the library is loaded, so they have to be there before: with libgomp's default its threads spin at every
    # barrier, and a worker that shares its cores with anything else all but stops.
    return {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads)}
