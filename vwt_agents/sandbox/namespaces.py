"""The namespaces backend: the same sandbox as bubblewrap's, built by `rootfs.py` with system calls, no package needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vwt_agents.sandbox.bubblewrap import Confined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.layout import Step

__all__ = ["Namespaces"]


class Namespaces(Confined):
    """unshare, mount and pivot_root in a process of their own; also limits the number of files, which bubblewrap cannot."""

    name = "namespaces"

    def _command(self, spec: int, status: int, steps: Sequence[Step], uid: int | None) -> Sequence[str]:  # noqa: ARG002
        here = Path(__file__).parent
        program = (sys.executable, "-I", "-S", "-B", str(here / "rootfs.py"))
        return (*program, str(spec), str(status), str(here / "inside.py"))

    def _extra(self, root: Path, steps: Sequence[Step]) -> Mapping[str, object]:
        return {"root": str(root), "steps": [list(step) for step in steps]}
