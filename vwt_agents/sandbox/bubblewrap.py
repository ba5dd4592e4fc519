"""The bubblewrap backend: the layout as arguments of `bwrap`. Starts nothing but bwrap, through `supervise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.sandbox.base import BOX, python
from vwt_agents.sandbox.confined import Confined, Setup
from vwt_agents.sandbox.layout import INSIDE, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["Bubblewrap"]


class Bubblewrap(Confined):
    """`bwrap` with its own process 1 replaced by ours, so that it reaps it itself and no zombie is left to the machine."""

    name = "bubblewrap"

    def __init__(self, executable: Path) -> None:
        self.executable = executable

    def _command(self, setup: Setup, spec: int, status: int) -> Sequence[str]:
        if setup.uid is None:
            privileges = ["--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
        else:
            kept = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN", "CAP_DAC_READ_SEARCH")
            privileges = ["--cap-drop", "ALL", *(word for one in kept for word in ("--cap-add", one))]
        return [
            str(self.executable),
            *privileges,
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
            *(word for step in setup.steps for word in _words(step)),
            *("--chdir", BOX, "--json-status-fd", str(status), "--"),
            *(python(), "-I", "-S", "-B", INSIDE, str(spec)),
        ]


def _words(step: Step) -> Iterable[str]:
    kind, path, arg, mode, _ = step
    perms = ("--perms", f"{mode:04o}")
    match kind:
        case "tmpfs":
            return (*perms, "--size", arg, "--tmpfs", path)
        case "dir":
            return (*perms, "--dir", path)
        case "bind":
            return ("--ro-bind", arg, path)
        case "symlink":
            return ("--symlink", arg, path)
        case "proc" | "dev":
            return (f"--{kind}", path)
        case "seal":
            return ("--remount-ro", path)
