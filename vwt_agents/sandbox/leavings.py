"""What a program leaves: the files that were asked for, as the sandbox's process 1 finds them once nothing runs any more.

Runs inside, beside `inside`: standard library only. Believes no name and no type: links, pipes and devices are left.
"""

# ruff: noqa: PTH118 - paths are those of the sandbox

from __future__ import annotations

import fnmatch
import os

TYPE_CHECKING = False  # as typing's, without importing it
if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 1024 * 1024
_MOST_LOOKED_AT, _DEEPEST = 100_000, 64  # a tree that never ends must not keep the result back


def leavings(box: str, patterns: list[str], files: int, mib: int) -> Iterator[tuple[str, bytes | None]]:
    """(name, content) of each file that fits a pattern; None for one that is no plain file, or one too many or too large."""
    left = mib * _MIB
    count = 0
    for name in _matching(box, patterns):
        content = _read_plain(os.path.join(box, name), left) if count < files else None
        yield name, content
        if content is not None:
            count += 1
            left -= len(content)
        elif count == files:
            return


def _matching(box: str, patterns: list[str]) -> list[str]:
    found = []
    folders = [("", 0)]
    looked_at = 0
    while folders and looked_at < _MOST_LOOKED_AT:
        folder, depth = folders.pop()
        for name, is_folder in _entries(os.path.join(box, folder)):
            looked_at += 1
            path = os.path.join(folder, name)
            if is_folder and depth < _DEEPEST:
                folders.append((path, depth + 1))
            elif not is_folder and path.isprintable() and any(fnmatch.fnmatchcase(path, one) for one in patterns):
                found.append(path)
    return sorted(found)


def _entries(folder: str) -> list[tuple[str, bool]]:
    try:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in os.scandir(folder)]
    except OSError:
        return []


def _read_plain(name: str, most: int) -> bytes | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        return file.read() if about.st_mode & 0o170000 == 0o100000 and about.st_size <= most else None
