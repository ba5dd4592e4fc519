"""Landlock by system call: this process and all it starts may open only what it is told. Cannot be undone.

Runs inside a sandbox, where no package is: standard library only. `abi` also tells the outside what the kernel offers.
"""

# ruff: noqa: PTH112 - pathlib's import would be most of this program's start-up

from __future__ import annotations

import ctypes
import os
import struct

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL_DEVICE
_TCP = 0b11
_SCOPES = 0b11  # abstract unix sockets and signals
_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock this kernel has; 0 when it has none, or may not use it."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def restrict(*, read: list[str], write: list[str], devices: list[str], version: int) -> None:
    """Let only these be opened: `read` to read and run, `write` for everything, `devices` to read and write; OSError if not."""
    handled = _handled(version)
    attributes = struct.pack("=QQQ", handled, _TCP, _SCOPES)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call(_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    for paths, access in ((read, _EXECUTE | _READ | _LIST), (write, handled), (devices, _READ | _WRITE)):
        for path in paths:
            _allow(rules, path, access & handled)
    _call(_RESTRICT, rules, ctypes.c_uint32(0))
    os.close(rules)


def _handled(version: int) -> int:
    """Every access to files that this version can forbid."""
    bits = 13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16
    return (1 << bits) - 1


def _allow(rules: int, path: str, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            access &= _ON_FILES
        _call(_ADD_RULE, rules, ctypes.c_uint32(1), struct.pack("=Qi", access, place), ctypes.c_uint32(0))
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "landlock")
    return result
