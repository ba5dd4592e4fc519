"""A run takes no more than it may: calls are counted as they are asked for, what they cost once they are over."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import anyio
import pytest

from vwt_agents.board import Board, StageLine
from vwt_agents.entries import request_fingerprint
from vwt_agents.errors import CallFailed, LimitReached
from vwt_agents.journal import Journal
from vwt_agents.journaling import JournalingCaller
from vwt_agents.limits import RunLimits, Spent, deadline_passed
from vwt_agents.messages import Chunk, Heard, Message, OnChunk, Request, Response, Usage

REQUEST = Request("here", "small:1b", (Message("user", "hello"),), num_ctx=2048)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Model:
    """Answers after `seconds` of the clock, `waited` of them in the queue; or gives two pieces and fails."""

    def __init__(
        self, clock: Clock, *, seconds: float = 0.0, waited: float = 0.0, error: Exception | None = None
    ) -> None:
        self.clock, self.seconds, self.waited, self.error = clock, seconds, waited, error
        self.calls = 0
        self.gate: anyio.Event | None = None

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            assert on_chunk is not None
            self.clock.now += self.waited
            on_chunk(Chunk("one"))
            self.clock.now += self.seconds
            on_chunk(Chunk("two"))
            raise self.error
        self.clock.now += self.seconds
        usage = Usage(prompt_tokens=7, output_tokens=3, wait_s=self.waited)
        return Response("yes", request.model, request.endpoint, usage=usage)


def caller(limits: RunLimits, known: Any = None, **model: Any) -> tuple[JournalingCaller, Model, Spent]:
    clock, spent = Clock(), Spent(limits)
    asked = Model(clock, **model)
    line = StageLine("s", ("coder",), ())
    return JournalingCaller(asked, None, "run", line, Board(), known or {}, spent=spent, clock=clock), asked, spent


def test_a_call_beyond_the_last_is_refused_and_not_counted() -> None:
    spent = Spent(RunLimits(max_calls=2))
    spent.begin()
    assert spent.over() is None
    spent.begin()
    with pytest.raises(LimitReached, match="2 calls made, max_calls is 2"):
        spent.begin()
    assert spent.calls == 2


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (RunLimits(max_calls=1), "1 call made, max_calls is 1"),
        (RunLimits(max_tokens=10), "10 tokens used, max_tokens is 10"),
        (RunLimits(max_tokens=9, max_seconds=99), "10 tokens used, max_tokens is 9"),
        (RunLimits(max_seconds=2.5), "2.5 s of model time used, max_seconds is 2.5"),
    ],
)
def test_a_limit_that_is_reached_is_told_in_words(limits: RunLimits, words: str) -> None:
    spent = Spent(limits)
    spent.begin()
    spent.end(10, 2.5)
    assert spent.over() == words


@pytest.mark.parametrize("limits", [RunLimits(), RunLimits(max_calls=2, max_tokens=11, max_seconds=2.6, deadline=1.0)])
def test_below_its_limits_a_run_may_go_on(limits: RunLimits) -> None:
    spent = Spent(limits)
    spent.begin()
    spent.end(10, 2.5)
    assert spent.over() is None


@pytest.mark.parametrize("name", ["max_calls", "max_tokens", "max_seconds"])
def test_the_error_says_how_to_raise_the_limit_and_how_to_go_on(name: str) -> None:
    spent = Spent(RunLimits(**{name: 1}))
    spent.begin()
    spent.end(1, 1.0)
    with pytest.raises(LimitReached) as caught:
        spent.begin()
    assert caught.value.exit_code == 1
    for word in (f"raise {name} in [run]", f"--{name.replace('_', '-')}", "runs resume"):
        assert word in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("seconds", "running", "said"),
    [
        (1800.0, ["draft", "tests"], "the run's deadline of 30 m passed; stages draft, tests running"),
        (5400.0, ["draft"], "the run's deadline of 1.5 h passed; stage draft running"),
        (45.0, [], "the run's deadline of 45 s passed"),
        (0.25, [], "the run's deadline of 0.25 s passed"),
        (61.0, [], "the run's deadline of 61 s passed"),
    ],
)
def test_a_deadline_is_told_as_people_write_it_with_the_stages_it_cut_off(
    seconds: float, running: list[str], said: str
) -> None:
    assert deadline_passed(seconds, running).message == said


def test_what_is_said_for_one_run_goes_over_the_settings_one_by_one() -> None:
    settings = RunLimits(deadline=60.0, max_calls=5)
    assert settings.under(RunLimits(max_calls=9, max_tokens=100)) == RunLimits(60.0, 9, 100)
    assert settings.under(RunLimits()) == settings


def test_only_limits_that_are_set_are_reported() -> None:
    spent = Spent(RunLimits(deadline=60.0, max_tokens=100))
    spent.begin()
    spent.end(10, 2.5)
    assert spent.against(3.0) == {
        "deadline": {"used": 3.0, "limit": 60.0},
        "max_tokens": {"used": 10, "limit": 100},
    }
    assert Spent().against(3.0) == {}


async def test_a_call_costs_its_tokens_and_the_time_it_held_its_slot() -> None:
    run, _model, spent = caller(RunLimits(), seconds=5.0, waited=3.0)
    await run.call(REQUEST)
    assert (spent.calls, spent.tokens, spent.seconds) == (1, 10, 2.0)


async def test_a_call_that_failed_costs_the_pieces_it_gave_and_the_time_since_the_first() -> None:
    run, _model, spent = caller(RunLimits(), seconds=5.0, waited=3.0, error=CallFailed("gone"))
    with pytest.raises(CallFailed):
        await run.call(REQUEST)
    assert (spent.calls, spent.tokens, spent.seconds) == (1, 2, 5.0)


async def test_calls_side_by_side_never_exceed_the_limit() -> None:
    run, model, _spent = caller(RunLimits(max_calls=3))
    model.gate = anyio.Event()
    refused: list[LimitReached] = []

    async def ask() -> None:
        try:
            await run.call(REQUEST)
        except LimitReached as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert (model.calls, len(refused)) == (3, 2)
        model.gate.set()
    assert model.calls == 3


async def test_calls_under_way_may_carry_a_run_beyond_its_tokens_and_then_none_follows() -> None:
    run, model, spent = caller(RunLimits(max_tokens=10))
    model.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(run.call, REQUEST)
        await anyio.wait_all_tasks_blocked()
        model.gate.set()
    assert spent.tokens == 20
    with pytest.raises(LimitReached, match="20 tokens used"):
        await run.call(REQUEST)
    assert model.calls == 2


async def test_a_call_that_waited_until_it_was_too_late_is_not_written_down_as_one_that_failed(tmp_path: Path) -> None:
    class Late:
        async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
            spent.end(10, 0.0)
            Heard.by(on_chunk).begins()
            raise AssertionError("it was made")

    spent = Spent(RunLimits(max_tokens=10))
    async with Journal.open(tmp_path / "journal.db") as journal:
        run = await journal.new_run("p")
        late = JournalingCaller(Late(), journal, run, StageLine("s", ("coder",), ()), Board(), {}, spent=spent)
        with pytest.raises(LimitReached, match="10 tokens used"):
            await late.call(REQUEST)
        assert list(await journal.entries(run)) == []


async def test_a_replayed_answer_costs_nothing_and_is_given_beyond_every_limit() -> None:
    old = Response("old", "small:1b", "here", usage=Usage(prompt_tokens=50), replayed=True)
    run, model, spent = caller(RunLimits(max_calls=1), {request_fingerprint(REQUEST): deque([old, old])})
    assert [(await run.call(REQUEST)).text for _ in range(3)] == ["old", "old", "yes"]
    assert (spent.calls, spent.tokens, model.calls) == (1, 10, 1)
    with pytest.raises(LimitReached):
        await run.call(REQUEST)
