"""What many runs side by side may take: the goal of docs/performance.md, in a process of its own, that nothing traces."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "overhead.py"


def test_a_run_that_waits_takes_no_more_than_8_kb() -> None:
    untraced = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    command = [sys.executable, BENCH, "--only", "memory", "--json"]
    rows = json.loads(subprocess.run(command, env=untraced, capture_output=True, check=True).stdout)
    taken = {row["what"]: row["ours"] for row in rows}
    assert taken.keys() == {"run blocked in a stage", "run waiting for a slot"}
    assert max(taken.values()) < 8.0, taken
