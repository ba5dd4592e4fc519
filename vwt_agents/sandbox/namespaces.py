"""The namespaces backend: the same sandbox as bubblewrap's, built by `rootfs.py` with system calls, no package needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.sandbox.base import python
from vwt_agents.sandbox.bubblewrap import Confined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vwt_agents.sandbox.layout import Step

__all__ = ["Namespaces"]


class Namespaces(Confined):
    """unshare, mount and pivot_root in a process of their own; also limits the number of files, which bubblewrap cannot."""

    name = "namespaces"

    def _command(
        self,
        spec: int,
        status: int,
        steps: Sequence[Step],  # noqa: ARG002
        uid: int | None,  # noqa: ARG002
        program: Path,
    ) -> Sequence[str]:
        return (python(), "-I", "-S", "-B", str(program / "rootfs.pyc"), str(spec), str(status))

    def _extra(self, root: Path, steps: Sequence[Step]) -> Mapping[str, object]:
        return {"root": str(root), "steps": [list(step) for step in steps]}
