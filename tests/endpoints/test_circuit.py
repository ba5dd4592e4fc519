"""A circuit opens after connections that found nobody, lets one trial through after its back-off, and never counts in step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.endpoints.circuit import Circuit, jitter


def opened(at: float = 0.0) -> Circuit:
    circuit = Circuit("small")
    for moment in (0.0, 2.5, 5.0):
        circuit.failed(at + moment, "refused")
    return circuit


def test_it_opens_at_the_third_failure_in_a_row_and_says_why() -> None:
    circuit = Circuit("small")
    circuit.failed(0, "refused")
    circuit.failed(9, "refused")
    assert (circuit.state, circuit.admits(9)) == ("closed", True)
    circuit.answered()
    circuit.failed(18, "refused")
    assert circuit.state == "closed"
    assert (opened().state, opened().why, opened().admits(5.5)) == ("open", "refused", False)


def test_a_server_has_five_seconds_to_be_started_again_however_many_find_nobody_meanwhile() -> None:
    circuit = Circuit("small")
    for tenth in range(50):
        circuit.failed(tenth / 10, "refused")
    assert circuit.state == "closed"
    circuit.failed(5.0, "refused")
    assert circuit.state == "open"


def test_after_the_back_off_one_trial_goes_through() -> None:
    circuit = opened()
    now = circuit.until
    assert (circuit.admits(now), circuit.admits(now), circuit.state) == (True, False, "half-open")
    circuit.answered()
    assert (circuit.state, circuit.admits(now)) == ("closed", True)


def test_a_trial_that_fails_opens_it_for_longer_up_to_a_bound() -> None:
    circuit, waits = opened(), []
    for _ in range(10):
        now = circuit.until
        assert circuit.admits(now)
        circuit.failed(now, "refused")
        waits.append(circuit.until - now)
    assert waits[:3] == sorted(waits[:3])
    assert max(waits) <= 75


def test_a_trial_that_was_given_up_is_made_again_at_once() -> None:
    circuit = opened()
    now = circuit.until
    circuit.admits(now)
    circuit.abandoned(now)
    assert circuit.admits(now)


@given(st.lists(st.sampled_from(["failed", "answered", "abandoned", "admits"]), max_size=40))
def test_it_is_never_open_for_ever(deeds: list[str]) -> None:
    circuit, now = Circuit("small"), 0.0
    for deed in deeds:
        now += 0.1
        match deed:
            case "failed":
                circuit.failed(now, "refused")
            case "answered":
                circuit.answered()
            case "abandoned":
                circuit.abandoned(now)
            case _:
                circuit.admits(now)
    assert circuit.state == "half-open" or circuit.admits(now + 75)


@given(st.text(), st.integers(0, 9))
def test_jitter_is_the_same_each_time_and_bounded(name: str, number: int) -> None:
    assert 0.75 <= jitter(name, number) == jitter(name, number) <= 1.25
