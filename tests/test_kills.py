"""Nothing finished is done twice or lost, whatever dies: runs are killed, and disks are full, at random moments.

Every time the run is gone on with and ends as an undisturbed one does: the same outputs and files; no call that was in the
journal is asked for again; no delivered file is ever half there. See `killing.py`.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from killing import a_place, killed_until_it_ends

DISK = 4_000_000  # bytes


def killed(folder: Path, pipeline: str, seed: int, times: int, most: int) -> int:
    """How often runs of a pipeline were killed in a folder, `times` or a few more; never more than `most` times each."""
    random_, kills = random.Random(seed), 0
    with a_place(folder, pipeline) as place:
        while kills < times:
            kills += killed_until_it_ends(place, random_, min(most, times - kills))
    return kills


def side_by_side(*works: Callable[[], int]) -> int:
    """The sum of what they give."""
    with ThreadPoolExecutor(len(works)) as pool:
        return sum(future.result() for future in [pool.submit(work) for work in works])


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path):
    assert killed(tmp_path / "a", "trimmed.py", seed=3, times=2, most=2) == 2


@pytest.mark.slow
def test_runs_killed_at_300_random_moments_end_as_if_nothing_had_been(tmp_path):
    kills = side_by_side(
        lambda: killed(tmp_path / "a", "trimmed.py", seed=1, times=130, most=6),
        lambda: (
            killed(tmp_path / "b", "trimmed.py", seed=2, times=130, most=6)
            + killed(tmp_path / "c", "codegen.py", seed=3, times=40, most=5)
        ),
    )
    assert kills == 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_disk_that_is_full_at_random_writes_ends_a_run_clearly_and_loses_nothing(tmp_path, seed):
    """In a file system of its own, which takes no rights where user namespaces are allowed."""
    wrapped = ["bwrap", "--dev-bind", "/", "/", "--size", str(DISK), "--tmpfs", str(tmp_path)]
    try:
        works = subprocess.run([*wrapped, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        pytest.skip("bubblewrap does not work here")
    here = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [*wrapped, sys.executable, str(here), str(tmp_path), str(seed), "25"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 25
