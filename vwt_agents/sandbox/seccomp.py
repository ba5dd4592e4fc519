"""The system calls a sandboxed program is refused: one table, as a BPF filter and as a container's JSON profile. Pure.

Deny list with EPERM, everything else allowed: programs must see an ordinary Linux, minus what escapes are made of.
clone3 answers ENOSYS because a filter cannot read its flags; libc then uses clone, whose flags it can.
The numbers for aarch64 are written from the kernel's table but have not been run.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ARCHITECTURES", "DENIED", "UNFENCED", "UNSCOPED", "Numbers", "Refused", "build_filter", "profile"]

Numbers: TypeAlias = tuple[int | None, int | None]
"""A call's number on x86_64 and on aarch64; None where the machine does not have it."""
Wanted: TypeAlias = tuple[tuple[int, tuple[int, ...]], ...]
"""(index of an argument, the values it may have), ...: all of them have to hold."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Calls that are refused: always, or unless their arguments are as wanted."""

    always: Mapping[str, Numbers]
    unless: Mapping[str, tuple[Numbers, Wanted]] = field(default_factory=dict)


_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGS = 0, 4, 16
_NAMESPACE_FLAGS: Final = tuple(1 << bit for bit in (17, 25, 26, 27, 28, 29, 30))
_FAMILIES: Final = (1, 2, 10, 16)  # unix, inet, inet6, netlink: vsock is not fenced by a network namespace

# fmt: off
DENIED: Final[Mapping[str, Numbers]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
    # mounts, roots and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467), "statmount": (457, 457), "listmount": (458, 458),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # interfaces whose faults have been the way into kernels
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    "uselib": (134, None), "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None),
    # the machine's modules, kernel, clock, names, disks and log
    "init_module": (175, 105), "delete_module": (176, 106), "finit_module": (313, 273), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "vhangup": (153, 58), "personality": (135, 92),
    # memory that is in no process's RSS, or outlives it
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "vmsplice": (278, 75),
}
_UNFENCED: Final[Mapping[str, Numbers]] = {
    # what Landlock lets through: any way to a socket that is not the program's own, and changes of what it cannot open
    "socket": (41, 198), "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "setxattrat": (463, 463), "removexattrat": (466, 466), "truncate": (76, 45),
    "file_setattr": (469, 469),
    # the same on what it can open to read, such as the user's own virtual environment
    "fchmod": (91, 52), "fchown": (93, 55), "fsetxattr": (190, 7), "fremovexattr": (199, 16),
}
_STREAMS: Final = tuple(kind | flags for kind in (1, 5) for flags in (0, 0x800, 0x80000, 0x80800))
_PLAIN_IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x40049409)
_PLAIN_FCNTLS: Final = (*range(8), 1030, 1031, 1032)
UNFENCED: Final = Refused(
    _UNFENCED,
    {
        # A pair of datagram sockets can be sent from to any socket file of the machine; one of streams is its own only.
        "socketpair": ((53, 199), ((1, _STREAMS),)),
        # Is it a terminal, its size, how much is there, blocking, on exec, copy: others change flags of files, or make some.
        "ioctl": ((16, 29), ((1, _PLAIN_IOCTLS),)),
        # No leases, and no signal to whom it likes (F_SETOWN) when something comes in.
        "fcntl": ((72, 25), ((1, _PLAIN_FCNTLS),)),
    },
)
UNSCOPED: Final = Refused(
    # signals to the user's other processes, where the kernel's Landlock does not hold them back (before Linux 6.12)
    {"kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
     "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424)}
)
_NEVER: Final[Mapping[str, tuple[tuple[int, int], tuple[int, ...]]]] = {
    # by the second argument
    "ioctl": ((16, 29), (0x5412, 0x541C)),  # TIOCSTI, TIOCLINUX type into the caller's terminal
    "fcntl": ((72, 25), (37, 38)),  # F_OFD_SETLK, F_OFD_SETLKW: locks of which nobody can tell whose they are
}
_UNLESS: Final[Mapping[str, tuple[Numbers, Wanted]]] = {
    "socket": ((41, 198), ((0, _FAMILIES),)),
    "socketpair": ((53, 199), ((0, (1,)),)),
    # of the caller, never of process 1 or a user
    "prlimit64": ((302, 261), ((0, (0,)),)),
    "setpriority": ((141, 140), ((0, (0,)), (1, (0,)))),
    "ioprio_set": ((251, 30), ((0, (1,)), (1, (0,)))),
    "sched_setaffinity": ((203, 122), ((0, (0,)),)),
    "sched_setscheduler": ((144, 119), ((0, (0,)),)),
    "sched_setparam": ((142, 118), ((0, (0,)),)),
    "sched_setattr": ((314, 274), ((0, (0,)),)),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class _Machine:
    at: int  # the column of the tables
    audit: int
    x32: bool
    clone: int
    docker: str


ARCHITECTURES: Final = {
    "x86_64": _Machine(0, 0xC000003E, x32=True, clone=56, docker="SCMP_ARCH_X86_64"),
    "aarch64": _Machine(1, 0xC00000B7, x32=False, clone=220, docker="SCMP_ARCH_AARCH64"),
}
_CLONE3: Final = 435


def build_filter(machine: str, *more: Refused) -> bytes:
    """The filter as an array of `struct sock_filter`, with `more` refused; empty where the numbers are not known."""
    here = ARCHITECTURES.get(machine)
    if here is None:
        return b""
    eperm, enosys = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [_op(_LOAD, _ARCH), _op(_EQUAL, here.audit, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, _NR)]
    if here.x32:
        code += [_op(_AT_LEAST, 0x40000000, 0, 1), _op(_RETURN, enosys)]
    code += [_op(_EQUAL, _CLONE3, 0, 1), _op(_RETURN, enosys)]
    for number in _numbers(here, DENIED, *(one.always for one in more)):
        code += [_op(_EQUAL, number, 0, 1), _op(_RETURN, eperm)]
    flags = sum(_NAMESPACE_FLAGS)
    code += _when(here.clone, 0, [_op(_ANY_BIT, flags, 0, 1), _op(_RETURN, eperm), _op(_RETURN, _ALLOW)])
    for number, wanted in _conditions(here, _UNLESS, *(one.unless for one in more)).items():
        code += _when(number, None, [*_each(wanted, eperm), _op(_RETURN, _ALLOW)])
    for numbers, values in _NEVER.values():
        refused = [op for value in values for op in (_op(_EQUAL, value, 0, 1), _op(_RETURN, eperm))]
        code += _when(numbers[here.at], 1, [*refused, _op(_RETURN, _ALLOW)])
    code.append(_op(_RETURN, _ALLOW))
    return b"".join(code)


def _conditions(here: _Machine, *tables: Mapping[str, tuple[Numbers, Wanted]]) -> dict[int, Wanted]:
    """What is wanted of the arguments of each call, by all tables together."""
    found: dict[int, Wanted] = {}
    for numbers, wanted in (entry for table in tables for entry in table.values()):
        number = numbers[here.at]
        if number is not None:
            found[number] = found.get(number, ()) + wanted
    return found


def _numbers(here: _Machine, *tables: Mapping[str, Numbers]) -> Iterable[int]:
    found = (numbers[here.at] for table in tables for numbers in table.values())
    return (number for number in found if number is not None)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _each(wanted: Wanted, otherwise: int) -> Iterable[bytes]:
    for index, values in wanted:
        yield _op(_LOAD, _ARGS + 8 * index)
        yield from (_op(_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values))
        yield _op(_RETURN, otherwise)


def _when(number: int, argument: int | None, body: list[bytes]) -> list[bytes]:
    # The body always returns, so what follows still has the call's number loaded.
    loaded = body if argument is None else [_op(_LOAD, _ARGS + 8 * argument), *body]
    return [_op(_EQUAL, number, 0, len(loaded)), *loaded]


# ---- for docker and podman


def profile(machine: str) -> dict[str, Any]:
    """The same refusals as `--security-opt seccomp=FILE` takes them; without an architecture where it is not known."""
    here = ARCHITECTURES.get(machine)
    rules = [_rule([name for name, numbers in DENIED.items() if here is None or numbers[here.at] is not None])]
    rules.append(_rule(["clone3"], errno.ENOSYS))
    rules += [_rule(["clone"], args=[_argument(0, "MASKED_EQ", flag, flag)]) for flag in _NAMESPACE_FLAGS]
    last = max(_FAMILIES)
    refused = (family for family in range(last) if family not in _FAMILIES)
    rules += [_rule(["socket"], args=[_argument(0, "EQ", family)]) for family in refused]
    rules.append(_rule(["socket"], args=[_argument(0, "GT", last)]))
    # The kernel reads 32 bits of a request, so the mask keeps the others from hiding it.
    for name, (_, values) in _NEVER.items():
        rules += [_rule([name], args=[_argument(1, "MASKED_EQ", 0xFFFFFFFF, one)]) for one in values]
    for name, (_, wanted) in _UNLESS.items():
        single = [
            (index, values[0]) for index, values in wanted if len(values) == 1
        ]  # the families of sockets are above
        rules += [_rule([name], args=[_argument(index, "NE", value)]) for index, value in single]
    known = {"architectures": [here.docker]} if here is not None else {}
    return {"defaultAction": "SCMP_ACT_ALLOW", **known, "syscalls": rules}


def _rule(names: list[str], number: int = errno.EPERM, args: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": args or []}


def _argument(index: int, comparison: str, value: int, second: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{comparison}"}
