"""What a sandboxed program sees of a file system, as a list of steps. Owns the list; never mounts anything.

Both backends carry out the same steps, so what holds for one holds for the other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import BOX, Limits, Mount, python
from vwt_agents.sandbox.pytest_inside import sites

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "DOOR",
    "INODES",
    "INSIDE",
    "SYSTEM_FILES",
    "Step",
    "etc_files",
    "interpreter_links",
    "interpreter_mounts",
    "plan",
]

PROGRAM: Final = "/.vwt"
DOOR: Final = "/.door"
"""The folder of the socket through which a container gets what other sandboxes inherit."""
INSIDE: Final = f"{PROGRAM}/inside.pyc"
INODES: Final = MappingProxyType({BOX: 16384, "/tmp": 8192, "/dev/shm": 1024})  # noqa: S108
"""Files and folders that may exist in each writable place."""
SYSTEM_FILES: Final = tuple(
    f"/etc/{name}" for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types")
)
"""What of /etc a program needs and may read."""
_MOST_PARTS: Final = 400  # of a path, those of the links in it too: links that lead in a circle
_SYSTEM: Final = ("bin", "sbin", "lib", "lib64", "lib32")


class Step(NamedTuple):
    """One step: `tmpfs` (arg = bytes, mode), `bind` (arg = source), `symlink` (arg = target), `dir`, `proc`, `dev`, `seal`."""

    kind: Literal["tmpfs", "bind", "symlink", "dir", "proc", "dev", "seal"]
    path: str
    arg: str = ""
    mode: int = 0o755
    inodes: int = 0


def interpreter_mounts() -> tuple[Mount, ...]:
    """The folders this Python needs: base_prefix, prefix, its own, and pytest's. /usr is always there and left out."""
    prefixes = [Path(os.path.abspath(prefix)) for prefix in (sys.base_prefix, sys.prefix)]  # noqa: PTH100 - see python()
    folders = [
        *prefixes,
        prefixes[0].resolve(),
        Path(python()).parent.parent,
        *(Path(os.path.abspath(one)) for one in sites()),  # noqa: PTH100
    ]
    home = Path.home().resolve()
    found: dict[str, Mount] = {}
    for folder in folders:
        if folder.is_relative_to("/usr") or any(folder.is_relative_to(seen) for seen in found):
            continue
        if home.is_relative_to(folder.resolve()) or folder.resolve() == Path("/"):
            message = f"this Python lives in {folder}, and showing that to a sandboxed program would show it {home} too"
            raise SandboxUnavailable(message, hint="run from a virtual environment: python -m venv .venv")
        found[str(folder)] = Mount(folder, str(folder))
    return tuple(found.values())


def interpreter_links(mounts: Iterable[Mount]) -> tuple[Step, ...]:
    """The links on the way to this Python that no mount shows, made again: a venv's `python` may be the first of many."""
    there = {"/usr", *SYSTEM_FILES, *(f"/{name}" for name in _SYSTEM), *(mount.target for mount in mounts)}
    return tuple(
        Step("symlink", path, target)
        for path, target in _links(python())
        if not any(PurePosixPath(path).is_relative_to(one) or PurePosixPath(one).is_relative_to(path) for one in there)
    )


def _links(path: str) -> Iterable[tuple[str, str]]:
    """Every link that is passed through on the way to a file, and where it leads."""
    here, ahead = PurePosixPath("/"), list(PurePosixPath(path).parts[:0:-1])
    for _ in range(_MOST_PARTS):
        if not ahead:
            return
        name = ahead.pop()
        place = here.parent if name == ".." else here / name
        if name != ".." and os.path.islink(place):  # noqa: PTH114
            target = os.readlink(place)  # noqa: PTH115
            yield str(place), target
            ahead += [one for one in reversed(PurePosixPath(target).parts) if one != "/"]
            here = PurePosixPath("/") if target.startswith("/") else here
        else:
            here = place


def etc_files(uid: int) -> dict[str, bytes]:
    """Made-up account and host files, so that the program learns nothing of this machine's."""
    return {
        "passwd": f"root:x:0:0::/:/bin/false\nsandbox:x:{uid}:{uid}::{BOX}:/bin/sh\n".encode(),
        "group": f"root:x:0:\nsandbox:x:{uid}:\n".encode(),
        "hosts": b"127.0.0.1 localhost sandbox\n::1 localhost\n",
        "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    }


def plan(
    *,
    limits: Limits,
    etc: Path,
    program: Path,
    read_only: Sequence[Mount],
    links: Sequence[Step] = (),
) -> list[Step]:
    """The steps in order: writable folders first, because what is bound may lie below /tmp."""
    mib = 1024 * 1024
    steps = [
        Step("tmpfs", "/tmp", str(limits.tmp_mib * mib), 0o1777, INODES["/tmp"]),  # noqa: S108
        Step("tmpfs", BOX, str(limits.box_mib * mib), 0o1777, INODES[BOX]),
        Step("dir", "/usr"),
        Step("bind", "/usr", "/usr"),
        *_system_steps(),
        Step("dir", "/etc"),
        *(Step("bind", path, path) for path in SYSTEM_FILES if Path(path).exists()),
        *(Step("bind", f"/etc/{file.name}", str(file)) for file in sorted(etc.iterdir())),
    ]
    mounts = [Mount(program, PROGRAM), *read_only]
    steps += _with_parents([*(Step("bind", mount.target, str(mount.source)) for mount in mounts), *links])
    steps += [
        Step("proc", "/proc"),
        Step("dev", "/dev"),
        Step("tmpfs", "/dev/shm", str(limits.shm_mib * mib), 0o1777, INODES["/dev/shm"]),  # noqa: S108
    ]
    return [*steps, Step("seal", "/dev"), Step("seal", "/")]


def _system_steps() -> Iterable[Step]:
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            yield Step("symlink", str(path), os.readlink(path))  # noqa: PTH115
        elif path.is_dir():
            yield Step("dir", str(path))
            yield Step("bind", str(path), str(path))


def _with_parents(steps: Iterable[Step]) -> Iterable[Step]:
    # Parents that a backend makes by itself are 0700 root: unreachable once the uid is dropped. So each is made here.
    made = {"/", "/tmp", BOX, "/usr", "/etc"}  # noqa: S108
    for step in steps:
        for parent in reversed(PurePosixPath(step.path).parents):
            if str(parent) not in made:
                made.add(str(parent))
                yield Step("dir", str(parent))
        yield step
