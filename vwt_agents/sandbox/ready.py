"""What process 1 does to itself and to its program before that runs: the copy, privileges, limits, the system call filter.

Runs inside, beside `inside`: standard library only.
"""

# No pathlib, no contextlib, no typing: their imports would be most of process 1's start-up. Paths are those of the sandbox.
# ruff: noqa: PTH100, PTH102, PTH115, PTH118, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import os
import resource
import sys

TYPE_CHECKING = False  # as typing's, without importing it
if TYPE_CHECKING:
    from typing import Any

    from vwt_agents.sandbox import accounts
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import accounts

_MIB = 1024 * 1024
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int = 0) -> int:
    """The system call."""
    return int(libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def copy(source: str, target: str, uid: int | None, notes: list[str]) -> None:
    """Copy a folder without what is no plain file, which `notes` names; OSError when it does not fit."""
    for entry in os.scandir(source):
        place = os.path.join(target, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            os.mkdir(place)
            copy(entry.path, place, uid, notes)
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


def give_up_privileges(uid: int | None) -> None:
    """Drop every capability for good, and as root become that user."""
    for capability in range(64):
        if prctl(_PR_CAPBSET_DROP, capability) != 0:
            break
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
    if _effective_capabilities() != 0:
        raise PermissionError(1, "capabilities could not be given up")


def _effective_capabilities() -> int:
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), -1)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install_filter(code: bytes) -> None:
    """Have the kernel refuse system calls as the BPF program says."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(program), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), "the system call filter was refused")


def limit(spec: dict[str, Any]) -> None:
    """Set what the kernel holds each process to."""
    limits = spec["limits"]
    # Where there is no namespace to count in, the kernel counts everything this user runs.
    others = 0 if spec["namespace"] or spec["uid"] is not None else accounts.tasks_of(os.getuid())
    pairs = {
        resource.RLIMIT_NPROC: limits["processes"] + others,
        resource.RLIMIT_FSIZE: limits["file_mib"] * _MIB,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 1,  # not 0: only 1 also keeps a core dump from a program it is piped to on this machine
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
