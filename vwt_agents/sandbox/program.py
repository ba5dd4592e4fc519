"""The programs of ours that run inside and around a sandbox, compiled once per process. Starts none of them.

A sandbox begins with a fresh Python that writes no cache, so it would compile them again in every run. What never changes is
written once per process too: a tiny test run is otherwise spent, for a good part, on making and removing small files.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import marshal
import os
import shutil
import tempfile
import threading
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import Unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["kept", "package", "program", "room_in", "write_all"]

_PARTS: Final = ("accounts", "fence", "handover", "inside", "leavings", "ready", "rootfs")
_START: Final = b"""\
import importlib, sys
sys.path.insert(0, __file__.rpartition("/")[0])
main = importlib.import_module("vwt_agents.sandbox." + sys.argv[1]).main
del sys.path[0]
for name in [one for one in sys.modules if one.partition(".")[0] == "vwt_agents"]:
    del sys.modules[name]
main(*sys.argv[2:])
"""
_WRITING: Final = threading.Lock()


def program() -> Mapping[str, bytes]:
    """Process 1 of a sandbox and what builds one: file name -> content; `inside.pyc` is the first."""
    return {f"{name}.pyc": _compiled(name) for name in _PARTS}


def package(names: Sequence[str]) -> Mapping[str, bytes]:
    """These modules of ours, and `start.py` that starts one of them; a sandbox has no other part of the package."""
    return {"start.py": _START, **{f"vwt_agents/sandbox/{name}.pyc": _compiled(name) for name in names}}


def write_all(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files into a new folder, readable to every user, and return it."""
    folder.mkdir(mode=0o755)
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def kept(name: str, files: Callable[[], Mapping[str, bytes]]) -> Path:
    """A folder of these files, written at the first call and removed when this process ends.

    For sandboxes that show it read-only; never where a program runs as a user who could write to it. A name always stands for
    the same files. What a cleaner of old temporary files took is written again.
    """
    with _WRITING:
        contents = files()
        folder = _home(os.getpid()) / name
        if not all((folder / one).exists() for one in contents):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                folder.parent.mkdir(mode=0o700, exist_ok=True)
                with room_in(folder.parent.parent):
                    write_all(folder, contents)
            except BaseException:  # of a file written in part, the next to ask would not know
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder


@contextlib.contextmanager
def room_in(folder: Path | str) -> Iterator[None]:
    """Unwritable, by the folder's name, where what is written in the block finds no room on its disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        hint = "make room there, or name a folder on another disk: export TMPDIR=SOME/FOLDER"
        raise Unwritable(f"cannot write the sandbox's files in {folder}: {error.strerror}", hint=hint) from error


@functools.cache
def _home(pid: int) -> Path:
    # By process: a fork has a folder of its own, and does not remove its parent's when it ends.
    home = tempfile.mkdtemp(prefix="vwt-programs-")
    atexit.register(lambda: shutil.rmtree(home, ignore_errors=True) if os.getpid() == pid else None)
    return Path(home)


@functools.cache
def _compiled(name: str) -> bytes:
    header = MAGIC_NUMBER + bytes(12)  # as py_compile writes it, with nothing to compare a source with
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return header + marshal.dumps(compile(text, f"{name}.py", "exec", dont_inherit=True))
