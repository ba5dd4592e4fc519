"""Backends that are only used when they are named or allowed, and what all of them are built from."""

from __future__ import annotations

import platform
import struct
import sys
from pathlib import Path

import pytest

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox import detect, fence
from vwt_agents.sandbox.base import ENFORCED, Limits, python
from vwt_agents.sandbox.confined import Setup
from vwt_agents.sandbox.container import Container
from vwt_agents.sandbox.landlock import Landlock
from vwt_agents.sandbox.layout import Step
from vwt_agents.sandbox.seccomp import DENIED, UNFENCED, UNSCOPED, build_filter, profile
from vwt_agents.sandbox.service import Sandbox

# ---- this Python


async def test_a_python_called_by_a_path_with_dots_works(backend_name, monkeypatch, tmp_path):
    around = "/".join([str(tmp_path), *[".."] * (len(tmp_path.parts) - 1)])
    monkeypatch.setattr(sys, "executable", around + sys.executable)
    monkeypatch.setattr(sys, "prefix", around + sys.prefix)
    assert ".." not in python()
    sandbox = await Sandbox.open(backend_name)
    assert (await sandbox.run({"a.py": "print(1)"}, "a.py")).stdout == b"1\n"
    assert (await sandbox.test({"m.py": "x = 1"}, {"test_m.py": "import m\ndef test_x(): assert m.x == 1"})).passed


# ---- containers

STEPS = (
    Step("tmpfs", "/tmp", "67108864", 0o1777, 8192),
    Step("dir", "/usr"),
    Step("bind", "/usr", "/usr"),
    Step("symlink", "/bin", "usr/bin"),
    Step("bind", "/src", "/home/a, b"),
    Step("proc", "/proc"),
    Step("dev", "/dev"),
    Step("tmpfs", "/dev/shm", "16777216", 0o1777, 1024),
    Step("seal", "/"),
)


def words(engine, monkeypatch):
    monkeypatch.setattr("vwt_agents.sandbox.container._at_most", lambda kind, wanted: f"{wanted}:{wanted}")
    setup = Setup(stage=Path("/s"), program=Path("/s/program"), steps=STEPS, limits=Limits(), uid=None)
    return Container(engine, Path("/usr/bin/x")).arguments(setup, "vwt-1", Path("/s/door"), Path("/s/seccomp.json"))


def test_a_container_gets_no_network_no_rights_no_writable_folder_of_this_machine(monkeypatch):
    docker = words("docker", monkeypatch)
    image = docker.index("--workdir") + 2
    assert docker[:image] == [
        *("run", "--rm", "--name", "vwt-1", "--pull", "never", "--log-driver", "none", "--hostname", "sandbox"),
        *("--network", "none", "--read-only", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID"),
        *("--cap-add", "SETPCAP", "--cap-add", "CHOWN", "--cap-add", "DAC_READ_SEARCH"),
        *("--security-opt", "no-new-privileges", "--security-opt", "seccomp=/s/seccomp.json"),
        *("--pids-limit", "132", "--memory", "1424m", "--memory-swap", "1424m"),
        *("--ulimit", "nofile=4096:4096", "--ulimit", "core=0:0", "--ulimit", "nproc=4096:4096", "--shm-size", "16m"),
        *("--tmpfs", "/tmp:rw,nosuid,nodev,exec,size=67108864,mode=1777"),
        *("--mount", "type=bind,source=/usr,target=/usr,readonly"),
        *("--mount", 'type=bind,"source=/home/a, b",target=/src,readonly'),
        *("--mount", "type=bind,source=/s/door,target=/.door,readonly"),
        *("--user", "0:0", "--workdir", "/box"),
    ]
    assert docker[image].startswith("vwt-sandbox:")
    assert docker[image + 1 :] == [python(), "-I", "-S", "-B", "/.vwt/inside.pyc", "/.door/socket"]


def test_podman_gets_what_docker_does_not_know(monkeypatch):
    docker, podman = words("docker", monkeypatch), words("podman", monkeypatch)
    assert [word for word in podman if word not in docker] == [
        "--read-only-tmpfs=false",
        "--no-hosts",
        "--timeout",
        "90",
    ]


async def test_a_docker_that_does_not_answer_is_said_with_its_cure(tmp_path, monkeypatch):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///x.' >&2; exit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    finding = await detect.probe("docker")
    assert (finding.works, finding.fix) == (False, "start Docker (systemctl start docker)")
    assert "Cannot connect" in finding.reason
    with pytest.raises(SandboxUnavailable, match="docker"):
        await Sandbox.open("docker")


@pytest.mark.slow
async def test_a_real_container_copies_collects_stops_and_is_gone(tmp_path, left_behind):
    """Skipped where podman is missing, as it is in most places that run these tests."""
    finding = await detect.probe("podman")
    if not finding.works:
        pytest.skip(f"podman: {finding.reason}")
    sandbox = await Sandbox.open("podman")
    (tmp_path / "a.py").write_text("import sys; open('made', 'w').write(sys.stdin.read() + open('data').read())")
    (tmp_path / "data").write_text("42")
    (tmp_path / "data").chmod(0o600)
    result = await sandbox.run(tmp_path, "a.py", stdin=b"in ", collect=["made"])
    assert (result.level, dict(result.artifacts)) == ("full", {"made": b"in 42"})
    assert not (tmp_path / "made").exists()
    assert (await sandbox.test({"m.py": "x = 1"}, {"test_m.py": "import m\ndef test_x(): assert m.x == 1"})).passed
    endless = await sandbox.run({"a.py": "while True: pass"}, "a.py", limits=Limits(wall_s=4))
    greedy = await sandbox.run(
        {"a.py": "x = []\nwhile True: x.append(b'x' * (1 << 20))"}, "a.py", limits=Limits(memory_mib=64)
    )
    assert (endless.stopped, greedy.stopped) == ("timeout", "memory")
    assert left_behind() == (set(), [])
    import anyio

    assert (await anyio.run_process(["podman", "ps", "-aq", "--filter", "name=vwt-"])).stdout == b""


# ---- reduced


async def test_less_than_a_full_sandbox_is_never_chosen_by_itself(monkeypatch):
    async def only_landlock(name):
        return detect.Finding(name, works=name == "landlock", reason=f"{name} is broken", level="reduced")

    monkeypatch.setattr(detect, "probe", only_landlock)
    monkeypatch.setattr(fence, "abi", lambda: 7)
    with pytest.raises(SandboxUnavailable, match="bubblewrap is broken; namespaces"):
        await Sandbox.open()
    with pytest.raises(SandboxUnavailable, match="must be allowed too") as caught:
        await Sandbox.open("landlock")
    assert "allow_reduced" in str(caught.value.hint)
    sandbox = await Sandbox.open(allow_reduced=True)
    assert (sandbox.backend.name, sandbox.backend.level) == ("landlock", "reduced")


async def test_a_full_sandbox_goes_before_what_is_allowed(best):
    assert (await Sandbox.open(allow_reduced=True)).backend.name == best


def test_reduced_names_what_it_does_not_hold():
    assert sorted(ENFORCED - Landlock(7).enforced) == ["disk", "file_names"]


def test_reduced_on_a_kernel_that_scopes_no_signals_refuses_signals():
    assert UNSCOPED in Landlock(4)._denied()
    assert UNSCOPED not in Landlock(6)._denied()


_REDUCED = """
import json, anyio
from vwt_agents.sandbox.detect import probe
from vwt_agents.sandbox.landlock import Landlock
from vwt_agents.sandbox.service import Sandbox
PROGRAM = '''
import ctypes, fcntl, os, signal, socket, subprocess, sys
print(os.getuid(), flush=True)
os.kill(os.getpid(), 0) if sys.argv[1] == "7" else None
caller, own = int(sys.argv[2]), os.open("a.py", os.O_RDONLY)
paths = (lambda: os.listdir("/proc"), lambda: open("/etc/passwd"), lambda: os.listdir("/"))
files = (lambda: os.fchmod(own, 0o600), lambda: os.fchown(own, -1, os.getgid()), lambda: os.setxattr(own, "user.x", b""),
         lambda: fcntl.ioctl(own, 0x40086602, bytes(8)), lambda: fcntl.fcntl(own, fcntl.F_SETLEASE, fcntl.F_RDLCK))
def thread_of_the_caller():
    number = 234 if os.uname().machine == "x86_64" else 131
    if ctypes.CDLL(None).syscall(number, caller, caller, 0): raise OSError
signals = (lambda: os.kill(caller, 0), lambda: fcntl.fcntl(own, fcntl.F_SETOWN, caller), thread_of_the_caller)
for attack in (*paths, *files, *signals, lambda: socket.socketpair(type=socket.SOCK_DGRAM)):
    try: attack(); print("ESCAPED")
    except OSError: pass
one, two = socket.socketpair()
one.setblocking(False); fcntl.lockf(open("b", "w"), fcntl.LOCK_EX); two.send(b"x"); assert one.recv(2) == b"x"
assert subprocess.check_output([sys.executable, "-c", "print(1)"]) == b"1\\\\n"
'''
async def main():
    import os, sys
    found = await probe("landlock")
    assert found.works, found.reason
    for version in (found.level and 7, 4):
        sandbox = Sandbox(Landlock(version))
        result = await sandbox.run({"a.py": PROGRAM}, [sys.executable, "a.py", str(version), str(os.getpid())])
        assert result.ok and b"ESCAPED" not in result.stdout, result
        verdict = await sandbox.test({"m.py": "x = 1"}, {"test_m.py": "import m\\ndef test_x(): assert m.x == 1"})
        assert (verdict.passed, verdict.level) == (True, "reduced"), verdict
    print(json.dumps(sorted(found.missing)))
anyio.run(main)
"""


def test_reduced_holds_and_judges_for_an_unprivileged_user(as_nobody):
    """Neither what it can open to read, nor who reads from a socket file, nor what the user runs is changed by a program."""
    if fence.abi() < 6:
        pytest.skip("this kernel's Landlock scopes no signals")
    assert as_nobody("-c", _REDUCED) == '["disk", "file_names"]\n'


# ---- system calls


def decide(code: bytes, number: int, arguments: tuple[int, ...] = (), audit: int = 0xC000003E) -> int:
    """What the kernel would answer: a BPF machine for the five instructions the filter is made of."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, audit, 0, *padded)
    program = list(struct.iter_unpack("=HBBI", code))
    at = value = 0
    while True:
        operation, if_true, if_false, operand = program[at]
        at += 1
        if operation == 0x20:
            value = struct.unpack_from("=I", data, operand)[0]
        elif operation == 0x06:
            return operand
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[operation]
            at += if_true if holds else if_false


ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def test_the_filter_decides_as_the_table_says():
    code = build_filter("x86_64")
    assert {decide(code, numbers[0]) for numbers in DENIED.values() if numbers[0] is not None} == {REFUSED}
    assert {decide(code, number) for number in (0, 1, 2, 9, 39, 57, 59, 61, 62, 231)} == {ALLOWED}
    assert decide(code, 435) == UNKNOWN  # clone3
    assert decide(code, 0x40000000 | 39) == UNKNOWN  # x32
    assert decide(code, 39, audit=0x40000003) == KILLED  # 32-bit
    assert [decide(code, 41, (family,)) for family in (1, 2, 10, 16, 17, 40, 38)] == [ALLOWED] * 4 + [REFUSED] * 3
    assert [decide(code, 56, (flags,)) for flags in (17, 0x3D0F00, 0x10000011)] == [ALLOWED, ALLOWED, REFUSED]
    assert [decide(code, 16, (0, request)) for request in (0x5401, 0x5412, 0x100005412)] == [ALLOWED, REFUSED, REFUSED]
    assert [decide(code, 302, (pid,)) for pid in (0, 1)] == [ALLOWED, REFUSED]
    assert [decide(code, 141, who) for who in ((0, 0), (0, 1), (1, 0), (2, 0))] == [ALLOWED, REFUSED, REFUSED, REFUSED]
    assert [decide(code, 53, (family, 2)) for family in (1, 2, 40)] == [ALLOWED, REFUSED, REFUSED]
    more = build_filter("x86_64", UNFENCED, UNSCOPED)
    assert [decide(code, number) for number in (90, 62, 91, 234, 72)] == [ALLOWED] * 5
    assert [decide(more, number) for number in (41, 90, 62, 91, 234)] == [REFUSED] * 5
    pairs = [decide(more, 53, pair) for pair in ((1, 1), (1, 0x80001), (1, 0x80805), (1, 2), (1, 0x80003), (40, 1))]
    assert pairs == [ALLOWED] * 3 + [REFUSED] * 3
    assert [decide(more, 16, (0, request)) for request in (0x5401, 0x5421, 0x5412, 0x40086602)] == [
        *(ALLOWED, ALLOWED),
        *(REFUSED, REFUSED),
    ]
    assert [decide(more, 72, (0, command)) for command in (2, 6, 1030, 8, 10, 1024)] == [ALLOWED] * 3 + [REFUSED] * 3
    assert build_filter("riscv64") == b""


def test_a_containers_profile_is_made_from_the_same_table():
    made = profile("x86_64")
    assert (made["defaultAction"], made["architectures"]) == ("SCMP_ACT_ALLOW", ["SCMP_ARCH_X86_64"])
    assert made["syscalls"][0]["names"] == list(DENIED)
    assert "iopl" not in profile("aarch64")["syscalls"][0]["names"]
    assert {rule["action"] for rule in made["syscalls"]} == {"SCMP_ACT_ERRNO"}
    code = build_filter("x86_64")
    tests = {"EQ": int.__eq__, "NE": int.__ne__, "GT": int.__gt__}

    def profile_refuses(name, arguments):
        for rule in made["syscalls"]:
            if name in rule["names"] and rule["args"]:
                one = rule["args"][0]
                value, kind = arguments[one["index"]], one["op"].removeprefix("SCMP_CMP_")
                held = (
                    (value & one["value"]) == one["valueTwo"]
                    if kind == "MASKED_EQ"
                    else tests[kind](value, one["value"])
                )
                if held:
                    return True
        return False

    cases = [
        (name, number, (family, 1)) for name, number in (("socket", 41), ("socketpair", 53)) for family in range(48)
    ]
    cases += [("clone", 56, (1 << bit | 17, 0)) for bit in range(8, 31)]
    cases += [("ioctl", 16, (0, request)) for request in (0x5401, 0x5412, 0x541C, 0x100005412)]
    cases += [("fcntl", 72, (0, command)) for command in (*range(40), 1030, 0x100000025)]
    cases += [("setpriority", 141, (which, who)) for which in range(3) for who in range(2)]
    cases += [("ioprio_set", 251, (which, who)) for which in range(4) for who in range(2)]
    for name, number, arguments in cases:
        assert profile_refuses(name, arguments) == (decide(code, number, arguments) == REFUSED), (name, arguments)


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="the numbers are only known for these")
def test_this_machine_has_a_filter():
    assert build_filter(platform.machine())
