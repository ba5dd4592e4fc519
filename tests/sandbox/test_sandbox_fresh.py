"""The fresh attacks: held by every backend, as root and unprivileged, and ordinary programs still work.

The fast lane runs most of them in one sandbox per backend; the slow lane runs all of them everywhere.
"""

from __future__ import annotations

import json
import os
import sys

import battery
import pytest
from fresh_attacks import ALONE, TOGETHER, WORKS_OUTSIDE

from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.detect import probe
from vwt_agents.sandbox.service import Sandbox


def test_there_are_enough_of_them():
    assert len(TOGETHER) + len(ALONE) >= 40


async def test_attacks_that_share_a_sandbox_are_held(backend_name):
    assert await battery.battery(backend_name, "together") == []


def test_the_attacks_do_work_without_a_sandbox():
    """Otherwise the test above could not fail."""
    assert battery.escaped_without() == list(WORKS_OUTSIDE)


QUICK = [
    "interrupts process 1",
    "makes files without content",
    "hides memory that it has let go of",
    "detaches eight deaf children",
]


@pytest.mark.parametrize("name", QUICK)
async def test_attacks_on_process_1_and_on_limits_are_held(best, name):
    with battery.a_world() as world:
        assert await battery.alone(await Sandbox.open(best), world, name) == []
        assert world.harm() == []


@pytest.mark.slow
async def test_all_of_it_is_held(backend_name):
    assert await battery.battery(backend_name, *battery.KINDS) == []


@pytest.mark.slow
def test_all_of_it_is_held_for_an_unprivileged_user(backend_name, as_nobody):
    assert json.loads(as_nobody(battery.__file__, backend_name, seconds=400)) == []


@pytest.mark.slow
async def test_podman_holds_all_of_it():
    finding = await probe("podman")
    if not finding.works:
        pytest.skip(f"podman: {finding.reason}")
    assert await battery.battery("podman", *battery.KINDS) == []


@pytest.mark.slow
def test_reduced_holds_what_it_says_for_an_unprivileged_user(as_nobody):
    assert json.loads(as_nobody(battery.__file__, "landlock", seconds=400)) == []


async def test_files_buried_deep_do_not_keep_the_others_back(sandbox):
    program = """
import os
os.makedirs("out"); open("out/a.txt", "w").write("kept")
os.symlink("/usr", "linked"); os.mkfifo("out/b.txt")
open("out/\\x1b[2J.txt", "w"); open(b"out/\\xff.txt", "w"); os.mkdir("out/c.txt")
for _ in range(1500):
    os.mkdir("d"); os.chdir("d")
open("x.txt", "w").write("deep")
"""
    result = await sandbox.run({"m.py": program}, "m.py", collect=["*.txt", "linked/*"])
    assert (result.exit_code, dict(result.artifacts)) == (0, {"out/a.txt": b"kept"})
    assert result.notes == ("not collected: 'out/b.txt'",)


async def test_process_1_imports_nothing_a_program_can_plant(sandbox):
    program = """
import os
for line in open("/proc/self/mountinfo"):
    source, place = line.split()[3:5]
    if place == "/.vwt":
        os.makedirs(source, exist_ok=True)
        for name in ("leavings", "ready", "fnmatch", "re", "enum"):
            open(f"{source}/{name}.py", "w").write("import os; os.write(2, b'PLANTED')")
open("a.txt", "w").write("kept")
print("planted")
"""
    result = await sandbox.run({"m.py": program}, "m.py", collect=["a.txt"])
    assert dict(result.artifacts) == {"a.txt": b"kept"}
    assert b"PLANTED" not in result.stderr


async def test_no_run_leaves_a_file_on_this_machine(backend_name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox = await Sandbox.open(backend_name)
    await sandbox.run({"a.py": "import os; os.mkdir('x'); os.chmod('x', 0)"}, "a.py")
    await sandbox.run({"a.py": "while True: pass"}, "a.py", limits=Limits(wall_s=0.5))
    assert [*os.scandir(tmp_path)] == []


async def test_a_run_without_a_sandbox_leaves_neither_files_nor_what_descends_from_it(
    tmp_path, monkeypatch, left_behind
):
    """Its tree is a thousand folders deep, its child has left it, and it has to be stopped."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox = await Sandbox.open("unsafe", allow_unsafe=True)
    program = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execv("/bin/sleep", ["sleep", sys.argv[1]])
    os._exit(0)
os.mkdir("closed"); os.mkdir("closed/x"); os.chmod("closed", 0)
for _ in range(1200): os.mkdir("d"); os.chdir("d")
time.sleep(60)
"""
    marker = f"63.{os.getpid()}"
    result = await sandbox.run({"a.py": program}, [sys.executable, "a.py", marker], limits=Limits(wall_s=1))
    assert (result.stopped, result.level) == ("timeout", "none")
    assert left_behind(marker) == (set(), [])
    assert [*os.scandir(tmp_path)] == []
