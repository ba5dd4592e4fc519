"""Runs the fresh attacks against one backend and says what got out: as a function, or as a program for another user.

python battery.py BACKEND [together|alone|controls]... prints a JSON list, empty when everything held.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
from fresh_attacks import ALONE, CONTROLS, PRELUDE, TOGETHER

from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.service import Sandbox

KINDS = ("together", "alone", "controls")
SMALL = Limits(wall_s=60, processes=24, box_mib=32, file_mib=32, tmp_mib=32)
TIGHT = Limits(wall_s=10, processes=24, memory_mib=160, box_mib=32, output_mib=4, keep_kib=8)
HARNESS = """
import json, os, sys, time
import ctypes, errno, fcntl, mmap, signal, socket, stat, struct, subprocess, threading  # once, not in every attack
prelude, programs = json.load(open("programs.json"))
escaped = []
for number, (name, text) in enumerate(programs.items()):
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.mkdir(str(number)); os.chdir(str(number))
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 2); os.close(null)
        try: exec(compile(prelude + text, name, "exec"), {"__name__": "__main__"})
        except BaseException: pass
        os._exit(0)
    status = 0
    for _ in range(400):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done: break
        time.sleep(0.01)
    else:
        os.killpg(pid, 9); os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 99: escaped.append(name)
print(json.dumps([len(programs), escaped]))
"""


class World:
    """A piece of this machine worth getting at, and whether anything did."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.canary = folder / "secret"
        self.canary.write_text("secret")
        self.canary.chmod(0o644)
        shm = Path("/dev/shm", f"vwt-test-{os.getpid()}")
        shm.write_text("secret")
        stack.callback(shm.unlink)
        self.doors = {
            "port6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0vwt-test-{os.getpid()}"),
            "socket": (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
            "datagrams": (socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "datagrams")),
        }
        self.open: dict[str, socket.socket] = {}
        for name, (family, kind, address) in self.doors.items():
            one = stack.enter_context(socket.socket(family, kind))
            one.bind(address)
            one.setblocking(False)
            if kind == socket.SOCK_STREAM:
                one.listen()
            self.open[name] = one
        self.marker = f"vwt-mark-{os.getpid()}"
        self.argument = json.dumps(
            {
                "canary": str(self.canary),
                "outside": str(folder),
                "caller": os.getpid(),
                "host": socket.gethostname(),
                "shm": shm.name,
                "port6": self.open["port6"].getsockname()[1],
                "udp": self.open["udp"].getsockname()[1],
                "abstract": f"vwt-test-{os.getpid()}",
                "socket": str(folder / "socket"),
                "datagrams": str(folder / "datagrams"),
                "marker": self.marker,
            }
        )
        self.before = self._looks()

    def _looks(self) -> tuple[object, ...]:
        about = self.canary.stat()
        names = sorted(one.name for one in self.folder.iterdir())
        return (about.st_mode, about.st_mtime_ns, about.st_nlink, self.canary.read_text(), names)

    def harm(self) -> list[str]:
        """What a program changed, reached or left, seen from outside."""
        found = [] if self._looks() == self.before else ["a file outside is not as it was"]
        for name, one in self.open.items():
            with contextlib.suppress(BlockingIOError):
                _ = one.recv(1) if one.type == socket.SOCK_DGRAM else one.accept()
                found.append(f"something came in at {name}")
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self.marker.encode() in (entry / "cmdline").read_bytes():
                    found.append("a process was left")
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        zombies = [pid for pid in children if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()]
        return found + [f"{len(zombies)} zombies were left"] * bool(zombies)


@contextlib.contextmanager
def a_world():
    """A world of its own, in a folder that every user of the machine may write to."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        yield World(folder, stack)


NOT_HELD = {
    "landlock": {
        "sees that a file is there",
        "finds the name of the machine",
        "makes files without content",
        "makes folders in the shared memory",
    }
}
"""What a backend says itself that it does not enforce."""
NOT_WORKING = {
    "landlock": {
        "locks, queues and values of multiprocessing",
        "shared memory by name",
        "a thread pool, a process pool",
        "files, modes, times and links",
        "a web server of its own",
        "socket files and pairs",
    }
}


async def together(sandbox: Sandbox, world: World) -> list[str]:
    files = {"harness.py": HARNESS, "programs.json": json.dumps([PRELUDE, TOGETHER])}
    result = await sandbox.run(files, [sys.executable, "-B", "harness.py", world.argument], limits=SMALL)
    if not result.ok:
        return [f"the attacks did not all run: {result}"]
    ran, escaped = json.loads(result.stdout)
    escaped = [name for name in escaped if name not in NOT_HELD.get(result.backend, ())]
    return escaped if ran == len(TOGETHER) else [f"only {ran} attacks ran"]


async def alone(sandbox: Sandbox, world: World, name: str) -> list[str]:
    program, ends = ALONE[name]
    limits = Limits(**{**TIGHT_FIELDS, "wall_s": 2.0}) if "timeout" in ends else TIGHT
    data = b"x" * (1 << 20) if "input" in name else b""
    argv = [sys.executable, "-B", "a.py", world.argument]
    result = await sandbox.run({"a.py": PRELUDE + program}, argv, limits=limits, stdin=data)
    ended = result.stopped or result.exit_code
    right = ended in ends and result.exit_code != 99 and ("here" not in program or b"still here" in result.stdout)
    return [] if right else [f"{name}: ended with {ended}, {result.stderr[-300:]!r}"]


TIGHT_FIELDS = {name: getattr(TIGHT, name) for name in TIGHT.__slots__}


async def controls(sandbox: Sandbox) -> list[str]:
    bad = []
    for name, program in CONTROLS.items():
        result = await sandbox.run({"a.py": program}, "a.py")
        if not result.ok and name not in NOT_WORKING.get(result.backend, ()):
            bad.append(f"{name}: {result.stopped or result.exit_code} {result.stderr[-300:]!r}")
    return bad


async def battery(backend: str, *kinds: str) -> list[str]:
    """Everything that got out, or that did not work although it must; empty when all is well."""
    sandbox = await Sandbox.open(backend, allow_reduced=backend == "landlock")
    with a_world() as world:
        bad: list[str] = []
        if "together" in kinds:
            bad += await together(sandbox, world)
        if "alone" in kinds:
            for name in ALONE.keys() - NOT_HELD.get(backend, set()):
                bad += await alone(sandbox, world, name)
        if "controls" in kinds:
            bad += await controls(sandbox)
        return bad + world.harm()


def escaped_without() -> list[str]:
    """Those of the attacks that are harmless enough to run without a sandbox and got out."""
    from fresh_attacks import WORKS_OUTSIDE

    with a_world() as world, tempfile.TemporaryDirectory() as folder:
        chosen = {name: TOGETHER[name] for name in WORKS_OUTSIDE}
        Path(folder, "programs.json").write_text(json.dumps([PRELUDE, chosen]))
        argv = [sys.executable, "-B", "-c", HARNESS, world.argument]
        done = subprocess.run(argv, capture_output=True, cwd=folder, timeout=60, check=True)
    return json.loads(done.stdout)[1]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(anyio.run(battery, sys.argv[1], *(sys.argv[2:] or KINDS))))
