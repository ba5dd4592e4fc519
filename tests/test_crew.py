"""A crew does every turn, in as few tasks as that takes, and no turn notices which."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import anyio
import pytest

from vwt_agents.crew import Crew

mood: ContextVar[str] = ContextVar("mood", default="calm")


async def test_turns_that_never_wait_are_done_in_their_order_by_two_tasks() -> None:
    crew, done, tasks = Crew(1), [], set()

    async def turn(number: int) -> None:
        done.append(number)
        tasks.add(asyncio.current_task())

    for number in range(100):
        crew.add(turn, number)
    await crew.run()
    assert done == list(range(100))
    assert len(tasks) <= 2


async def test_a_chain_of_turns_is_done_in_the_task_that_runs_it_also_when_they_wait() -> None:
    crew, tasks = Crew(1), []

    async def turn(left: int) -> None:
        await anyio.lowlevel.checkpoint()
        tasks.append(asyncio.current_task())
        if left:
            crew.add(turn, left - 1)

    crew.add(turn, 5)
    await crew.run()
    assert tasks == [asyncio.current_task()] * 6


async def test_a_turn_that_waits_holds_up_no_other() -> None:
    crew, gate = Crew(1), anyio.Event()
    done: list[str] = []

    async def waiting(name: str) -> None:
        await gate.wait()
        done.append(name)

    async def last() -> None:
        done.append("last")
        gate.set()

    for name in "ab":
        crew.add(waiting, name)
    crew.add(last)
    with anyio.fail_after(5):
        await crew.run()
    assert done == ["last", "a", "b"]


async def test_at_most_limit_of_the_limited_turns_are_at_work_and_the_others_are_not_counted() -> None:
    crew, gate = Crew(2), anyio.Event()
    at_work, peak, free = 0, 0, 0

    async def limited() -> None:
        nonlocal at_work, peak
        at_work += 1
        peak = max(peak, at_work)
        await gate.wait()
        at_work -= 1

    async def unlimited() -> None:
        nonlocal free
        free += 1
        if free == 3:
            gate.set()

    for _ in range(5):
        crew.add(limited, limited=True)
    for _ in range(3):
        crew.add(unlimited)
    with anyio.fail_after(5):
        await crew.run()
    assert (peak, at_work, free) == (2, 0, 3)


async def test_what_a_turn_sets_in_its_context_is_seen_by_itself_after_a_wait_and_by_no_other() -> None:
    crew, seen = Crew(1), []

    async def turn(name: str) -> None:
        before = mood.get()
        mood.set(name)
        await anyio.lowlevel.checkpoint()
        seen.append((before, mood.get()))

    for name in "abc":
        crew.add(turn, name)
    await crew.run()
    assert sorted(seen) == [("calm", "a"), ("calm", "b"), ("calm", "c")]
    assert mood.get() == "calm"


async def test_a_turn_may_have_scopes_tasks_and_timeouts_of_its_own() -> None:
    crew, seen = Crew(1), []

    async def turn() -> None:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.lowlevel.checkpoint)
        seen.append(scope.cancelled_caught)

    crew.add(turn)
    crew.add(turn)
    await crew.run()
    assert seen == [True, True]


async def test_stopping_cancels_those_at_work_and_begins_no_other() -> None:
    crew = Crew(1)
    told: list[str] = []

    async def patient() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            told.append("cancelled")
            raise

    async def stopper() -> None:
        crew.stop()

    async def never() -> None:
        told.append("begun")

    crew.add(patient)
    crew.add(stopper)
    crew.add(never, limited=True)
    crew.add(never, limited=True)
    await crew.run()
    assert told == ["cancelled"]


async def test_a_turn_that_raises_ends_the_others() -> None:
    crew = Crew(1)

    async def broken() -> None:
        raise ValueError("no such luck")

    crew.add(anyio.sleep_forever)
    crew.add(broken)
    with pytest.raises(ExceptionGroup) as caught:
        await crew.run()
    assert caught.group_contains(ValueError, match="no such luck")


async def test_turns_that_never_wait_leave_the_loop_to_others_now_and_then() -> None:
    crew, seen = Crew(1), anyio.Event()
    turns = 0

    async def again() -> None:
        nonlocal turns
        turns += 1
        if not seen.is_set() and turns < 10_000_000:
            crew.add(again)

    async def other() -> None:
        seen.set()

    crew.add(again)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        tasks.start_soon(crew.run)
        tasks.start_soon(anyio.lowlevel.checkpoint)
    assert turns < 10_000_000
