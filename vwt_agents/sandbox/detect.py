"""Which backend works here, found by attacking one from inside. Never guesses from what is installed, never falls to less.

The probe must not read, change or list a file of this machine, not reach a listening port or a process of it, not fork past
its limit, and not open a vsock. Answers are kept per process for (backend, executable and its date, uid).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import SandboxUnavailable, UsageError
from vwt_agents.sandbox.base import ENFORCED, Backend, Level, Limits, python

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.sandbox.container import Engine

__all__ = ["ALL", "ORDER", "Finding", "choose", "find", "probe"]

ORDER: Final = ("bubblewrap", "namespaces")
"""What `auto` tries, best first."""
ALL: Final = (*ORDER, "docker", "podman", "landlock")
"""What can be had: those after `auto`'s only when they are named, or allowed."""
_WHY_NOT: Final = {
    "docker": 'used when named: [sandbox] backend = "docker"',
    "podman": 'used when named: [sandbox] backend = "podman"',
    "landlock": "used when allowed: [sandbox] allow_reduced = true",
}
_ENGINES: Final[Mapping[str, Engine]] = {"docker": "docker", "podman": "podman"}
_FORKS: Final = 12
_PROBE: Final = """
import json, os, socket, sys
canary, port, caller, all_files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "full"
found = []
def holds(name, attack):
    try:
        attack()
    except OSError:
        return
    found.append(name)
def forks():
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            import signal
            signal.pause()
            os._exit(0)
holds("read a file of this machine", lambda: open(canary).close())
holds("changed a file of this machine", lambda: os.chmod(canary, 0o666))
if all_files:
    holds("saw a file of this machine", lambda: os.stat(canary))
if caller not in (1, os.getpid()):
    holds("could signal the process that called it", lambda: os.kill(caller, 0))
holds("wrote outside its folder", lambda: open("/usr/vwt", "w").close())
holds("wrote into the root folder", lambda: open("/vwt", "w").close())
holds("reached a port of this machine", lambda: socket.create_connection(("127.0.0.1", port), 1).close())
holds("opened a vsock", lambda: socket.socket(40, socket.SOCK_STREAM).close())
holds("forked past its limit", forks)
print(json.dumps(found))
"""
_ALLOW_REDUCED: Final = "set [sandbox] allow_reduced = true, or pass --allow-reduced"
_FIXES: Final = (
    (
        "uid map",
        "AppArmor closes user namespaces here; allow bwrap with the profile bwrap-userns-restrict, or use a container",
    ),
    (
        "RTM_NEWADDR",
        "AppArmor closes user namespaces here; allow bwrap with the profile bwrap-userns-restrict, or use a container",
    ),
    (
        "Failed to make / slave",
        "this is a container without the right to mount; start it with --security-opt seccomp=unconfined",
    ),
    (
        "new namespace",
        "user namespaces are closed here (kernel.unprivileged_userns_clone, or a container's seccomp profile)",
    ),
    (
        "Permission denied",
        "as root, use a Python that every user can run: programs run as another user, who cannot reach one below /root",
    ),
    ("connect to the Docker daemon", "start Docker (systemctl start docker)"),
    ("connecting to the Docker daemon", "let this user use Docker (usermod -aG docker USER), or name another backend"),
    ("permission denied while trying", "let this user use Docker (usermod -aG docker USER), or name another backend"),
    ("cgroups", "apt-get install runc: this machine's mixed cgroups are refused by crun"),
    ("forked past its limit", "run as an ordinary user, because the limit on processes does not hold for this root"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a backend works here, and if not, why and what would fix it."""

    name: str
    works: bool
    reason: str
    fix: str | None = None
    executable: str | None = None
    level: Level = "full"
    enforced: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The limits this backend cannot hold a program to, where it works."""
        return tuple(sorted(ENFORCED - set(self.enforced))) if self.works else ()

    @property
    def when(self) -> str | None:
        """What has to be said for it to be used; None for those `auto` tries."""
        return _WHY_NOT.get(self.name)


_seen: dict[tuple[object, ...], Finding] = {}


def find(name: str) -> Backend | Finding:
    """The backend of that name, unproven, or why there is none."""
    if name == "namespaces":
        from vwt_agents.sandbox.namespaces import Namespaces

        return Namespaces()
    if name == "bubblewrap":
        from vwt_agents.sandbox.bubblewrap import Bubblewrap

        path = os.environ.get("VWT_BWRAP") or shutil.which("bwrap")
        if path and Path(path).is_file():
            return Bubblewrap(Path(path))
        return Finding(
            name, works=False, reason="bwrap is not installed", fix="apt-get install bubblewrap (or dnf, pacman, apk)"
        )
    if engine := _ENGINES.get(name):
        return _find_engine(engine)
    if name == "landlock":
        return _find_landlock()
    if name == "unsafe":
        from vwt_agents.sandbox.unsafe import Unsafe

        return Unsafe()
    raise UsageError(f"there is no sandbox backend {name!r}", hint=f"possible: auto, {', '.join(ALL)}")


def _find_engine(name: Engine) -> Backend | Finding:
    from vwt_agents.sandbox.container import Container

    path = shutil.which(name)
    if path is None:
        packages = {"docker": "docker.io", "podman": "podman runc"}
        return Finding(name, works=False, reason=f"{name} is not installed", fix=f"apt-get install {packages[name]}")
    return Container(name, Path(path))


def _find_landlock() -> Backend | Finding:
    from vwt_agents.sandbox.fence import abi
    from vwt_agents.sandbox.landlock import Landlock
    from vwt_agents.sandbox.seccomp import ARCHITECTURES

    if abi() == 0:
        fix = "needs Linux 5.13 or newer with landlock in /sys/kernel/security/lsm"
        return Finding("landlock", works=False, reason="this kernel has no Landlock", fix=fix, level="reduced")
    if os.uname().machine not in ARCHITECTURES:
        return Finding("landlock", works=False, reason="its system call filter is not known here", level="reduced")
    return Landlock()


async def probe(name: str) -> Finding:
    """Attack the backend from inside, once per process."""
    if not sys.platform.startswith("linux"):
        return Finding(name, works=False, reason=f"{name} needs Linux", fix="on Windows use WSL2; on macOS a Linux VM")
    backend = find(name)
    if isinstance(backend, Finding):
        return backend
    executable = str(getattr(backend, "executable", python()))
    key = (name, executable, Path(executable).stat().st_mtime_ns, os.geteuid())  # noqa: ASYNC240
    if key not in _seen:
        _seen[key] = await _attack(backend, executable)
    return _seen[key]


async def _attack(backend: Backend, executable: str) -> Finding:
    from vwt_agents.sandbox.folders import stage_folder

    with stage_folder() as stage, socket.create_server(("127.0.0.1", 0)) as server:
        canary = Path(stage, "canary")
        canary.write_text("secret")  # noqa: ASYNC240
        told = (str(canary), str(server.getsockname()[1]), str(os.getpid()), backend.level)
        argv = (python(), "-I", "-S", "-c", _PROBE, *told)
        try:
            result = await backend.run(argv, limits=Limits(wall_s=30, processes=_FORKS))
        except SandboxUnavailable as error:
            return _broken(backend, error.message, executable)
    if not result.ok:
        said = result.stderr.decode(errors="backslashreplace").strip()[-300:]
        return _broken(
            backend,
            f"the probe ended with {result.stopped or result.exit_code or result.signal}: {said}",
            executable,
        )
    escapes = json.loads(result.stdout)
    if escapes:
        return _broken(backend, f"a probe inside it {', '.join(escapes)}", executable)
    return Finding(
        backend.name,
        works=True,
        reason="every attack of the self-test was held",
        executable=executable,
        level=backend.level,
        enforced=tuple(sorted(result.enforced)),
    )


def _broken(backend: Backend, reason: str, executable: str) -> Finding:
    fix = next((fix for word, fix in _FIXES if word in reason), None)
    return Finding(backend.name, works=False, reason=reason, fix=fix, executable=executable, level=backend.level)


async def choose(name: str = "auto", *, allow_reduced: bool = False, allow_unsafe: bool = False) -> Backend:
    """The backend asked for, or the best that works; SandboxUnavailable with every reason.

    Less than level `full` only when allowed: `landlock` with `allow_reduced`, no sandbox at all with `allow_unsafe`.
    """
    if name == "unsafe":
        if not allow_unsafe:
            raise SandboxUnavailable("running code without a sandbox must be allowed too", hint="set allow_unsafe")
        return _found("unsafe")
    if name == "landlock" and not allow_reduced:
        raise SandboxUnavailable("landlock is less than a full sandbox and must be allowed too", hint=_ALLOW_REDUCED)
    findings: dict[str, Finding] = {}
    order = (*ORDER, "landlock") if allow_reduced else ORDER
    for one in order if name == "auto" else (name,):
        findings[one] = await probe(one)
        if findings[one].works:
            return _found(one)
    if allow_unsafe and name == "auto":
        return _found("unsafe")
    raise SandboxUnavailable(_reasons(findings), hint=_hint(findings))


def _found(name: str) -> Backend:
    backend = find(name)
    assert not isinstance(backend, Finding)
    return backend


def _reasons(findings: Mapping[str, Finding]) -> str:
    return "no sandbox works here: " + "; ".join(f"{name}: {one.reason}" for name, one in findings.items())


def _hint(findings: Mapping[str, Finding]) -> str | None:
    fixes = dict.fromkeys(one.fix for one in findings.values() if one.fix)
    return "; or ".join(fixes) or None
