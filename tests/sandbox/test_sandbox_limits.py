"""Limits stop a program, say which one did, and leave nothing behind."""

from __future__ import annotations

import os
import socket
import sys

import anyio
import pytest

from vwt_agents.errors import SandboxUnavailable, UsageError
from vwt_agents.sandbox import detect
from vwt_agents.sandbox.base import ENFORCED, Limits
from vwt_agents.sandbox.service import Sandbox

_DETACHED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", "MARKER"])
    os._exit(0)
os.wait()
time.sleep(0.2)
print("ready", flush=True)
"""


async def test_the_wall_clock_stops_a_program_and_leaves_no_process(sandbox, left_behind):
    program = _DETACHED.replace("MARKER", f"vwt-wall-{os.getpid()}") + "\nwhile True: pass"
    result = await sandbox.run({"a.py": program}, "a.py", limits=Limits(wall_s=0.8))
    assert (result.stopped, result.exit_code) == ("timeout", None)
    assert left_behind(f"vwt-wall-{os.getpid()}") == (set(), [])


async def test_a_detached_child_ends_with_the_program(sandbox, left_behind):
    result = await sandbox.run({"a.py": _DETACHED.replace("MARKER", f"vwt-orphan-{os.getpid()}")}, "a.py")
    assert (result.exit_code, result.stdout) == (0, b"ready\n")
    assert left_behind(f"vwt-orphan-{os.getpid()}") == (set(), [])


async def test_cancelling_kills_everything_before_it_goes_on(sandbox, left_behind, tmp_path):
    program = _DETACHED.replace("MARKER", f"vwt-cancel-{os.getpid()}") + "\ntime.sleep(60)"
    with anyio.move_on_after(0.8) as scope:
        await sandbox.run({"a.py": program}, "a.py", limits=Limits(wall_s=60))
    assert scope.cancelled_caught
    assert left_behind(f"vwt-cancel-{os.getpid()}") == (set(), [])


async def test_cancelling_at_once_leaves_nothing_either(sandbox, left_behind):
    for delay in (0.0, 0.005, 0.02):
        with anyio.move_on_after(delay):
            await sandbox.run({"a.py": "import time; time.sleep(60)"}, "a.py")
    assert left_behind() == (set(), [])


async def test_memory_of_all_processes_together_is_bounded(sandbox):
    program = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(os.urandom(1)) * (40 << 20)
        time.sleep(20)
time.sleep(20)
"""
    result = await sandbox.run({"a.py": program}, "a.py", limits=Limits(wall_s=10, memory_mib=120))
    assert result.stopped == "memory"
    assert result.peak_rss_mib > 100


async def test_one_process_cannot_allocate_past_its_address_space(sandbox):
    result = await sandbox.run({"a.py": "x = bytearray(3 << 30)"}, "a.py")
    assert result.exit_code == 1
    assert b"MemoryError" in result.stderr


async def test_cpu_seconds_are_bounded(sandbox):
    result = await sandbox.run({"a.py": "while True: pass"}, "a.py", limits=Limits(wall_s=9, cpu_s=1))
    assert result.stopped == "cpu"


async def test_a_flood_of_output_is_cut_and_stopped(sandbox):
    program = "import os\nos.write(1, b'first')\nwhile True: os.write(1, b'x' * 65536)"
    result = await sandbox.run({"a.py": program}, "a.py", limits=Limits(wall_s=9, output_mib=4, keep_kib=8))
    assert result.stopped == "output"
    assert result.truncated
    assert result.stdout.startswith(b"first")
    assert len(result.stdout) < 9000
    assert result.stdout_total > 4 << 20


async def test_a_full_disk_is_named(sandbox):
    program = "f = open('a', 'wb')\nwhile True: f.write(b'x' * 65536)"
    result = await sandbox.run({"a.py": program}, "a.py", limits=Limits(box_mib=4))
    assert result.stopped == "disk"


async def test_exit_codes_and_signals_are_told_apart(sandbox):
    exited = await sandbox.run({"a.py": "raise SystemExit(137)"}, "a.py")
    killed = await sandbox.run({"a.py": "import os; os.kill(os.getpid(), 9)"}, "a.py")
    assert (exited.exit_code, exited.signal) == (137, None)
    assert (killed.exit_code, killed.signal) == (None, 9)


async def test_input_is_passed_on_and_ends(sandbox):
    data = os.urandom(300_000)
    program = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    import hashlib

    result = await sandbox.run({"a.py": program}, "a.py", stdin=data)
    assert result.stdout.decode().strip() == hashlib.sha256(data).hexdigest()


async def test_the_work_folder_is_copied_without_what_is_no_plain_file(sandbox, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data").write_text("42")
    (tmp_path / "data").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.py").write_text(
        "open('sub/data', 'a').write('!'); open('made', 'w'); print(open('sub/data').read())"
    )
    (tmp_path / "a.py").chmod(0o600)
    result = await sandbox.run(tmp_path, "a.py")
    assert (result.stdout, result.exit_code) == (b"42!\n", 0)
    assert "pipe" in result.notes[0]
    assert (tmp_path / "sub" / "data").read_text() == "42"
    assert not (tmp_path / "made").exists()


async def test_nobody_is_reached_through_a_socket_or_a_pipe_in_the_work_folder(sandbox, tmp_path, monkeypatch):
    """Neither is held by a mount that is read-only, nor by a network of its own; such as the socket of a database, or git's."""
    program = """
import os, socket
lines = [line.split() for line in open("/proc/self/mountinfo")]
for place in {".", "/src", *(line[4] for line in lines)}:
    for name in ("socket", "pipe"):
        try: socket.socket(socket.AF_UNIX).connect(f"{place}/{name}"); print("connected", place)
        except OSError: pass
        try: os.write(os.open(f"{place}/{name}", os.O_WRONLY | os.O_NONBLOCK), b"x"); print("written", place)
        except OSError: pass
"""
    monkeypatch.chdir(tmp_path)  # a socket's path must not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        os.mkfifo("pipe")
        pipe = os.open("pipe", os.O_RDWR)
        for name, mode in ((".", 0o755), ("socket", 0o666), ("pipe", 0o666)):
            (tmp_path / name).chmod(mode)
        (tmp_path / "a.py").write_text(program)
        result = await sandbox.run(tmp_path, "a.py")
        os.close(pipe)
    assert (result.exit_code, result.stdout) == (0, b"")
    assert len(result.notes) == 2


async def test_a_work_folder_that_is_not_there_is_said(sandbox, tmp_path):
    with pytest.raises(SandboxUnavailable, match=r"No such file or directory: '.*/none'"):
        await sandbox.run(tmp_path / "none", "a.py")


async def test_only_plain_produced_files_are_collected(sandbox):
    program = """
import os
os.makedirs("out")
open("out/a.txt", "w").write("hello")
os.symlink("/etc/passwd", "out/b.txt")
os.mkfifo("out/c.txt")
open("out/big.txt", "wb").write(b"x" * (2 << 20))
"""
    result = await sandbox.run({"m.py": program}, "m.py", collect=["out/*.txt"], limits=Limits(collect_mib=1))
    assert dict(result.artifacts) == {"out/a.txt": b"hello"}
    assert len(result.notes) == 3


async def test_names_that_leave_the_folder_are_refused(sandbox):
    for name in ("../a.py", "/etc/a.py", "", "a\0b", ".", "a/.."):
        with pytest.raises(UsageError, match="no name for a file"):
            await sandbox.run({name: ""}, "a.py")


async def test_names_that_no_disk_holds_are_refused_with_the_reason(best):
    sandbox = await Sandbox.open(best)
    odd = [f"{'a' * 255}", "a\nb", "\udcff", "\x1b[2J", "é" * 127, "a/" * 400 + "b"]
    assert (await sandbox.run({"a.py": "", **dict.fromkeys(odd, "")}, "a.py")).ok
    for names, why in (
        (["a" * 256], "255 bytes"),
        (["é" * 128], "255 bytes"),
        (["\ud800"], "UTF-8"),
        (["a/" * 1500 + "b"], "2000"),
    ):
        with pytest.raises(UsageError, match="no name for a file") as caught:
            await sandbox.run(dict.fromkeys(names, ""), "a.py")
        assert why in caught.value.hint
    for names in (["a", "a/b"], ["a/b/c", "a/b"]):
        with pytest.raises(UsageError, match="no name for a file") as caught:
            await sandbox.test(dict.fromkeys(names, ""), "def test_x(): pass")
        assert "folder too" in caught.value.hint


@pytest.mark.parametrize("integrity", ["isolated", "same-process"])
async def test_code_with_half_a_surrogate_pair_is_judged_as_it_would_be_delivered(best, integrity):
    sandbox = await Sandbox.open(best)
    tests = "import solution\ndef test_x(): assert solution.x == '?'"
    assert (await sandbox.test("x = '\ud800'", tests, integrity=integrity)).passed


async def test_results_say_which_limits_held(sandbox):
    free = await sandbox.run({"a.py": ""}, "a.py", limits=Limits(address_space_mib=None))
    assert {"memory", "network", "processes", "syscalls"} <= free.enforced
    assert "address_space" not in free.enforced


@pytest.mark.skipif(os.geteuid() != 0, reason="the uid is only dropped as root")
async def test_root_never_runs_the_program_as_root(sandbox):
    one, two = [await sandbox.run({"a.py": "import os; print(os.getuid(), os.getgroups())"}, "a.py") for _ in range(2)]
    assert one.stdout != two.stdout  # a uid per run: one run's processes do not count against another's
    assert not one.stdout.startswith(b"0 ")


async def test_the_runner_itself_killed_takes_the_program_with_it(backend_name, left_behind, tmp_path):
    """Also as root, where the death of a builder without capabilities signals nobody."""
    duration = f"61.{os.getpid()}"
    program = f"""
import anyio, os
from vwt_agents.sandbox.service import Sandbox
from vwt_agents.sandbox.base import Limits
async def main():
    sandbox = await Sandbox.open({backend_name!r})
    async with anyio.create_task_group() as group:
        group.start_soon(sandbox.run, {{"a.py": ""}}, ["sleep", {duration!r}])
        await anyio.sleep(0.4)
        os.kill(os.getpid(), 9)
anyio.run(main)
"""
    await anyio.run_process([sys.executable, "-c", program], check=False, env={**os.environ, "TMPDIR": str(tmp_path)})
    with anyio.fail_after(5):
        while left_behind(duration)[1]:  # noqa: ASYNC110 - nothing of ours is left that could tell
            await anyio.sleep(0.02)


async def test_a_backend_the_user_chose_is_never_replaced(monkeypatch):
    monkeypatch.setenv("VWT_BWRAP", "/bin/false")
    with pytest.raises(SandboxUnavailable, match="bubblewrap"):
        await Sandbox.open("bubblewrap")


async def test_without_any_backend_the_error_gives_reasons_and_fixes_and_nothing_runs(monkeypatch):
    async def broken(name):
        return detect.Finding(name, works=False, reason=f"{name} is broken", fix=f"repair {name}")

    monkeypatch.setattr(detect, "probe", broken)
    with pytest.raises(SandboxUnavailable, match="bubblewrap is broken; namespaces: namespaces is broken") as caught:
        await Sandbox.open()
    assert caught.value.hint == "repair bubblewrap; or repair namespaces"
    allowed = await Sandbox.open(allow_unsafe=True)
    result = await allowed.run({"a.py": "print(1)"}, "a.py")
    assert (result.level, result.backend, result.stdout) == ("none", "unsafe", b"1\n")


async def test_unsafe_must_be_allowed_too():
    with pytest.raises(SandboxUnavailable, match="must be allowed"):
        await Sandbox.open("unsafe")


async def test_without_a_sandbox_the_wall_clock_still_holds(left_behind):
    sandbox = await Sandbox.open("unsafe", allow_unsafe=True)
    result = await sandbox.run({"a.py": ""}, ["sleep", f"62.{os.getpid()}"], limits=Limits(wall_s=0.4))
    assert (result.stopped, result.level) == ("timeout", "none")
    with anyio.fail_after(5):
        while left_behind(f"62.{os.getpid()}")[1]:  # noqa: ASYNC110 - its parent is gone; only the machine can tell
            await anyio.sleep(0.02)


async def test_the_self_test_runs_once_per_process(best):
    assert await detect.probe(best) is await detect.probe(best)


async def test_check_reports_every_backend(best):
    sandbox = await Sandbox.open(best)
    found = await sandbox.check()
    assert [one.name for one in found] == list(detect.ALL)
    for one in found:
        if one.works:
            assert set(one.enforced) | set(one.missing) == ENFORCED
        else:
            assert one.reason
            assert not one.enforced
