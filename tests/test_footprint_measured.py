"""What a measurement is worth: made whole, believed or not, kept or not; slots found from what was measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vwt_agents.footprint import (
    Conditions,
    Footprint,
    Measurement,
    ModelShape,
    believed,
    better,
    estimate,
    from_delta,
    overlap,
    shape_from_metadata,
    slots_of,
    spilled,
)

MISTRAL = shape_from_metadata(
    {
        "general.architecture": "llama", "general.file_type": 2, "llama.block_count": 32, "llama.vocab_size": 32768,
        "llama.embedding_length": 4096, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
        "llama.context_length": 32768,
    },
    size_bytes=4_113_000_000,
)  # fmt: skip
EXPECTED = estimate(MISTRAL, num_ctx=4096, slots=4)
ON_GPU = Conditions("d1", 4096, 4, "f16", "ollama 0.33.0", "gpu")
ON_CPU = ON_GPU._replace(device_kind="cpu")
THEN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def seen(mib: int, conditions: Conditions = ON_GPU, *, fitted: int | None = None, later: int = 0) -> Measurement:
    return Measurement(conditions, "mistral:latest", mib, THEN + timedelta(days=later), fitted)


def test_an_engine_reports_its_buffers_and_the_context_of_its_process_comes_on_top() -> None:
    assert believed(EXPECTED, 5950, whole=False) == 5950 + EXPECTED.overhead


def test_where_a_driver_saw_what_was_taken_that_counts() -> None:
    assert believed(EXPECTED, 5950, whole=False, delta=6300) == 6300


def test_what_the_kernel_says_of_a_process_is_all_of_it() -> None:
    assert believed(EXPECTED, 5950, whole=True) == 5950


def test_weights_that_another_process_has_mapped_too_are_not_believed() -> None:
    """As measured: smollm2:135m at 4096 x 4 takes 345 MiB, and 296 while another worker has it too."""
    smollm2 = Footprint(weights=94, kv=192, compute=34, overhead=28, least=257)
    assert believed(smollm2, 345, whole=True) == 345
    assert believed(smollm2, 296, whole=True) is None


@pytest.mark.parametrize("reported", [0, 1, 3850, EXPECTED.least - 1])
def test_less_than_weights_and_kv_cache_is_not_believed(reported: int) -> None:
    """The weights alone, where a log line was missed; half of them, where another process has the same pages."""
    assert believed(EXPECTED, reported, whole=True) is None
    assert believed(EXPECTED, reported, whole=False, delta=9000) is None


@pytest.mark.parametrize(
    ("before", "after", "delta"),
    [(600, 6950, 6350), (600, 6550, 5950), (600, 6600 + 1024, None), (600, 6000, None), (6950, 600, None)],
)
def test_a_drivers_difference_counts_where_nobody_else_can_have_come_or_gone(
    before: int, after: int, delta: int | None
) -> None:
    assert from_delta(before, after, 5950) == delta


def test_a_model_that_spilled_would_have_taken_all_of_its_size_and_a_context() -> None:
    assert spilled(EXPECTED, 9000) == 9000 + EXPECTED.overhead
    assert spilled(EXPECTED, 100) == EXPECTED.total


def test_on_a_gpu_the_newer_counts_and_in_host_memory_the_greater() -> None:
    old, new = seen(6300), seen(6200, later=1)
    assert better(None, new) is new
    assert better(old, new) is new
    old, new = seen(500, ON_CPU), seen(490, ON_CPU, later=1)
    assert better(old, new) is old
    assert better(old, replace(new, mib=510)) == replace(new, mib=510)


@pytest.mark.parametrize("conditions", [ON_GPU, ON_CPU])
def test_that_it_spilled_is_taken_back_only_by_having_been_whole(conditions: Conditions) -> None:
    whole, spilt = seen(6300, conditions), seen(9000, conditions, fitted=5000, later=1)
    assert better(whole, spilt) is spilt
    again = replace(whole, at=THEN + timedelta(days=2))
    assert better(spilt, again) is again


def test_a_measurement_says_its_day() -> None:
    assert seen(1).on == "2026-11-20"


@pytest.mark.parametrize("number", [1, 2, 4, 8])
@pytest.mark.parametrize("off", [-60, 0, 60])
def test_the_slots_a_server_gives_are_found_by_the_kv_cache_in_what_it_took(number: int, off: int) -> None:
    need = estimate(MISTRAL, num_ctx=4096, slots=number)
    found = slots_of(MISTRAL, need.total - need.overhead + off, num_ctx=4096)
    assert found is not None
    assert (found.number, found.sure) == (number, True)
    assert f"{number} x 4096 tokens, 512 MiB a slot" in found.why


def test_slots_are_not_sure_where_what_is_left_over_is_much_of_a_slot() -> None:
    need = estimate(MISTRAL, num_ctx=4096, slots=2)
    found = slots_of(MISTRAL, need.total - need.overhead + 200, num_ctx=4096)
    assert found is not None
    assert (found.number, found.sure) == (2, False)
    small = estimate(MISTRAL, num_ctx=256, slots=2)
    found = slots_of(MISTRAL, small.total - small.overhead, num_ctx=256)
    assert found is not None
    assert not found.sure


@pytest.mark.parametrize(
    ("shape", "size", "num_ctx"),
    [
        (shape_from_metadata({}, size_bytes=4_000_000_000), 6000, 4096),
        (MISTRAL, 1000, 4096),
        (MISTRAL, 6000, 0),
        (replace(MISTRAL, layers=()), 4200, 4096),
    ],
)
def test_no_slots_are_told_where_nothing_explains_the_size(shape: ModelShape, size: int, num_ctx: int) -> None:
    assert slots_of(shape, size, num_ctx=num_ctx) is None


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0.0, 1.0)], 1),
        ([(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)], 1),
        ([(0.0, 1.0), (0.1, 1.1), (1.2, 2.0)], 2),
        ([(0.0, 3.0), (0.1, 2.9), (0.2, 2.8)], 3),
    ],
)
def test_answers_that_are_written_at_the_same_time_have_a_slot_each(
    spans: list[tuple[float, float]], most: int
) -> None:
    assert overlap(spans) == most
