"""Whatever an Ollama server does wrong, and whenever: every call ends once, in time, and the budget is kept."""

from __future__ import annotations

import pytest
from fault_play import Told, play
from virtual_time import run


def _all_promises_hold(seeds: range) -> None:
    for seed in seeds:
        told = Told()
        try:
            run(play(seed, told))
        except BaseException as error:
            error.add_note(f"schedule {seed}:\n{told}")
            raise


def test_every_call_ends_once_and_in_time_under_sixty_random_fault_schedules() -> None:
    _all_promises_hold(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2000, 100))
def test_every_call_ends_once_and_in_time_under_two_thousand(first: int) -> None:
    _all_promises_hold(range(first, first + 100))
