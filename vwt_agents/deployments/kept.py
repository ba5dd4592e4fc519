"""A server on demand, as those see it who want it up: one start for many who wait, in this process and in all others.

Owns the waiting and the words of a start that failed. Never starts or stops the server itself: its keeper does.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.deployments.job import TAKEN, Job
from vwt_agents.errors import EndpointUnavailable, UnloadFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vwt_agents.deployments.deployment import Deployment
    from vwt_agents.deployments.folder import Record, ServerFolder, Use
    from vwt_agents.types import Seconds

__all__ = ["KeptServer", "Standing"]

_PAUSE_S: Final = (0.02, 0.25)
_STOP_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands: was it started by us and is still there, does a keeper look after it, who uses it."""

    ours: bool
    kept: bool
    users: tuple[int, ...]
    idle: Seconds | None
    record: Record | None


class KeptServer:
    """One deployment, in the folder that all processes of this user share for it; `probe` asks whether it answers.

    `say` is told in a line what may take long.
    """

    def __init__(
        self,
        deployment: Deployment,
        folder: ServerFolder,
        probe: Callable[[], Awaitable[bool]],
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.deployment = deployment
        self.folder = folder
        self._probe = probe
        self._say = say or (lambda _line: None)

    def startable(self) -> str | None:
        """Why it cannot be started here, as far as one can tell without trying; None when it can."""
        program = self.deployment.up().argv[0]
        if shutil.which(program) is None:
            return f"there is no program {program!r} here"
        missing = [name for name in self.deployment.compose if not Path(name).is_file()]
        return f"there is no file {missing[0]}" if missing else None

    def standing(self) -> Standing:
        """How it stands by what is written and locked; whether it answers is not asked."""
        record, kept, users = self.folder.record(), self.folder.kept(), self.folder.users()
        ours = record is not None and (kept or record.lives())
        idle = None if users or record is None or not ours else max(0.0, time.time() - record.used_at)
        return Standing(ours, kept, users, idle, record)

    async def up(self) -> Use:
        """Return once it answers; it stays up at least until the Use ends. Joins a start that is under way.

        EndpointUnavailable with its own words when it could not be started, or did not answer within the time limit. A
        start that is given up is stopped, unless others wait for it.
        """
        began = time.time()
        try:
            self.folder.make()
        except OSError as error:
            hint = "choose another folder with VWT_STATE"
            raise EndpointUnavailable(f"{self.folder.path} cannot be made: {error.strerror}", hint=hint) from error
        use = await self._register()
        done = False
        try:
            with anyio.move_on_after(self.deployment.timeout):
                await self._answers(began)
                done = True
                return use
        finally:
            if not done:
                use.end()
                self._signal(signal.SIGUSR1)
        raise self._too_slow()

    async def down(self) -> str | None:
        """Stop it and return once it is gone, whoever uses it; why there was nothing to stop, if there was not.

        UnloadFailed when it could not be stopped.
        """
        if not self.folder.kept():
            record = self.folder.record()
            if record is None or not record.lives():
                answers = await self._probe()
                return "it was not started by vwt_agents" if answers else "it is not running"
            await self._spawn(stop=True)
        elif not self._signal(signal.SIGTERM):
            await anyio.sleep(_PAUSE_S[1])  # it has only just begun, or is about to end
            self._signal(signal.SIGTERM)
        with anyio.move_on_after(_STOP_S):
            while self.folder.kept():  # noqa: ASYNC110 - another process lets go of it: there is no event
                await anyio.sleep(_PAUSE_S[0])
            record = self.folder.record()
            if record is None or record.state != "stopping":
                return None
            raise UnloadFailed(f"{self._named()} could not be stopped: {record.said}")
        raise UnloadFailed(f"{self._named()} was still there {_STOP_S:g} s after it was told to stop")

    async def _register(self) -> Use:
        while (use := self.folder.register()) is None:  # noqa: ASYNC110 - as above
            await anyio.sleep(_PAUSE_S[0])
        return use

    async def _answers(self, began: float) -> None:
        """Start it unless that is done, and return once it answers."""
        pause, longest = _PAUSE_S
        told = False
        while not await self._ready(began, told=told):
            told = True
            await anyio.sleep(pause)
            pause = min(pause * 1.3, longest)

    async def _ready(self, began: float, *, told: bool) -> bool:
        """One look; True when it answers and, if we started it, is looked after."""
        kept, record = self.folder.kept(), self.folder.record()
        if record is not None and record.state == "stopping" and (kept or record.lives()):
            if not kept:
                await self._spawn()  # the one who was stopping it was killed
            return False
        if await self._probe():
            if not kept and record is not None and record.lives():
                await self._spawn()
            return True
        if kept:
            if not told:
                self._say(f"waiting for {self._named()}, which is being started")
            return False
        record = self.folder.record()  # as its keeper left it
        if record is not None and record.failed(self.deployment, since=began):
            raise self._failed(record.said)
        if not told:
            self._say(f"starting {self._named()}: {self.deployment.shown()}")
        await self._spawn(since=began)
        return False

    async def _spawn(self, *, stop: bool = False, since: float = inf) -> None:
        """A keeper at work when this returns: a new one, or one that was faster, and may have failed since then."""
        job = Job(self.folder.path, self.deployment, stop, since)
        with anyio.CancelScope(shield=True):  # it takes a tenth of a second, and then there is somebody to tell to stop
            done = await anyio.run_process(
                [sys.executable, "-m", "vwt_agents.deployments.keeper"],
                input=job.line(),
                check=False,
                cwd=Path(__file__).parents[2],  # `-m` searches there first; never in the user's folder
                start_new_session=True,
            )
        if done.returncode not in {0, TAKEN}:
            words = done.stderr.decode("utf-8", "replace").strip() or self._read("keeper.log")
            raise EndpointUnavailable(f"the keeper of {self._named()} could not be started: {words[-2000:]}")

    def _signal(self, number: signal.Signals) -> bool:
        """Tell the keeper, if there is one; whether there was."""
        record = self.folder.record()
        if record is None or not self.folder.kept() or record.keeper.gone():
            return False
        try:
            os.kill(record.keeper.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _failed(self, said: str) -> EndpointUnavailable:
        shown = f"python -m vwt_agents endpoints up {self.deployment.endpoint} --dry-run"
        hint = f"correct endpoints.{self.deployment.endpoint}.start; what is run, to try it by hand: {shown}"
        if self.deployment.compose:
            hint = f"do `docker compose version` and `docker info` work here? what is run, to try it by hand: {shown}"
        return EndpointUnavailable(
            f"{self._named()} could not be started by `{self.deployment.shown()}`: {said}", hint=hint
        )

    def _too_slow(self) -> EndpointUnavailable:
        words = self.folder.tail()
        said = f"; the end of what it said:\n{words}" if words else "; it said nothing"
        limit = f"{self.deployment.timeout:g} s"
        return EndpointUnavailable(
            f"{self._named()} did not answer within {limit} of `{self.deployment.shown()}`{said}",
            hint=f"raise endpoints.{self.deployment.endpoint}.start.timeout, or start it by hand and see what it lacks",
        )

    def _named(self) -> str:
        return f"endpoint {self.deployment.endpoint} ({self.deployment.url})"

    def _read(self, name: str) -> str:
        try:
            return (self.folder.path / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""
