"""The docker and podman backends: the layout as a container of an empty image. Only ever used when the user names them.

The image holds folders and links, made here and never downloaded; what the program sees is bound read-only, as in the other
backends, and the same process 1 gets it ready. Docker has never been run by us: its arguments are tested, its daemon was not
there. Podman 4.3 with runc has.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import marshal
import os
import platform
import resource
import secrets
import signal
import tarfile
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import BOX, python
from vwt_agents.sandbox.confined import Confined, Setup
from vwt_agents.sandbox.layout import DOOR, INSIDE, Step
from vwt_agents.sandbox.seccomp import profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Container", "Engine"]

Engine: TypeAlias = Literal["docker", "podman"]
_CAPABILITIES: Final = ("SETUID", "SETGID", "SETPCAP", "CHOWN", "DAC_READ_SEARCH")  # until process 1 has dropped them
_OWN_TASKS, _OWN_MIB = 4, 64  # process 1 itself, and the threads of a runtime that starts it
_OPEN_FILES = 4096  # for process 1; the program gets its own limit from it


class Container(Confined):
    """A container without network, capabilities or a writable root, whose limits a cgroup enforces."""

    stop_signal = signal.SIGTERM

    def __init__(self, name: Engine, executable: Path) -> None:
        self.name = name
        self.executable = executable
        self._there: set[str] = set()

    async def _before(self, setup: Setup) -> None:
        content = _image(setup.steps)
        tag = _tag(content)
        if tag in self._there:
            return
        await self._call("info")  # having the client is not having the service
        try:
            await self._call("image", "inspect", tag)
        except SandboxUnavailable:
            await self._call("import", "-", tag, stdin=content)
        self._there.add(tag)

    async def _call(self, *words: str, stdin: bytes = b"") -> None:
        import anyio

        try:
            done = await anyio.run_process([str(self.executable), *words], input=stdin, check=False)
        except OSError as error:
            raise SandboxUnavailable(f"{self.name} could not be started: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="backslashreplace").strip()[-300:]
            raise SandboxUnavailable(f"`{self.name} {words[0]}` failed: {said}", hint="try: vwt-agents sandbox check")

    def _command(self, setup: Setup, spec: int, status: int) -> Sequence[str]:
        name = f"vwt-{os.getpid()}-{secrets.token_hex(6)}"
        door = setup.stage / "door"
        door.mkdir()
        rules = setup.stage / "seccomp.json"
        rules.write_text(json.dumps(profile(platform.machine())))
        settings = {
            "run": [str(self.executable), *self.arguments(setup, name, door, rules)],
            "remove": [
                str(self.executable),
                "rm",
                "--force",
                *(["--time", "0"] if self.name == "podman" else []),
                name,
            ],
            "socket": str(door / "socket"),
            "log": str(setup.stage / "client.log"),
        }
        file = setup.stage / "settings"
        file.write_bytes(marshal.dumps(settings))
        return (python(), "-I", "-S", "-B", str(setup.program / "handover.pyc"), str(spec), str(status), str(file))

    def arguments(self, setup: Setup, name: str, door: Path, rules: Path) -> list[str]:
        """The words after `docker` or `podman` that run the program's process 1."""
        limits = setup.limits
        # Files in tmpfs count against a container's memory, so the program's own share is watched by process 1.
        memory = f"{limits.memory_mib + limits.box_mib + limits.tmp_mib + limits.shm_mib + _OWN_MIB}m"
        return [
            *("run", "--rm", "--name", name, "--pull", "never", "--log-driver", "none", "--hostname", "sandbox"),
            *("--network", "none", "--read-only", "--cap-drop", "ALL"),
            *(word for one in _CAPABILITIES for word in ("--cap-add", one)),
            *("--security-opt", "no-new-privileges", "--security-opt", f"seccomp={rules}"),
            *("--pids-limit", str(limits.processes + _OWN_TASKS), "--memory", memory, "--memory-swap", memory),
            *("--ulimit", f"nofile={_at_most(resource.RLIMIT_NOFILE, _OPEN_FILES)}", "--ulimit", "core=0:0"),
            *("--ulimit", f"nproc={_at_most(resource.RLIMIT_NPROC, 4096)}", "--shm-size", f"{limits.shm_mib}m"),
            *(self._only_podman(limits.wall_s) if self.name == "podman" else ()),
            *(word for step in setup.steps for word in _words(step)),
            *_bind(str(door), DOOR),
            *("--user", "0:0", "--workdir", BOX, _tag(_image(setup.steps))),
            *(python(), "-I", "-S", "-B", INSIDE, f"{DOOR}/socket"),
        ]

    @staticmethod
    def _only_podman(wall_s: float) -> tuple[str, ...]:
        return ("--read-only-tmpfs=false", "--no-hosts", "--timeout", str(int(wall_s) + 60))

    def _extra(self, setup: Setup) -> Mapping[str, object]:  # noqa: ARG002
        return {"cgroup": True}


def _at_most(kind: int, wanted: int) -> str:
    """A limit that may be set: a service without CAP_SYS_RESOURCE fails to raise one above its own."""
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return f"{value}:{value}"


def _words(step: Step) -> Iterable[str]:
    kind, path, arg, mode, _ = step
    if kind == "tmpfs" and path != "/dev/shm":  # noqa: S108 - that one has its own option
        return ("--tmpfs", f"{path}:rw,nosuid,nodev,exec,size={arg},mode={mode:o}")
    return _bind(arg, path) if kind == "bind" else ()


def _bind(source: str, target: str) -> tuple[str, str]:
    fields = ("type=bind", f"source={source}", f"target={target}", "readonly")
    return ("--mount", ",".join(f'"{field}"' if "," in field else field for field in fields))


def _tag(content: bytes) -> str:
    return f"vwt-sandbox:{hashlib.sha256(content).hexdigest()[:16]}"


def _image(steps: Iterable[Step]) -> bytes:
    """The image as a tar file: the folders and links of the layout, so that a runtime has nothing to add at its root."""
    top = {"/proc": 0o555, "/dev": 0o755, "/sys": 0o555, DOOR: 0o755}
    links: dict[str, str] = {}
    for kind, path, arg, mode, _ in steps:
        if kind == "symlink":
            links[path] = arg
        elif kind == "tmpfs":
            top[path] = mode
        elif kind == "dir" and path.count("/") == 1:
            top[path] = 0o755
    return _tar(tuple(sorted(top.items())), tuple(sorted(links.items())))


@functools.cache
def _tar(folders: tuple[tuple[str, int], ...], links: tuple[tuple[str, str], ...]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, mode in folders:
            one = tarfile.TarInfo(path.lstrip("/"))
            one.type, one.mode = tarfile.DIRTYPE, mode
            tar.addfile(one)
        for path, target in links:
            one = tarfile.TarInfo(path.lstrip("/"))
            one.type, one.linkname = tarfile.SYMTYPE, target
            tar.addfile(one)
    return made.getvalue()
