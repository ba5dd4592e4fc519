"""The programs of ours that run inside and around a sandbox, compiled once per process. Starts none of them.

A sandbox begins with a fresh Python that writes no cache, so it would compile them again in every run. What never changes is
written once per process too: a tiny test run is otherwise spent, for a good part, on making and removing small files.
"""

from __future__ import annotations

import functools
import marshal
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["package", "program"]

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


def program() -> Mapping[str, bytes]:
    """Process 1 of a sandbox and what builds one: file name -> content; `inside.pyc` is the first."""
    return {f"{name}.pyc": _compiled(name) for name in _PARTS}


def package(names: Sequence[str]) -> Mapping[str, bytes]:
    """These modules of ours, and `start.py` that starts one of them; a sandbox has no other part of the package.

    They are packages with an `__init__`: one that this Python has among its own would go before a folder that has none.
    """
    inits = {f"{folder}/__init__.py": b"" for folder in ("vwt_agents", "vwt_agents/sandbox")}
    return {"start.py": _START, **inits, **{f"vwt_agents/sandbox/{name}.pyc": _compiled(name) for name in names}}


@functools.cache
def _compiled(name: str) -> bytes:
    header = MAGIC_NUMBER + bytes(12)  # as py_compile writes it, with nothing to compare a source with
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return header + marshal.dumps(compile(text, f"{name}.py", "exec", dont_inherit=True))
