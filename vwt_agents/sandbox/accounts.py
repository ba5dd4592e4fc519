"""What the processes of a sandbox use right now, counted from /proc. Reads; decides and stops nothing.

Runs inside, beside `inside`: standard library only. Counts what a program could hide from its own RSS too: memory that is
shared but mapped into no page table, processes that close their /proc files, buffers of sockets, page tables, and what the
kernel keeps for each mapping and for locks on files.
"""

# No pathlib, no contextlib, no typing: their imports would be most of process 1's start-up.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os

_KIB = 1024
_SOCKET = 425984  # bytes one socket may hold back with the kernel's default net.core.wmem_max, times two as it counts
_MAPPING = 256  # bytes the kernel keeps for one, rounded up: 220 were measured
_MOST_LOCKS = 1000  # of all processes on files: the kernel keeps 200 bytes for each and has no limit of its own
_LOCKS_READ = 65536  # letters of its list, which takes the longer to read the more there are
_TCP = ("/proc/net/tcp", "/proc/net/tcp6")


def everybody() -> list[str]:
    """Every process of this pid namespace but process 1."""
    return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def descendants() -> list[str]:
    """Every process that descends from this one, where there is no pid namespace to tell them from others."""
    children: dict[str, list[str]] = {}
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            children.setdefault(_parent(pid), []).append(pid)
    found, frontier = [], [str(os.getpid())]
    while frontier:
        frontier = [child for pid in frontier for child in children.pop(pid, ())]
        found += frontier
    return found


def _parent(pid: str) -> str:
    words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return words[1] if len(words) > 1 else ""


def memory(pids: list[str], allowed: int, *, own_network: bool) -> tuple[int, int]:
    """(resident, charged) bytes of the processes. `charged` is only worked out when they could be above `allowed` at all.

    Shared anonymous memory is charged as large as it is mapped, because the kernel does not say how much of it is filled;
    a process that hides its maps (it is not dumpable) is charged all of its address space.
    """
    resident = most = 0
    sizes: dict[str, tuple[int, int]] = {}
    for pid in pids:
        fields = _fields(f"/proc/{pid}/status", ("VmSize:", "VmPTE:", "RssAnon:", "RssShmem:"))
        resident += fields.get("RssAnon:", 0) + fields.get("RssShmem:", 0)
        if "VmSize:" in fields:
            sizes[pid] = fields["VmSize:"], fields.get("VmPTE:", 0)
            most += sum(sizes[pid])
    buffers = socket_buffers() if own_network else _pairs(pids)
    if most + buffers <= allowed:
        return resident, 0
    return resident, buffers + _charged(sizes)


def _charged(sizes: dict[str, tuple[int, int]]) -> int:
    private = 0
    shared: dict[str, int] = {}
    for pid, (size, tables) in sizes.items():
        used = _private(pid)
        if used is None and "VmSize:" in _fields(f"/proc/{pid}/status", ("VmSize:",)):
            used = _private(pid)  # again: it may just have become another program, or ended
            used = size if used is None else used
        if used is not None:
            private += used + tables + _MAPPING * _add_shared(pid, shared)
    return private + sum(shared.values())


def _private(pid: str) -> int | None:
    """Bytes of its own, a page shared after a fork counted in parts; None when it does not let itself be seen, or is gone."""
    return _fields(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:",)).get("Pss_Anon:")


def _add_shared(pid: str, shared: dict[str, int]) -> int:
    """Enter the shared anonymous memory that a process has mapped; returns how many mappings it has of all kinds."""
    sizes: dict[str, int] = {}
    lines = _read(f"/proc/{pid}/maps").splitlines()
    for line in lines:
        if "/dev/zero (deleted)" in line:
            first, _, rest = line.partition(" ")
            begin, _, end = first.partition("-")
            inode = rest.split()[3]
            sizes[inode] = sizes.get(inode, 0) + int(end, 16) - int(begin, 16)
    for inode, size in sizes.items():
        shared[inode] = max(shared.get(inode, 0), size)
    return len(lines)


def socket_buffers() -> int:
    """Bytes that the sockets of this network namespace may hold in the kernel: an upper bound, exact for TCP's queues."""
    first = _read("/proc/net/sockstat").split("\n", 1)[0]
    used = int(first.split()[2]) if first.startswith("sockets: used") else 0
    queued = 0
    if used > 8:
        for path in _TCP:
            for line in _read(path).splitlines()[1:]:
                sent, _, received = line.split()[4].partition(":")
                queued += int(sent, 16) + int(received, 16)
    return used * _SOCKET + queued


def too_many_locks(pids: list[str]) -> bool:
    """Whether the processes hold more locks on files than anybody needs. Not to be asked often: while its list is read, the
    kernel lets nobody on the machine lock a file, and to begin with it takes 10 ms."""
    owners = set(pids)
    lines = (line.replace("-> ", "").split() for line in _read("/proc/locks", _LOCKS_READ).splitlines())
    return sum(len(words) > 4 and words[4] in owners for words in lines) > _MOST_LOCKS


def _pairs(pids: list[str]) -> int:
    """The same bound where sockets are only told apart by who holds them open."""
    found: set[str] = set()
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115
            except OSError:
                continue
            if target.startswith("socket:"):
                found.add(target)
    return len(found) * _SOCKET


def files(folder: str) -> int:
    """How many files and folders exist on the file system of `folder`."""
    try:
        about = os.statvfs(folder)
    except OSError:
        return 0
    return about.f_files - about.f_ffree


def is_full(folder: str) -> bool:
    """Whether the file system of `folder` has no room for another byte or another file."""
    try:
        about = os.statvfs(folder)
    except OSError:
        return False
    return about.f_bavail == 0 or bool(about.f_files and about.f_favail == 0)


def tasks_of(uid: int) -> int:
    """How many processes and threads a user has, as RLIMIT_NPROC counts them."""
    count = 0
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                if os.stat(f"/proc/{pid}").st_uid == uid:  # noqa: PTH116
                    count += len(os.listdir(f"/proc/{pid}/task"))
            except OSError:
                pass
    return count


def _fields(path: str, names: tuple[str, ...]) -> dict[str, int]:
    lines = (line.split() for line in _read(path).splitlines() if line.startswith(names))
    return {line[0]: int(line[1]) * _KIB for line in lines}


def _read(path: str, most: int = -1) -> str:
    try:
        with open(path) as file:
            return file.read(most)
    except (OSError, ValueError):
        return ""
