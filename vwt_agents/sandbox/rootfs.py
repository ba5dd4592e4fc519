"""Builds a sandbox from namespaces and mounts with system calls alone, then becomes its process 1 (`inside`).

Runs outside, as its own process under `python -I -S`: standard library only, never the package. `unshare` cannot be undone,
so it must never be called in the caller's process.
"""

# No pathlib, json, socket, importlib, typing: their imports would be most of this program's start-up.
# ruff: noqa: PTH100, PTH102, PTH103, PTH112, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys

TYPE_CHECKING = False  # as typing's, without importing it
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from vwt_agents.sandbox import inside
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import inside  # before the root changes

_HERE = os.path.dirname(os.path.abspath(__file__))

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_MOUNT_SETATTR, _AT_RECURSIVE, _ATTR_READ_ONLY = 442, 0x8000, 1 | 2 | 4  # read-only, nosuid, nodev
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_libc = ctypes.CDLL(None, use_errno=True)


def main(spec_fd: int, status_fd: int) -> NoReturn:
    """Make the namespaces, start process 1 in them, say its pid on `status_fd`, and wait for it."""
    spec = inside.read_spec(spec_fd)
    os.set_inheritable(status_fd, False)  # noqa: FBT003
    try:
        _unshare(own_user=spec["uid"] is None)
        _die_with_parent()
        pid = os.fork()
    except OSError as error:
        _fail(error)
    if pid == 0:
        os.close(status_fd)
        _die_with_parent()
        try:
            _build(spec["root"], spec["steps"])
            # What process 1 still imports comes from its read-only folder: the old path may now be the program's to fill.
            sys.path[:] = ["/.vwt" if one == _HERE else one for one in sys.path]
        except OSError as error:
            _fail(error)
        inside.main(spec)
    os.write(status_fd, b'{"child-pid": %d}\n' % pid)
    for fd in (status_fd, 0, 1, 2, *spec["own"], *spec["fds"]):
        os.close(fd)
    os.waitpid(pid, 0)
    os._exit(0)


def _fail(error: OSError) -> NoReturn:
    os.write(2, f"namespaces: {error.filename or 'setting up'}: {error.strerror}\n".encode())
    os._exit(1)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _die_with_parent() -> None:
    _check(_libc.prctl(1, ctypes.c_ulong(9), 0, 0, 0), "prctl")


def _unshare(*, own_user: bool) -> None:
    uid, gid = os.getuid(), os.getgid()
    flags = _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS | _NEWCGROUP
    _check(_libc.unshare(flags | (_NEWUSER if own_user else 0)), "creating new namespaces")
    if own_user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"1000 {uid} 1")
        _write("/proc/self/gid_map", f"1000 {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), options.encode() if options else None), f"mounting {target}")


def _build(root: str, steps: list[Any]) -> None:
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,nr_inodes=1024,mode=755")
    for kind, path, arg, mode, inodes in steps:
        _step(kind, root + path, arg, mode, inodes)
    _check(_libc.sethostname(b"sandbox", ctypes.c_size_t(7)), "naming the sandbox")
    _raise_loopback()
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", 2), "leaving the old root")
    os.chdir("/")


def _step(kind: str, path: str, arg: str, mode: int, inodes: int) -> None:
    if kind == "bind":
        _bind(arg, path)
    elif kind == "symlink":
        os.symlink(arg, path)
    elif kind == "seal":
        _mount(
            "none",
            path,
            None,
            _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | (0 if path.endswith("/dev") else _MS_NODEV),
        )
    else:
        os.makedirs(path, exist_ok=True)
        if kind == "tmpfs":
            _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={arg},nr_inodes={inodes},mode={mode:o}")
        elif kind == "proc":
            _mount("proc", path, "proc", _MS_NOSUID | _MS_NODEV | 8)
        elif kind == "dev":
            _devices(path)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, None, _MS_BIND | _MS_REC)
    attributes = struct.pack("=QQQQ", _ATTR_READ_ONLY, 0, 0, 0)
    result = _libc.syscall(
        _MOUNT_SETATTR, -100, os.fsencode(target), _AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes))
    )
    _check(result, f"making {target} read-only")


def _devices(path: str) -> None:
    _mount("tmpfs", path, "tmpfs", _MS_NOSUID, "size=64k,nr_inodes=64,mode=755")
    for name in _DEVICES:
        os.close(os.open(f"{path}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        _mount(f"/dev/{name}", f"{path}/{name}", None, _MS_BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"{path}/{name}")
    os.mkdir(f"{path}/shm")


def _raise_loopback() -> None:
    any_socket = _libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM
    _check(0 if any_socket >= 0 else -1, "opening a socket")
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
    os.close(any_socket)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
