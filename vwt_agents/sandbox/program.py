"""The programs of ours that run inside and around a sandbox, compiled once per process. Starts none of them.

A sandbox begins with a fresh Python that writes no cache, so it would compile them again in every run.
"""

from __future__ import annotations

import functools
import marshal
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Final

__all__ = ["write_program"]

_PARTS: Final = ("accounts", "fence", "handover", "inside", "leavings", "ready", "rootfs")


def write_program(folder: Path) -> Path:
    """Write the programs as `NAME.pyc` into a new folder, readable to every user, and return it."""
    folder.mkdir(mode=0o755)
    for name, content in _compiled().items():
        (folder / name).write_bytes(content)
    return folder


@functools.cache
def _compiled() -> dict[str, bytes]:
    header = MAGIC_NUMBER + bytes(12)  # as py_compile writes it, with nothing to compare a source with
    here = Path(__file__).parent
    sources = {name: (here / f"{name}.py").read_text(encoding="utf-8") for name in _PARTS}
    return {
        f"{name}.pyc": header + marshal.dumps(compile(text, f"{name}.py", "exec", dont_inherit=True))
        for name, text in sources.items()
    }
