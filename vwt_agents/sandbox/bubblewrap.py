"""The bubblewrap backend: the layout as arguments of `bwrap`. Starts nothing but bwrap, through `supervise`."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.sandbox.base import BOX, Level, Limits, Mount, SandboxResult, own_uid, python
from vwt_agents.sandbox.layout import INODES, INSIDE, SOURCE, Step, etc_files, interpreter_mounts, plan
from vwt_agents.sandbox.program import write_program
from vwt_agents.sandbox.supervise import Job, stage_folder, supervise, write_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Bubblewrap", "Confined"]

_ENV: Final = MappingProxyType(
    {"HOME": BOX, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp", "USER": "sandbox", "TERM": "dumb"}  # noqa: S108
)


class Confined:
    """What the backends of level `full` share: the layout is the same, only who builds it differs."""

    name: str
    level: Level = "full"

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
        uid = own_uid()
        with stage_folder() as stage:
            etc = write_files(Path(stage, "etc"), etc_files(uid or 1000))
            root = Path(stage, "root")
            root.mkdir()  # noqa: ASYNC240
            mounts = (*interpreter_mounts(), *read_only)
            program = write_program(Path(stage, "program"))
            steps = plan(limits=limits, etc=etc, program=program, workdir=workdir, read_only=mounts)
            job = Job(
                backend=self.name,
                level=self.level,
                command=lambda spec, status: self._command(spec, status, steps, uid, program),
                argv=argv,
                env={"PATH": f"{Path(python()).parent}:/usr/local/bin:/usr/bin:/bin", **_ENV, **env},
                limits=limits,
                box=BOX,
                source=SOURCE if workdir is not None else None,
                uid=uid,
                collect=collect,
                pass_fds=pass_fds,
                stdin=stdin,
                inodes=INODES,
                extra=self._extra(root, steps),
            )
            return await supervise(job)

    def _command(self, spec: int, status: int, steps: Sequence[Step], uid: int | None, program: Path) -> Sequence[str]:
        raise NotImplementedError

    def _extra(self, root: Path, steps: Sequence[Step]) -> Mapping[str, object]:  # noqa: ARG002
        return {}


class Bubblewrap(Confined):
    """`bwrap` with its own process 1 replaced by ours, so that it reaps it itself and no zombie is left to the machine."""

    name = "bubblewrap"

    def __init__(self, executable: Path) -> None:
        self.executable = executable

    def _command(self, spec: int, status: int, steps: Sequence[Step], uid: int | None, _program: Path) -> Sequence[str]:
        if uid is None:
            privileges = ["--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
        else:
            kept = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN", "CAP_DAC_READ_SEARCH")
            privileges = ["--cap-drop", "ALL", *(word for one in kept for word in ("--cap-add", one))]
        return [
            str(self.executable),
            *privileges,
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
            *(word for step in steps for word in _words(step)),
            *("--chdir", BOX, "--json-status-fd", str(status), "--"),
            *(python(), "-I", "-S", "-B", INSIDE, str(spec)),
        ]


def _words(step: Step) -> Iterable[str]:
    kind, path, arg, mode, _ = step
    perms = ("--perms", f"{mode:04o}")
    match kind:
        case "tmpfs":
            return (*perms, "--size", arg, "--tmpfs", path)
        case "dir":
            return (*perms, "--dir", path)
        case "bind":
            return ("--ro-bind", arg, path)
        case "symlink":
            return ("--symlink", arg, path)
        case "proc" | "dev":
            return (f"--{kind}", path)
        case "seal":
            return ("--remount-ro", path)
