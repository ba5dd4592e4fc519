"""The system calls a sandboxed program is refused, as a BPF filter. Pure: returns bytes, installs nothing.

Deny list with EPERM, everything else allowed: programs must see an ordinary Linux, minus what escapes are made of.
clone3 answers ENOSYS because a filter cannot read its flags; libc then uses clone, whose flags it can.
The numbers for aarch64 are written from the kernel's table but have not been run.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["ARCHITECTURES", "build_filter"]

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGS = 0, 4, 16
_NEW_NAMESPACES: Final = 0x7E020000
_FAMILIES: Final = (1, 2, 10, 16)  # unix, inet, inet6, netlink: vsock is not fenced by a network namespace
_TERMINAL_IOCTLS: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX type into the caller's terminal


@dataclass(frozen=True, slots=True)
class _Table:
    audit: int
    x32: bool
    denied: tuple[int, ...]
    clone: int
    socket: int
    ioctl: int
    own_process_only: tuple[tuple[int, int], ...]  # (number, index of the pid argument)


# ptrace and kin; mounts; namespaces; handles; kernel interfaces; keys; modules; clocks; memory in no RSS; machine-wide settings
_COMMON: Final = (438, 428, 429, 430, 431, 432, 433, 442, 425, 426, 427, 440, 447, 448, 443)
# fmt: off
ARCHITECTURES: Final = {
    "x86_64": _Table(
        audit=0xC000003E,
        x32=True,
        denied=(
            101, 310, 311, 312, 165, 166, 155, 161, 272, 308, 303, 304, 321, 298, 323, 248, 249, 250, 175, 176, 313,
            246, 320, 164, 227, 305, 159, 319, 29, 68, 64, 240, 135, 179, 103, 169, 167, 168, 163, 170, 171, 172, 173,
            153, 212, 180, 134, 300, 279, 256, *_COMMON,
        ),
        clone=56,
        socket=41,
        ioctl=16,
        own_process_only=((302, 0), (141, 1), (203, 0), (144, 0), (142, 0), (314, 0)),
    ),
    "aarch64": _Table(
        audit=0xC00000B7,
        x32=False,
        denied=(
            117, 270, 271, 272, 40, 39, 41, 51, 97, 268, 264, 265, 280, 241, 282, 217, 218, 219, 105, 106, 273,
            104, 294, 170, 112, 266, 171, 279, 194, 186, 190, 180, 92, 60, 116, 142, 224, 225, 89, 161, 162, 58,
            18, 42, 262, 239, 238, *_COMMON,
        ),
        clone=220,
        socket=198,
        ioctl=29,
        own_process_only=((261, 0), (140, 1), (122, 0), (119, 0), (118, 0), (274, 0)),
    ),
}
# fmt: on
_CLONE3: Final = 435


def build_filter(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`; empty for a machine whose numbers are not known."""
    table = ARCHITECTURES.get(machine)
    if table is None:
        return b""
    eperm, enosys = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [_op(_LOAD, _ARCH), _op(_EQUAL, table.audit, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, _NR)]
    if table.x32:
        code += [_op(_AT_LEAST, 0x40000000, 0, 1), _op(_RETURN, enosys)]
    code += [_op(_EQUAL, _CLONE3, 0, 1), _op(_RETURN, enosys)]
    for number in table.denied:
        code += [_op(_EQUAL, number, 0, 1), _op(_RETURN, eperm)]
    code += _when(table.clone, 0, [_op(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _op(_RETURN, eperm), _op(_RETURN, _ALLOW)])
    families = [op for family in _FAMILIES for op in (_op(_EQUAL, family, 0, 1), _op(_RETURN, _ALLOW))]
    code += _when(table.socket, 0, [*families, _op(_RETURN, eperm)])
    ioctls = [op for request in _TERMINAL_IOCTLS for op in (_op(_EQUAL, request, 0, 1), _op(_RETURN, eperm))]
    code += _when(table.ioctl, 1, [*ioctls, _op(_RETURN, _ALLOW)])
    for number, index in table.own_process_only:
        code += _when(number, index, [_op(_EQUAL, 0, 0, 1), _op(_RETURN, _ALLOW), _op(_RETURN, eperm)])
    code.append(_op(_RETURN, _ALLOW))
    return b"".join(code)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(number: int, argument: int, body: list[bytes]) -> list[bytes]:
    # The body always returns, so what follows still has the call's number loaded.
    loaded = [_op(_LOAD, _ARGS + 8 * argument), *body]
    return [_op(_EQUAL, number, 0, len(loaded)), *loaded]
