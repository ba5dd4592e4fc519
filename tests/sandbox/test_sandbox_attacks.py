"""What a program in the sandbox cannot do, and what it still can."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from attacks import ATTACKS, CONTROLS, PRELUDE

from vwt_agents.sandbox.base import Limits

SMALL = Limits(wall_s=8, processes=24, box_mib=32, file_mib=32)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("VWT_TEST_SECRET", "1")
    canary = tmp_path / "secret"
    canary.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield [str(canary), str(server.getsockname()[1]), str(tmp_path)]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_is_held(sandbox, world, attack):
    result = await sandbox.run(
        {"attack.py": PRELUDE + ATTACKS[attack]}, [sys.executable, "attack.py", *world], limits=SMALL
    )
    assert b"ESCAPED" not in result.stdout
    assert result.exit_code != 99
    assert result.level == "full"


async def test_the_attacks_do_work_without_a_sandbox(world):
    """Otherwise the tests above could not fail."""
    works = ["reads a secret by its path", "connects to a port of the machine", "hides memory in a memfd"]
    for attack in works:
        program = [sys.executable, "-c", PRELUDE + ATTACKS[attack], *world]
        assert subprocess.run(program, capture_output=True, timeout=10).returncode == 99, attack  # noqa: ASYNC221


@pytest.mark.parametrize("control", CONTROLS)
async def test_ordinary_programs_work(sandbox, control):
    result = await sandbox.run({"main.py": CONTROLS[control]}, "main.py")
    assert (result.exit_code, result.stderr) == (0, b"")


_AS_NOBODY = """
import json, socket, sys, anyio
sys.path[:0] = json.loads(sys.argv[1])
from attacks import ATTACKS, CONTROLS, PRELUDE
from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.service import Sandbox
async def main():
    sandbox, bad = await Sandbox.open(sys.argv[2]), []
    async def attack(name):
        argv = [sys.executable, "a.py", sys.argv[3], str(port), sys.argv[4]]
        result = await sandbox.run({"a.py": PRELUDE + ATTACKS[name]}, argv, limits=Limits(wall_s=8, processes=24, box_mib=32))
        if b"ESCAPED" in result.stdout or result.exit_code == 99: bad.append(name)
    async def control(name):
        if not (await sandbox.run({"a.py": CONTROLS[name]}, "a.py")).ok: bad.append(name)
    async def verdicts():
        good, wrong = {"m.py": "x = 1"}, {"m.py": "x = 2"}
        tests = {"test_m.py": "import m\\ndef test_x(): assert m.x == 1"}
        if not (await sandbox.test(good, tests)).passed or (await sandbox.test(wrong, tests)).passed: bad.append("verdict")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with anyio.create_task_group() as group:
            for name in ATTACKS: group.start_soon(attack, name)
            for name in CONTROLS: group.start_soon(control, name)
            group.start_soon(verdicts)
    print(json.dumps(bad))
anyio.run(main)
"""


def test_everything_holds_for_an_unprivileged_user_too(backend_name, as_nobody):
    packages = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib"), str(Path(__file__).parent)]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        canary = Path(folder, "secret")
        canary.write_text("secret")
        canary.chmod(0o644)
        said = as_nobody("-c", _AS_NOBODY, json.dumps(packages), backend_name, str(canary), folder)
    assert json.loads(said) == []
