"""One sandboxed run, seen from outside: starts it, feeds and reads it, stops it, and waits until nothing of it is left.

Knows nothing of bubblewrap or namespaces: a backend hands it the command that builds the sandbox. Never trusts what it reads.
"""

from __future__ import annotations

import ast
import contextlib
import json
import marshal
import os
import platform
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import ENFORCED, Level, Limits, SandboxResult, Stopped
from vwt_agents.sandbox.seccomp import build_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from vwt_agents.sandbox.seccomp import Refused

__all__ = ["Job", "supervise"]

_MIB = 1024 * 1024
_CHUNK = 65536
_STREAMS = ("stdin", "stdout", "stderr")
_STOP_S = 15.0  # a builder that is asked to end, because it alone can: it talks to a container service


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run and how: `command` gets the descriptors (spec, status) and returns the argv that builds the sandbox."""

    backend: str
    level: Level
    command: Callable[[int, int], Sequence[str]]
    argv: Sequence[str]
    env: Mapping[str, str]
    limits: Limits
    box: str
    source: Path | None
    uid: int | None = None
    collect: Sequence[str] = ()
    pass_fds: Sequence[int] = ()
    stdin: bytes = b""
    stop_signal: int = signal.SIGKILL
    inodes: Mapping[str, int] = field(default_factory=dict)
    denied: Sequence[Refused] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    enforced: frozenset[str] = ENFORCED


class _Kept:
    """Head and tail of a stream, and how much there was."""

    def __init__(self, keep: int) -> None:
        self.half = keep // 2
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        if len(self.tail) > 2 * self.half:
            del self.tail[: -self.half]

    @property
    def truncated(self) -> bool:
        return self.total > 2 * self.half

    @property
    def value(self) -> bytes:
        if not self.truncated:
            return bytes(self.head + self.tail)
        left_out = self.total - 2 * self.half
        return bytes(self.head) + f"\n[... {left_out} bytes left out ...]\n".encode() + bytes(self.tail[-self.half :])


@dataclass(slots=True)
class _Watch:
    """What is known of a run while it goes on."""

    process: subprocess.Popen[bytes]
    stop_signal: int
    init: int | None = None
    stopped: Stopped | None = None

    def kill(self) -> None:
        """Kill process 1 first: its builder then reaps it and ends by itself, and nothing is left to anyone else."""
        with contextlib.suppress(ProcessLookupError):
            if self.init is not None:
                signal.pidfd_send_signal(self.init, signal.SIGKILL)
            else:
                self.process.send_signal(self.stop_signal)


async def supervise(job: Job) -> SandboxResult:
    """Run the job to its end. SandboxUnavailable when the sandbox could not be built; nothing is left when cancelled."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        process, ends = _start(job, stack)
        watch = _Watch(process, job.stop_signal)
        out, err = _Kept(job.limits.keep_kib * 1024), _Kept(job.limits.keep_kib * 1024)
        report = bytearray()
        most_report = (job.limits.collect_mib + 4) * _MIB
        try:
            with anyio.move_on_after(job.limits.wall_s) as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(_feed, ends, job.stdin)
                    group.start_soon(_read_status, ends["status"], watch)
                    group.start_soon(_read_output, ends["stdout"], out, job, watch, (out, err))
                    group.start_soon(_read_output, ends["stderr"], err, job, watch, (out, err))
                    group.start_soon(_read_report, ends["report"], report, most_report)
            if scope.cancelled_caught:
                watch.stopped = "timeout"
        finally:
            with anyio.CancelScope(shield=True):
                await _finish(watch, ends["status"])
                if watch.init is not None:
                    os.close(watch.init)
    return _result(job, watch, out, err, bytes(report), time.monotonic() - began)


def _start(job: Job, stack: contextlib.ExitStack) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    for name in ("stdin", "spec", "stdout", "stderr", "report", "status"):
        reading, writing = os.pipe()
        ours[name], theirs[name] = (writing, reading) if name in ("stdin", "spec") else (reading, writing)
        os.set_blocking(ours[name], name == "spec")
        stack.callback(_close, ours, name)
    try:
        if job.source is not None:
            # Handed over open and never mounted: a program could reach the sockets and pipes in it, read-only or not.
            theirs["source"] = os.open(job.source, os.O_RDONLY | os.O_DIRECTORY)
        process = subprocess.Popen(
            list(job.command(theirs["spec"], theirs["status"])),
            stdin=theirs["stdin"],
            stdout=theirs["stdout"],
            stderr=theirs["stderr"],
            pass_fds=(*(fd for name, fd in theirs.items() if name not in _STREAMS), *job.pass_fds),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            cwd="/",
        )
    except OSError as error:
        raise SandboxUnavailable(
            f"{job.backend} could not be started: {error}", hint="try: vwt-agents sandbox check"
        ) from error
    finally:
        report_fd, source_fd = theirs["report"], theirs.get("source")
        for fd in theirs.values():
            os.close(fd)
    with contextlib.suppress(BrokenPipeError):
        data = memoryview(marshal.dumps(_spec(job, report_fd, source_fd)))
        while data:
            data = data[os.write(ours["spec"], data) :]
    _close(ours, "spec")
    return process, ours


def _spec(job: Job, report_fd: int, source_fd: int | None) -> dict[str, Any]:
    machine = platform.machine()
    return {
        "argv": list(job.argv),
        "env": dict(job.env),
        "limits": asdict(job.limits),
        "seccomp": build_filter(machine, *job.denied) if job.level != "none" else b"",
        "report": report_fd,
        "fds": list(job.pass_fds),
        "collect": list(job.collect),
        "box": job.box,
        "source": source_fd,
        "own": [report_fd, *([] if source_fd is None else [source_fd])],  # process 1's, and never the program's
        "uid": job.uid,
        "confined": job.level != "none",
        "namespace": job.level == "full",
        "landlock": None,
        "cgroup": False,
        "inodes": dict(job.inodes),
        **job.extra,
    }


def _close(ends: dict[str, int], name: str) -> None:
    fd = ends.pop(name, None)
    if fd is not None:
        os.close(fd)


async def _feed(ends: dict[str, int], data: bytes) -> None:
    left = memoryview(data)
    with contextlib.suppress(BrokenPipeError):
        while left:
            await anyio.wait_writable(ends["stdin"])
            left = left[os.write(ends["stdin"], left[:_CHUNK]) :]
    _close(ends, "stdin")


async def _chunk(fd: int) -> bytes:
    while True:
        await anyio.wait_readable(fd)
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            continue


async def _read_output(fd: int, kept: _Kept, job: Job, watch: _Watch, both: tuple[_Kept, _Kept]) -> None:
    while data := await _chunk(fd):
        kept.add(data)
        if watch.stopped is None and sum(one.total for one in both) > job.limits.output_mib * _MIB:
            watch.stopped = "output"
            watch.kill()


async def _read_status(fd: int, watch: _Watch) -> None:
    """Learn process 1's pid as this machine knows it; returns at once when it is known or never will be."""
    seen = b""
    while b"\n" not in seen:
        data = await _chunk(fd)
        if not data:
            return
        seen += data
    with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
        watch.init = os.pidfd_open(int(json.loads(seen.split(b"\n")[0])["child-pid"]))


async def _read_report(fd: int, report: bytearray, most: int) -> None:
    while data := await _chunk(fd):
        if len(report) < most:
            report += data


async def _finish(watch: _Watch, status: int) -> None:
    """Kill what still runs and wait for it; the builder gets a moment to reap process 1 before it is killed itself."""
    if watch.process.poll() is not None:
        return
    ended = os.pidfd_open(watch.process.pid)
    try:
        if watch.init is None:
            with anyio.move_on_after(0.5):
                await _read_status(status, watch)
        watch.kill()
        with anyio.move_on_after(2.0 if watch.stop_signal == signal.SIGKILL else _STOP_S):
            await anyio.wait_readable(ended)
        watch.process.kill()
        await anyio.wait_readable(ended)
        watch.process.wait()
        if watch.init is not None:
            with anyio.move_on_after(2.0):
                await anyio.wait_readable(watch.init)
    finally:
        os.close(ended)


# ---- what came of it


def _result(job: Job, watch: _Watch, out: _Kept, err: _Kept, report: bytes, wall: float) -> SandboxResult:
    records, files = _parse(report)
    started = next((one for one in records if "started" in one), None)
    failed = next((one["error"] for one in records if "error" in one), None)
    if failed is not None or (started is None and watch.stopped is None):
        reason = failed or err.value.decode(errors="backslashreplace").strip() or "it ended before the program began"
        raise SandboxUnavailable(
            f"{job.backend} could not build the sandbox: {reason}", hint="try: vwt-agents sandbox check"
        )
    end: dict[str, Any] = next((one["end"] for one in records if "end" in one), {})
    skipped = tuple(f"not collected: {one['skipped']!r}" for one in records if "skipped" in one)
    stopped = watch.stopped or end.get("stopped")
    if not end and stopped is None and job.extra.get("cgroup"):
        stopped = "memory"  # the container ended with its process 1, which only the memory limit can kill
    return SandboxResult(
        backend=job.backend,
        level=job.level,
        enforced=job.enforced - ({"address_space"} if job.limits.address_space_mib is None else set()),
        exit_code=end.get("exit"),
        signal=end.get("signal") if end else int(signal.SIGKILL),
        stopped=stopped,
        wall_s=wall,
        cpu_s=float(end.get("cpu", 0.0)),
        peak_rss_mib=int(end.get("peak", 0)) // _MIB,
        stdout=out.value,
        stderr=err.value,
        stdout_total=out.total,
        stderr_total=err.total,
        truncated=out.truncated or err.truncated,
        artifacts=MappingProxyType(files),
        notes=(*(started or {}).get("notes", ()), *skipped),
    )


def _parse(report: bytes) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    records: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    at = 0
    while (end := report.find(b"\n", at)) >= 0:
        try:
            record = ast.literal_eval(report[at:end].decode())
        except (ValueError, SyntaxError):
            break  # cut off, where process 1 was killed
        at = end + 1
        if "file" in record:
            name = PurePosixPath(record["file"])
            if len(report) - at < record["size"] or name.is_absolute() or ".." in name.parts:
                break
            files[str(name)] = report[at : at + record["size"]]
            at += record["size"]
        else:
            records.append(record)
    return records, files
