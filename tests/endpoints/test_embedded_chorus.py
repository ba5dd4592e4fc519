"""Calls that differ by their seeds alone are one request to the engine, and each hears its own answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from vwt_agents.endpoints.embedded.chorus import Chorus
from vwt_agents.endpoints.embedded.translation import Refused

TIMINGS = {"prompt_n": 40, "cache_n": 2, "prompt_ms": 9.0, "predicted_n": 1}


class Script:
    """An engine: one piece and an end for each answer, the last one first; `gate` holds it back."""

    def __init__(self, native: Mapping[str, Any]) -> None:
        self.native = dict(native)
        self.gate = threading.Event()
        self.cut = threading.Event()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        self.gate.wait(10)
        for index in reversed(range(self.native.get("n", 1))):
            seed = self.native["seed"] + index
            yield {"choices": [{"index": index, "delta": {"content": f"from {seed}"}}]}
            yield {"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}
            yield {"choices": [], "timings": TIMINGS}

    def shutdown(self, _how: int) -> None:
        self.cut.set()
        self.gate.set()


class Engine:
    def __init__(self, *, error: Exception | None = None, held: bool = False) -> None:
        self.asked: queue.SimpleQueue[Script] = queue.SimpleQueue()
        self.requests: list[Script] = []
        self.error, self.held = error, held

    @contextmanager
    def ask(self, native: dict[str, Any]) -> Iterator[Script]:
        if self.error is not None:
            raise self.error
        script = Script(native)
        self.requests.append(script)
        if not self.held:
            script.gate.set()
        self.asked.put(script)
        yield script


def sing(chorus: Chorus, seeds: list[int], size: int, **native: Any) -> dict[int, Any]:
    heard: dict[int, Any] = {}

    def one(seed: int) -> None:
        try:
            with chorus.join({"messages": ["hi"], "seed": seed, **native}, size) as events:
                heard[seed] = list(events)
        except Exception as error:  # noqa: BLE001
            heard[seed] = error

    threads = [threading.Thread(target=one, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return heard


def test_who_belongs_together_is_one_request_and_hears_what_it_would_hear_alone() -> None:
    engine = Engine()
    heard = sing(Chorus(engine.ask, patience=10), [8, 7, 9], 3)
    (request,) = engine.requests
    assert (request.native["seed"], request.native["n"]) == (7, 3)
    for seed in (7, 8, 9):
        pieces = [choice["delta"].get("content") for event in heard[seed] for choice in event["choices"]]
        assert pieces == [f"from {seed}", None]


def test_the_prompt_s_tokens_are_the_first_answer_s_alone() -> None:
    heard = sing(Chorus(Engine().ask, patience=10), [7, 8], 2)
    assert heard[7][-1]["timings"] == TIMINGS
    assert heard[8][-1]["timings"] == {**TIMINGS, "prompt_n": 0, "cache_n": 0, "prompt_ms": 0.0}


def test_seeds_that_do_not_follow_one_another_are_requests_of_their_own() -> None:
    engine = Engine()
    sing(Chorus(engine.ask, patience=10), [1, 5, 6], 3)
    assert sorted((one.native["seed"], one.native.get("n")) for one in engine.requests) == [(1, None), (5, 2)]


def test_one_who_waits_for_others_in_vain_goes_alone() -> None:
    engine = Engine()
    heard = sing(Chorus(engine.ask, patience=0.01), [4], 3)
    assert "n" not in engine.requests[0].native
    assert len(heard[4]) == 3


def test_other_prompts_are_not_joined() -> None:
    engine = Engine()
    chorus = Chorus(engine.ask, patience=0.01)
    first = threading.Thread(target=sing, args=(chorus, [1], 2), kwargs={"stop": ["x"]})
    first.start()
    sing(chorus, [2], 2, stop=["y"])
    first.join(10)
    assert all("n" not in one.native for one in engine.requests)


@pytest.mark.parametrize("error", [Refused(400, "too long"), ConnectionError("gone")])
def test_what_goes_wrong_is_told_to_all(error: Exception) -> None:
    heard = sing(Chorus(Engine(error=error).ask, patience=10), [1, 2], 2)
    assert heard == {1: error, 2: error}


def test_one_who_leaves_takes_nothing_from_the_others_and_the_last_one_ends_the_request() -> None:
    engine = Engine(held=True)
    chorus = Chorus(engine.ask, patience=10)
    inside, leave, left = (
        threading.Barrier(3),
        [threading.Event(), threading.Event()],
        [threading.Event(), threading.Event()],
    )

    def stay(number: int) -> None:
        with chorus.join({"messages": [], "seed": number}, 2):
            inside.wait(10)
            leave[number].wait(10)
        left[number].set()

    threads = [threading.Thread(target=stay, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    request = engine.asked.get(timeout=10)
    leave[0].set()
    assert left[0].wait(10)
    assert not request.cut.is_set()
    leave[1].set()
    assert request.cut.wait(10)
    for thread in threads:
        thread.join(10)
