"""What the backends of level `full` share: the layout is the same, only who builds it differs. Starts nothing itself."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.sandbox.base import BOX, Level, Limits, Mount, SandboxResult, own_uid, python
from vwt_agents.sandbox.folders import kept, stage_folder
from vwt_agents.sandbox.layout import INODES, Step, etc_files, interpreter_links, interpreter_mounts, plan
from vwt_agents.sandbox.program import program
from vwt_agents.sandbox.supervise import Job, supervise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Confined", "Setup"]

_ENV: Final = MappingProxyType(
    {"HOME": BOX, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp", "USER": "sandbox", "TERM": "dumb"}  # noqa: S108
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What one run is built from: a private folder of this machine, what the program shall see, and as whom it runs."""

    stage: Path
    program: Path
    steps: Sequence[Step]
    limits: Limits
    uid: int | None


class Confined:
    """A backend whose program sees the layout and nothing else."""

    name: str
    level: Level = "full"
    stop_signal: int = signal.SIGKILL

    async def run(
        self,
        argv: Sequence[str],
        *,
        workdir: Path | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] = MappingProxyType({}),
        read_only: Sequence[Mount] = (),
        collect: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        stdin: bytes = b"",
    ) -> SandboxResult:
        """Run `argv` in a copy of `workdir`; SandboxUnavailable when the sandbox itself cannot be set up."""
        limits = limits or Limits()
        with stage_folder(mib=0) as stage:
            setup = self._setup(Path(stage), limits, read_only)
            await self._before(setup)
            job = Job(
                backend=self.name,
                level=self.level,
                command=lambda spec, status: self._command(setup, spec, status),
                argv=argv,
                env={"PATH": f"{Path(python()).parent}:/usr/local/bin:/usr/bin:/bin", **_ENV, **env},
                limits=limits,
                box=BOX,
                source=workdir,
                uid=setup.uid,
                collect=collect,
                pass_fds=pass_fds,
                stdin=stdin,
                inodes=INODES,
                stop_signal=self.stop_signal,
                extra=self._extra(setup),
            )
            return await supervise(job)

    def _setup(self, stage: Path, limits: Limits, read_only: Sequence[Mount]) -> Setup:
        uid = own_uid()
        etc = kept(f"etc-{uid}", lambda: etc_files(uid or 1000))
        programs = kept("program", program)
        mounts = (*interpreter_mounts(), *read_only)
        links = interpreter_links(mounts)
        steps = plan(limits=limits, etc=etc, program=programs, read_only=mounts, links=links)
        return Setup(stage=stage, program=programs, steps=steps, limits=limits, uid=uid)

    async def _before(self, setup: Setup) -> None:
        """What has to be there before the command can be started."""

    def _command(self, setup: Setup, spec: int, status: int) -> Sequence[str]:
        raise NotImplementedError

    def _extra(self, setup: Setup) -> Mapping[str, object]:  # noqa: ARG002
        return {}
