"""What the ledger costs: each verb, with other processes' pages to read beside it. `python bench/ledger.py [PROCESSES]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from vwt_agents.ledger import Ledger, Resource

SHARED = Resource("sha256:shared", "http://127.0.0.1:11434")
TURNS = 500


def main() -> None:
    """Print median and 99th percentile of each verb in microseconds."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    with tempfile.TemporaryDirectory(dir="/var/tmp") as parent:
        ledgers = [Ledger.open(f"run {number}", folder=Path(parent) / "ledger") for number in range(processes)]
        for number, each in enumerate(ledgers):
            each.claim("gpu0", SHARED, 1000, 10_000, name="shared")
            each.claim("gpu0", Resource(f"own {number}"), 100, 10_000, name="own")
        mine, model = ledgers[0], Resource("new", SHARED.server)
        verbs = {
            "claim": lambda: mine.claim("gpu0", model, 100, 10_000, name="new"),
            "settle": lambda: mine.settle(model, 90),
            "want": lambda: mine.want("gpu0", model, 100, 0.0),
            "leave": lambda: mine.leave(model),
            "drop": lambda: mine.drop(model),
            "snapshot": mine.snapshot,
        }
        times: dict[str, list[float]] = {name: [] for name in verbs}
        for _ in range(TURNS):
            for name, verb in verbs.items():
                began = time.perf_counter()
                verb()
                times[name].append(time.perf_counter() - began)
        for name, taken in times.items():
            taken.sort()
            print(f"{name:10} median {taken[TURNS // 2] * 1e6:5.0f} us   p99 {taken[TURNS * 99 // 100] * 1e6:5.0f} us")
        for each in ledgers:
            each.close()


if __name__ == "__main__":
    main()
