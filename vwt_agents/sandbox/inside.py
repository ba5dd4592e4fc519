"""Process 1 of a sandbox: copies the work folder, gives up every privilege, runs the program, and reports how it ended.

Runs inside, under `python -I -S`, so it imports the standard library only and never the package. Being process 1 is its
protection: the program cannot kill, stop, trace or renice it, and when it ends the kernel kills everything else. Without a
pid namespace (levels `reduced` and `none`) it is the reaper of all that descends from it, and ends that by hand.
Told what to do by one marshalled dict on a private descriptor; answers with a Python literal a line on another.
"""

# No pathlib, json, signal, contextlib, typing: their imports would be most of this program's start-up. Paths are the sandbox's.
# ruff: noqa: PTH100, PTH120, PTH123, PTH208, S302, SIM105

from __future__ import annotations

import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False  # as typing's, without importing it
if TYPE_CHECKING:
    import resource
    from typing import Any, NoReturn

    from vwt_agents.sandbox import accounts, ready
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import accounts
    import ready

_MIB = 1024 * 1024
_SIGINT, _SIGKILL, _SIGPIPE, _SIGTERM, _SIGSTOP, _SIGXCPU, _SIGXFSZ = 2, 9, 13, 15, 19, 24, 25
_TICK_MS = 100
_LOCKS_EVERY = 10  # ticks: short programs are never asked for their locks
_MOST_REAPED = 1000  # zombies in one go: a program that makes them as fast must not keep process 1 from its watch


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
    if spec["collect"]:
        _send_files(report, spec)
    _tell(report, {"done": True})
    os._exit(0)


def _tell(report: int, record: dict[str, Any], content: bytes = b"") -> None:
    data = memoryview(repr(record).encode() + b"\n" + content)
    while data:
        data = data[os.write(report, data) :]


# ---- setting up


def _prepare(spec: dict[str, Any]) -> list[str]:
    os.set_inheritable(spec["report"], False)  # noqa: FBT003
    os.umask(0o022)
    ready.libc.signal(_SIGINT, 1)  # ignored: Python's handler would make it a way to end process 1 from inside
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # when memory runs out, the sandbox goes first
    except OSError:
        pass
    if not spec["namespace"]:
        _become_reaper(spec)
    notes: list[str] = []
    if spec["source"] is not None:
        os.fchdir(spec["source"])
        os.close(spec["source"])
        ready.copy(".", spec["box"], spec["uid"], notes)
    os.chdir(spec["box"])
    if spec["confined"]:
        ready.give_up_privileges(spec["uid"])
    ready.prctl(ready.PR_SET_NO_NEW_PRIVS, 1)
    ready.prctl(ready.PR_SET_PDEATHSIG, _SIGKILL)  # again: changing the uid clears it
    ready.prctl(ready.PR_SET_DUMPABLE, 0)  # so that /proc/1/fd, with the report in it, is closed to the program
    if spec["seccomp"] and spec["namespace"]:
        ready.install_filter(spec["seccomp"])
    return notes


def _become_reaper(spec: dict[str, Any]) -> None:
    """Get what descends from this process when its parents end, and end all of it when asked to end."""
    import signal

    ready.prctl(ready.PR_SET_CHILD_SUBREAPER, 1)

    def end(*_: object) -> NoReturn:
        _end_everything(spec)
        os._exit(1)

    signal.signal(signal.SIGTERM, end)


# ---- running


def _run(spec: dict[str, Any]) -> dict[str, Any]:
    main_pid = os.fork()
    if main_pid == 0:
        _exec(spec)
    status, usage, peak, stopped = _watch(main_pid, spec)
    end: dict[str, Any] = {"exit": None, "signal": None, "stopped": stopped, "peak": max(peak, usage.ru_maxrss * 1024)}
    end["cpu"] = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        end["signal"] = os.WTERMSIG(status)
        if stopped is None and (end["signal"] == _SIGXCPU or end["cpu"] >= spec["limits"]["cpu_s"]):
            end["stopped"] = "cpu"
        elif stopped is None and end["signal"] == _SIGKILL and spec["cgroup"] and _killed_for_memory():
            end["stopped"] = "memory"
    else:
        end["exit"] = os.WEXITSTATUS(status)
        if stopped is None and end["exit"] != 0 and any(map(accounts.is_full, spec["inodes"])):
            end["stopped"] = "disk"
    _end_everything(spec)
    return end


def _exec(spec: dict[str, Any]) -> NoReturn:
    try:
        for number in (_SIGINT, _SIGPIPE, _SIGTERM, _SIGXFSZ):
            ready.libc.signal(number, 0)
        os.setsid()
        ready.prctl(ready.PR_SET_PDEATHSIG, _SIGKILL)  # without a namespace, this is all that ends it with its parent
        os.nice(5)
        ready.limit(spec)
        keep = {0, 1, 2, *spec["fds"]}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:
                    pass
        for fd in spec["fds"]:
            os.set_inheritable(fd, True)  # noqa: FBT003
        if spec["landlock"]:
            from fence import restrict  # type: ignore[import-not-found]

            restrict(**spec["landlock"])
        if spec["seccomp"] and not spec["namespace"]:
            ready.install_filter(spec["seccomp"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606
    except OSError as error:
        os.write(2, f"{spec['argv'][0]}: {error.strerror}\n".encode(errors="replace"))
        os._exit(126 if isinstance(error, PermissionError) else 127)


def _watch(main_pid: int, spec: dict[str, Any]) -> tuple[int, resource.struct_rusage, int, str | None]:
    peak, checked, turn = 0, 0.0, 0
    stopped = None
    ended = os.pidfd_open(main_pid)
    listener = select.poll()
    listener.register(ended, select.POLLIN)
    listener.register(spec["report"], 0)
    while True:
        if any(fd == spec["report"] for fd, _ in listener.poll(_TICK_MS)):
            # Nobody reads the report: the runner is gone. The parent's death signal alone would not do, because a
            # builder that gave up its capabilities may no longer signal a process of another uid.
            _end_everything(spec)
            os._exit(1)
        if stopped is None and time.monotonic() - checked >= _TICK_MS * 0.0009:
            checked, turn = time.monotonic(), turn + 1
            used, stopped = _over_a_limit(spec, locks=turn % _LOCKS_EVERY == 0)
            peak = max(peak, used)
            if stopped is not None:
                _kill_everything(spec)
        for _ in range(_MOST_REAPED):
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == main_pid:
                return status, usage, peak, stopped
            if pid == 0:
                break


def _over_a_limit(spec: dict[str, Any], *, locks: bool) -> tuple[int, str | None]:
    """Bytes resident in all processes, and the limit that no kernel watches and that is passed, if one is."""
    allowed = spec["limits"]["memory_mib"] * _MIB
    everybody = _everybody(spec)
    used, charged = accounts.memory(everybody, allowed, own_network=spec["namespace"])
    if charged > allowed or (locks and accounts.too_many_locks(everybody)):
        return used, "memory"
    if any(accounts.files(folder) > most for folder, most in spec["inodes"].items()):
        return used, "disk"
    return used, None


def _everybody(spec: dict[str, Any]) -> list[str]:
    return accounts.everybody() if spec["namespace"] else accounts.descendants()


def _killed_for_memory() -> bool:
    """Whether the memory limit of a container killed a process of it."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as file:
                return any(line.startswith("oom_kill ") and int(line.split()[1]) > 0 for line in file)
        except OSError:
            continue
    return False


def _kill_everything(spec: dict[str, Any]) -> None:
    if spec["namespace"]:
        _send(-1, _SIGKILL)  # process 1 of its namespace: that is the sandbox and nothing else
        return
    stopped: set[str] = set()
    while new := set(accounts.descendants()) - stopped:  # stopped first: what is stopped cannot fork
        for pid in new:
            _send(int(pid), _SIGSTOP)
        stopped |= new
    for pid in stopped:
        _send(int(pid), _SIGKILL)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _end_everything(spec: dict[str, Any]) -> None:
    _kill_everything(spec)
    try:
        while True:
            os.wait4(-1, 0)
    except ChildProcessError:
        pass


def _send_files(report: int, spec: dict[str, Any]) -> None:
    from leavings import leavings  # type: ignore[import-not-found]

    limits = spec["limits"]
    for name, content in leavings(spec["box"], spec["collect"], limits["collect_files"], limits["collect_mib"]):
        if content is None:
            _tell(report, {"skipped": name})
        else:
            _tell(report, {"file": name, "size": len(content)}, content)


# ---- what it is told


def read_spec(fd: int) -> dict[str, Any]:
    """What to do, as `supervise` wrote it."""
    with os.fdopen(fd, "rb") as file:
        return dict(marshal.loads(file.read()))


def _receive(door: str) -> dict[str, Any]:
    """What to do, and the descriptors that belong to it, from a socket: a container service passes no descriptors on."""
    import fcntl
    import socket

    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(door)
        _, given, _, _ = socket.recv_fds(caller, 1, 64)
        with caller.makefile("rb") as file:
            spec: dict[str, Any] = marshal.loads(file.read())
    targets = [0, 1, 2, *spec["own"], *spec["fds"]]
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(targets) + 1) for fd in given]
    for fd, target in zip(aside, targets, strict=True):
        os.dup2(fd, target)
    return spec


if __name__ == "__main__":
    main(read_spec(int(sys.argv[1])) if sys.argv[1].isdigit() else _receive(sys.argv[1]))
