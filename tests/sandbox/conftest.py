"""Every promise of the sandbox is tested on each backend that works here, and when root also as an unprivileged user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import anyio
import pytest

from vwt_agents.sandbox.detect import ORDER, probe
from vwt_agents.sandbox.service import Sandbox


def _findings():
    async def all_of_them():
        return {name: await probe(name) for name in ORDER}

    return anyio.run(all_of_them)


_FOUND = _findings()


@pytest.fixture(params=ORDER)
def backend_name(request):
    finding = _FOUND[request.param]
    if not finding.works:
        pytest.skip(f"{finding.name}: {finding.reason}")
    return request.param


@pytest.fixture
async def sandbox(backend_name):
    return await Sandbox.open(backend_name)


@pytest.fixture
def best():
    name = next((name for name, one in _FOUND.items() if one.works), None)
    if name is None:
        pytest.skip("; ".join(f"{one.name}: {one.reason}" for one in _FOUND.values()))
    return name


@pytest.fixture
def as_nobody():
    """Runs Python with arguments as another user; skips where only root could, or where that user cannot reach a Python."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the other tests run unprivileged then")
    python, setpriv = shutil.which("python3", path="/usr/bin"), shutil.which("setpriv")
    if setpriv is None or python is None:
        pytest.skip("needs setpriv and a Python that every user can read")
    packages = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib"), str(Path(__file__).parent)]
    become = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin"]
    become += [f"PYTHONPATH={os.pathsep.join(packages)}", python, "-B"]
    usable = subprocess.run([*become, "-c", "import anyio, pytest, vwt_agents"], capture_output=True, cwd="/")
    if usable.returncode != 0:
        pytest.skip(f"{python} as nobody cannot import the package: {usable.stderr[-200:]!r}")

    def run(*arguments: str, seconds: float = 60) -> str:
        done = subprocess.run([*become, *arguments], capture_output=True, cwd="/", timeout=seconds)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout.decode()

    return run


def _descendants() -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    found: set[int] = set()
    frontier = {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def _marked(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line.split(b"\0"):
                found.append(entry.name)
    return found


@pytest.fixture
def left_behind():
    """What a run left: processes below this one (zombies too), and processes anywhere with a marker in their arguments."""
    before = _descendants()

    def look(marker: str = "\0none") -> tuple[set[int], list[str]]:
        return _descendants() - before, _marked(marker)

    return look
