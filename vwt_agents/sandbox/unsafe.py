"""No sandbox: the program runs as the user, with the user's files and network. Only ever used when the user says so.

Limits per process, the wall clock and output still hold; nothing else does, and every result says level `none`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.sandbox.base import BOX, Level, Limits, Mount, SandboxResult
from vwt_agents.sandbox.supervise import Job, stage_folder, supervise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Unsafe"]

_HELD: Final = frozenset({"wall", "cpu", "address_space", "open_files", "file_size", "output"})


class Unsafe:
    """A plain process in a temporary copy of the work folder; detached children may outlive it."""

    name = "unsafe"
    level: Level = "none"

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
        inside = Path(__file__).with_name("inside.py")
        with stage_folder() as stage:
            box = Path(stage, "box")
            box.mkdir()  # noqa: ASYNC240
            places = {BOX: str(box), **{mount.target: str(mount.source) for mount in read_only}}
            job = Job(
                backend=self.name,
                level=self.level,
                command=lambda spec, _: (sys.executable, "-I", "-S", "-B", str(inside), str(spec)),
                argv=[_placed(word, places) for word in argv],
                env={
                    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                    "HOME": str(box),
                    "LC_ALL": "C.UTF-8",
                    **env,
                },
                limits=limits or Limits(),
                box=str(box),
                source=str(workdir.resolve()) if workdir is not None else None,  # noqa: ASYNC240
                collect=collect,
                pass_fds=pass_fds,
                stdin=stdin,
                enforced=_HELD,
            )
            return await supervise(job)


def _placed(word: str, places: Mapping[str, str]) -> str:
    for target, place in places.items():
        if word == target or word.startswith(f"{target}/"):
            return place + word[len(target) :]
    return word
