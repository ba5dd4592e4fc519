"""What it costs to start: import and command line, as ratios to a bare Python, interleaved in one run.

python bench/startup.py [--runs 9] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WITHOUT_OLLAMA = os.environ | {"OLLAMA_HOST": "http://127.0.0.1:9"}  # `plan` is the same whatever is served here

COMMANDS = {
    "bare python": ["-c", "pass"],
    "import vwt_agents": ["-c", "import vwt_agents"],
    "--help": ["-m", "vwt_agents", "--help"],
    "--version": ["-m", "vwt_agents", "--version"],
    "plan": ["-m", "vwt_agents", "plan", str(Path(__file__).parents[1] / "pipelines/codegen.py")],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=WITHOUT_OLLAMA)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.runs):
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    bare = medians["bare python"]
    rows = [
        {"what": name, "ms": round(median * 1000, 1), "x": round(median / bare, 1)} for name, median in medians.items()
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['what']:20} {row['ms']:8.1f} ms  {row['x']:5.1f} x")


if __name__ == "__main__":
    main()
