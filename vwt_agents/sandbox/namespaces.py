"""The namespaces backend: the same sandbox as bubblewrap's, built by `rootfs.py` with system calls, no package needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.sandbox.base import python
from vwt_agents.sandbox.confined import Confined, Setup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Namespaces"]


class Namespaces(Confined):
    """unshare, mount and pivot_root in a process of their own; also limits the number of files, which bubblewrap cannot."""

    name = "namespaces"

    def _command(self, setup: Setup, spec: int, status: int) -> Sequence[str]:
        return (python(), "-I", "-S", "-B", str(setup.program / "rootfs.pyc"), str(spec), str(status))

    def _extra(self, setup: Setup) -> Mapping[str, object]:
        root = setup.stage / "root"
        root.mkdir()
        return {"root": str(root), "steps": [list(step) for step in setup.steps]}
