"""Process 1 of a sandbox: copies the work folder, gives up every privilege, runs the program, and reports how it ended.

Runs inside, under `python -I -S`, so it imports the standard library only and never the package. Being process 1 is its
protection: the program cannot kill, stop, trace or renice it, and when it ends the kernel kills everything else.
Told what to do by one JSON object on a private descriptor; answers with JSON lines on another.
"""

# No pathlib: its import would be most of this program's start-up. Paths are those of the sandbox.
# ruff: noqa: PTH102, PTH115, PTH118, PTH123, PTH208, PTH211, S108

from __future__ import annotations

import base64
import contextlib
import ctypes
import fnmatch
import json
import os
import resource
import select
import signal
import stat
import sys
import time
from typing import Any, NoReturn

_MIB = 1024 * 1024
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_TICK = 0.1
_libc = ctypes.CDLL(None, use_errno=True)


def main(spec: dict[str, Any]) -> NoReturn:
    """Carry out the spec; always ends the process."""
    report = spec["report"]
    try:
        notes = _prepare(spec)
        _tell(report, {"started": True, "notes": notes})
        end = _run(spec)
    except OSError as error:
        _tell(report, {"error": f"{error.strerror or error}: {error.filename or 'while setting up the sandbox'}"})
        os._exit(70)
    _tell(report, {"end": end})
    _send_files(report, spec)
    _tell(report, {"done": True})
    os._exit(0)


def _tell(report: int, record: dict[str, Any], content: bytes = b"") -> None:
    data = memoryview(json.dumps(record).encode() + b"\n" + content)
    while data:
        data = data[os.write(report, data) :]


def _prctl(option: int, value: int = 0) -> int:
    return int(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


# ---- setting up


def _prepare(spec: dict[str, Any]) -> list[str]:
    os.set_inheritable(spec["report"], False)  # noqa: FBT003
    os.umask(0o022)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when memory runs out, the sandbox goes first
    notes: list[str] = []
    if spec["source"]:
        _copy(spec["source"], spec["box"], spec["uid"], notes)
    os.chdir(spec["box"])
    if spec["init"]:
        _give_up_privileges(spec["uid"])
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # again: changing the uid clears it
    _prctl(_PR_SET_DUMPABLE, 0)  # so that /proc/1/fd, with the report in it, is closed to the program
    if spec["seccomp"]:
        _install_filter(base64.b64decode(spec["seccomp"]))
    return notes


def _copy(source: str, target: str, uid: int | None, notes: list[str]) -> None:
    for entry in os.scandir(source):
        place = os.path.join(target, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            os.mkdir(place)
            _copy(entry.path, place, uid, notes)
        elif entry.is_file():
            _copy_file(entry.path, place, entry.stat().st_mode)
        else:
            notes.append(f"left out of the copy, because it is no plain file: {entry.name!r}")
            continue
        if uid is not None:
            os.chown(place, uid, uid, follow_symlinks=False)


def _copy_file(source: str, place: str, mode: int) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    writing = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while chunk := os.read(reading, _MIB):
            view = memoryview(chunk)
            while view:
                view = view[os.write(writing, view) :]
        os.fchmod(writing, (mode & 0o777) | 0o600)
    except OSError as error:
        error.filename = f"the work folder does not fit into the sandbox's copy ({source})"
        raise
    finally:
        os.close(reading)
        os.close(writing)


def _give_up_privileges(uid: int | None) -> None:
    for capability in range(64):
        if _prctl(_PR_CAPBSET_DROP, capability) != 0:
            break
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())
    if _effective_capabilities() != 0:
        raise PermissionError(1, "capabilities could not be given up")


def _effective_capabilities() -> int:
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), -1)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _install_filter(code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if (
        _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(program), ctypes.c_ulong(0), ctypes.c_ulong(0))
        != 0
    ):
        raise OSError(ctypes.get_errno(), "the system call filter was refused")


# ---- running


def _run(spec: dict[str, Any]) -> dict[str, Any]:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    main_pid = os.fork()
    if main_pid == 0:
        _exec(spec)
    status, usage, peak, stopped = _watch(main_pid, spec)
    end: dict[str, Any] = {"exit": None, "signal": None, "stopped": stopped, "peak": max(peak, usage.ru_maxrss * 1024)}
    end["cpu"] = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        end["signal"] = os.WTERMSIG(status)
        if stopped is None and (end["signal"] == signal.SIGXCPU or end["cpu"] >= spec["limits"]["cpu_s"]):
            end["stopped"] = "cpu"
    else:
        end["exit"] = os.WEXITSTATUS(status)
        if stopped is None and end["exit"] != 0 and _full(spec["box"]):
            end["stopped"] = "disk"
    _end_everything(main_pid, own_namespace=spec["init"])
    return end


def _exec(spec: dict[str, Any]) -> NoReturn:
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # without a namespace, this is all that ends it with its parent
        os.nice(5)
        _limit(spec["limits"])
        keep = {0, 1, 2, *spec["fds"]}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        for fd in spec["fds"]:
            os.set_inheritable(fd, True)  # noqa: FBT003
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606
    except OSError as error:
        os.write(2, f"{spec['argv'][0]}: {error.strerror}\n".encode(errors="replace"))
        os._exit(126 if isinstance(error, PermissionError) else 127)


def _limit(limits: dict[str, Any]) -> None:
    pairs = {
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_FSIZE: limits["file_mib"] * _MIB,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 65536,
    }
    if limits["address_space_mib"] is not None:
        pairs[resource.RLIMIT_AS] = limits["address_space_mib"] * _MIB
    for kind, value in pairs.items():
        _set_limit(kind, value, value)
    _set_limit(resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 2)


def _set_limit(kind: int, soft: int, hard: int) -> None:
    had = resource.getrlimit(kind)[1]
    if had != resource.RLIM_INFINITY:
        soft, hard = min(soft, had), min(hard, had)
    resource.setrlimit(kind, (soft, hard))


def _watch(main_pid: int, spec: dict[str, Any]) -> tuple[int, resource.struct_rusage, int, str | None]:
    peak, checked = 0, 0.0
    allowed = spec["limits"]["memory_mib"] * _MIB
    stopped = None
    listener = select.poll()
    listener.register(spec["report"], 0)
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, _TICK)
        if listener.poll(0):
            # Nobody reads the report: the runner is gone. The parent's death signal alone would not do, because a
            # builder that gave up its capabilities may no longer signal a process of another uid.
            _end_everything(main_pid, own_namespace=spec["init"])
            os._exit(1)
        if stopped is None and time.monotonic() - checked >= _TICK * 0.9:
            checked = time.monotonic()
            used = _memory(confirm_above=allowed) if spec["init"] else 0
            peak = max(peak, used)
            if used > allowed:
                stopped = "memory"
                os.kill(-1, signal.SIGKILL)  # process 1 of its namespace: that is the sandbox and nothing else
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == main_pid:
                return status, usage, peak, stopped
            if pid == 0:
                break


def _memory(*, confirm_above: int) -> int:
    """Bytes held by every process but this one. Shared pages count once per process until the sum is too high to trust."""
    pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    total = sum(_field(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:")) for pid in pids)
    if total > confirm_above:
        total = sum(
            _field(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))
            or _field(f"/proc/{pid}/status", ("RssAnon:",))
            for pid in pids
        )
    return total


def _field(path: str, names: tuple[str, ...]) -> int:
    try:
        with open(path) as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(names))
    except (OSError, ValueError):
        return 0


def _full(folder: str) -> bool:
    try:
        return any(
            left.f_bavail == 0 or (left.f_files and left.f_favail == 0) for left in map(os.statvfs, (folder, "/tmp"))
        )
    except OSError:
        return False


def _end_everything(main_pid: int, *, own_namespace: bool) -> None:
    with contextlib.suppress(OSError):
        if own_namespace and os.getpid() == 1:
            os.kill(-1, signal.SIGKILL)
        else:
            os.killpg(main_pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while own_namespace:
            os.wait4(-1, 0)


# ---- what it leaves


def _send_files(report: int, spec: dict[str, Any]) -> None:
    left = spec["limits"]["collect_mib"] * _MIB
    count = 0
    for name in _matching(spec["box"], spec["collect"]):
        content = _read_plain(name, left)
        if content is None:
            _tell(report, {"skipped": name})
            continue
        if count == spec["limits"]["collect_files"]:
            _tell(report, {"skipped": name})
            return
        count += 1
        left -= len(content)
        _tell(report, {"file": name, "size": len(content)}, content)


def _matching(box: str, patterns: list[str]) -> list[str]:
    if not patterns:
        return []
    found = []
    for folder, _, files in os.walk(box):
        for file in files:
            name = os.path.relpath(os.path.join(folder, file), box)
            if name.isprintable() and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                found.append(name)
    return sorted(found)


def _read_plain(name: str, most: int) -> bytes | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        return file.read() if stat.S_ISREG(about.st_mode) and about.st_size <= most else None


def _read_spec(fd: int) -> dict[str, Any]:
    with os.fdopen(fd, "rb") as file:
        return dict(json.loads(file.read()))


if __name__ == "__main__":
    main(_read_spec(int(sys.argv[1])))
