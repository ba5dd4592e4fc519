"""Programs in a temporary folder of this machine, where there is nothing to build a sandbox from: no protection, by name.

Limits per process, the wall clock and output hold, and what descends from the program ends with it; nothing else is held,
and every result says level `none`. Only ever used when the user says so. `landlock` puts its fence around the same run.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.base import BOX, Level, Limits, Mount, SandboxResult, python
from vwt_agents.sandbox.folders import stage_folder, write_all
from vwt_agents.sandbox.program import program
from vwt_agents.sandbox.supervise import Job, supervise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.seccomp import Refused

__all__ = ["OnThisMachine", "Unsafe"]

_HELD: Final = frozenset({"wall", "cpu", "address_space", "open_files", "file_size", "output"})


class OnThisMachine:
    """Runs a program in a copy of its work folder, at paths of this machine instead of the sandbox's."""

    name: str
    level: Level
    enforced: frozenset[str]

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
        """Run `argv` with paths below the box and the mounts' targets replaced by where they are on this machine."""
        uid = self._uid()
        with stage_folder() as stage:
            if uid is not None:
                read_only = _reachable(stage, read_only, uid)
            box, tmp = _open_folder(stage, "box"), _open_folder(stage, "tmp")
            programs = write_all(Path(stage, "program"), program())
            places = {BOX: str(box), **{mount.target: str(mount.source) for mount in read_only}}
            job = Job(
                backend=self.name,
                level=self.level,
                command=lambda spec, _: (python(), "-I", "-S", "-B", str(programs / "inside.pyc"), str(spec)),
                argv=[_placed(word, places) for word in argv],
                env={
                    "PATH": f"{Path(python()).parent}:/usr/bin:/bin",
                    "HOME": str(box),
                    "TMPDIR": str(tmp),
                    "LC_ALL": "C.UTF-8",
                    **env,
                },
                limits=limits or Limits(),
                box=str(box),
                source=workdir,
                uid=uid,
                collect=collect,
                pass_fds=pass_fds,
                stdin=stdin,
                enforced=self.enforced,
                stop_signal=signal.SIGTERM,  # what descends from it is no namespace's to end, only its reaper's
                denied=self._denied(),
                extra=self._extra((box, tmp), [str(mount.source) for mount in read_only]),
            )
            return await supervise(job)

    def _uid(self) -> int | None:
        return None

    def _denied(self) -> Sequence[Refused]:
        return ()

    def _extra(self, writable: Sequence[Path], readable: Sequence[str]) -> Mapping[str, Any]:  # noqa: ARG002
        return {}


class Unsafe(OnThisMachine):
    """A plain process that can do all the user can."""

    name = "unsafe"
    level: Level = "none"
    enforced = _HELD


def _reachable(stage: str, mounts: Sequence[Mount], uid: int) -> Sequence[Mount]:
    """The same mounts as copies in the stage, which the user dropped to may enter: what others made need not be open to it."""
    os.chown(stage, -1, uid)  # the folder stays ours, or nobody would know whose it is when we are killed
    Path(stage).chmod(0o710)
    copies = []
    for number, mount in enumerate(mounts):
        copy = Path(stage, f"mount-{number}")
        shutil.copytree(mount.source, copy) if mount.source.is_dir() else shutil.copy(mount.source, copy)
        copies.append(Mount(copy, mount.target))
    return copies


def _open_folder(stage: str, name: str) -> Path:
    folder = Path(stage, name)
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def _placed(word: str, places: Mapping[str, str]) -> str:
    for target, place in places.items():
        if word == target or word.startswith(f"{target}/"):
            return place + word[len(target) :]
    return word
