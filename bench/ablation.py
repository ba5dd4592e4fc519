"""What each mechanism of the codegen pipeline is worth: the pipeline with one of them off at a time, against all of it.

python bench/ablation.py [--off NAME=VALUE ...] [--tasks 0-163] [--set humaneval|own] [--model qwen2.5-coder:0.5b]
                         [--inputs NAME=VALUE ...] [--results FILE] [--report]

--off names the switches, each measured alone; by default those of OFF below that the pipeline has. --inputs go to all, also to
the full pipeline. Records, scoring, resuming and report are those of bench/humaneval.py; give both the same --results to
have its single calls in the same table.
"""

from __future__ import annotations

import sys
from pathlib import Path

from codebench.command import Bench, options, perform, switches
from codebench.contenders import FullPipeline

from vwt_agents.errors import VwtError

OFF = {
    "form": "plain",  # the answer form that suits the model: else a free answer
    "samples": "0",  # more candidates when the first does not pass
    "probes": "0",  # agreement between candidates on inputs without expected outputs
    "write_tests": "never",  # tests written by the tester where the task states too few
    "repairs": "0",  # repair with the smallest failing case
    "escalate": "false",  # the large tier when there is no progress
}
"""How each mechanism is switched off, by the name of its input."""


def main() -> int:
    """Measure and report."""
    parser = options(__doc__, "ablation")
    parser.add_argument(
        "--off", nargs="+", metavar="NAME=VALUE", help="inputs that switch a mechanism off, one at a time"
    )
    given = parser.parse_args()
    full = FullPipeline(given.pipeline, tuple(given.inputs))
    try:
        off = given.off if given.off is not None else _known(given.pipeline)
    except VwtError as error:
        parser.error(error.message)
    bench = Bench(
        set=given.set,
        tasks=given.tasks,
        contenders=[full, *(FullPipeline(given.pipeline, (*given.inputs, switch)) for switch in off)],
        model=given.model,
        config=given.config,
        pipeline=given.pipeline,
        results=given.results or Path(f"runs/bench/ablation-{given.set}.jsonl"),
        seed=given.seed,
        against=full.label,
    )
    return perform(bench, only_report=given.report)


def _known(pipeline: Path) -> list[str]:
    """The switches of OFF that the pipeline has; those that it lacks are said."""
    there = switches(pipeline)
    for name in OFF.keys() - there:
        print(f"note: {pipeline.name} has no input {name}", file=sys.stderr)
    return [f"{name}={value}" for name, value in OFF.items() if name in there]


if __name__ == "__main__":
    sys.exit(main())
