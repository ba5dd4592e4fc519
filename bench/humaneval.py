"""What the codegen pipeline is worth: pass@1 of it, of single calls and of best-of-N with the same model, by hidden tests.

python bench/humaneval.py [--tasks 0-163] [--set humaneval|own] [--contenders greedy,chat,best-of-4,pipeline]
                          [--model qwen2.5-coder:0.5b] [--inputs NAME=VALUE ...] [--results FILE] [--report]

One process and one loaded model for all of it. Hidden tests only score: they run in the sandbox once the code is chosen. What
is measured is kept in the results file, and a killed run goes on where it was. docs/codegen-bench.md says what is counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from codebench.command import Bench, options, perform
from codebench.contenders import contender

from vwt_agents.errors import UsageError


def main() -> int:
    """Measure and report."""
    parser = options(__doc__, "humaneval")
    parser.add_argument("--contenders", default="greedy,chat,best-of-4,pipeline")
    given = parser.parse_args()
    try:
        chosen = [contender(name, given.pipeline, given.inputs) for name in given.contenders.split(",")]
    except UsageError as error:
        parser.error(f"{error.message}; {error.hint}")
    bench = Bench(
        set=given.set,
        tasks=given.tasks,
        contenders=chosen,
        model=given.model,
        config=given.config,
        pipeline=given.pipeline,
        results=given.results or Path(f"runs/bench/humaneval-{given.set}.jsonl"),
        seed=given.seed,
    )
    return perform(bench, only_report=given.report)


if __name__ == "__main__":
    sys.exit(main())
