"""The memory one process really takes. Owns the one way it is measured, for residencies, tables and tests alike."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vwt_agents.types import Mib

__all__ = ["process_mib"]


def process_mib(pid: int) -> Mib:
    """MiB of the process, its proportional share of shared pages included; 0 when it is gone.

    Pss and not Rss: two workers of one model map the same weights file, and the sum over all workers has to be what the
    machine loses. Where the kernel does not say (not Linux), the resident size.
    """
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return _resident_mib(pid)
    kib = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Pss:", "SwapPss:")))
    return -(-kib // 1024)


def _resident_mib(pid: int) -> Mib:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return -(-int(done.stdout.strip() or 0) // 1024)
