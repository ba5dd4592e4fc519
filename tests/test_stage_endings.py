"""A stage that ends in an unusual way has failed, by name and line; a run is never called good without one of its stages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from staged import Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.crew import Crew
from vwt_agents.errors import StageFailed
from vwt_agents.graph import build_graph
from vwt_agents.journal import Journal
from vwt_agents.messages import OnChunk, Request, Response
from vwt_agents.pipeline import Fallback, Pipeline
from vwt_agents.report.texts import value_of
from vwt_agents.stage_failures import mine
from vwt_agents.values import decode, jsonable

Body = Callable[[], Awaitable[Any]]


@pytest.fixture
async def staged(tmp_path: Path) -> AsyncIterator[Staged]:
    async with Journal.open(tmp_path / "journal.db") as journal:
        yield Staged(journal, tmp_path)


async def cancelled_task() -> str:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    return str(await task)


async def gathered() -> str:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    return str(await asyncio.gather(task, asyncio.sleep(0)))


async def raised() -> str:
    raise asyncio.CancelledError("enough")


async def within_a_limit() -> str:
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
        raise asyncio.CancelledError


async def own_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return "went on"


async def own_task_at_the_end() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "went on"


async def own_task_and_raises() -> str:
    await own_task_at_the_end()
    raise ValueError("as well")


class Odd(BaseException):
    """No Exception."""


class Wordless(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def odd() -> str:
    raise Odd("mine")


async def closed() -> str:
    raise GeneratorExit


async def group() -> str:
    raise BaseExceptionGroup("several", [GeneratorExit(), ValueError("v")])


async def wordless() -> str:
    raise Wordless


async def left() -> str:
    sys.exit(0)


async def later() -> str:
    return "later"


async def forgot() -> Any:
    return later()


async def lazily() -> Any:
    return (number for number in range(3))


NOT_OURS = "though nobody cancelled the run"
ENDINGS: dict[str, tuple[Body, str]] = {
    "a cancelled task is awaited": (cancelled_task, NOT_OURS),
    "a cancelled task is gathered": (gathered, NOT_OURS),
    "a cancellation is raised": (raised, f"CancelledError: enough, {NOT_OURS}"),
    "a cancellation within a limit": (within_a_limit, NOT_OURS),
    "it cancels its own task": (own_task, NOT_OURS),
    "it cancels its own task, and is done": (own_task_at_the_end, NOT_OURS),
    "it cancels its own task, and raises": (own_task_and_raises, "raised ValueError: as well"),
    "an error that is no Exception": (odd, "raised Odd: mine"),
    "it closes itself": (closed, "raised GeneratorExit"),
    "a group of what is no Exception": (group, "raised GeneratorExit (and 1 more)"),
    "an error without words": (wordless, "raised Wordless: (its text could not be made: RuntimeError)"),
    "exit": (left, "called exit(0)"),
    "a coroutine that nobody awaited": (forgot, "returned a coroutine, which is not a result yet"),
    "a generator": (lazily, "returned a generator, which is not a result yet"),
}


def pipeline_of(body: Body, *, beside: bool, **policy: Any) -> Pipeline:
    """A stage with this body between two others, and one side by side with them where asked for."""
    pipeline = Pipeline("p")

    @pipeline.stage
    async def before() -> str:
        return "before"

    if beside:

        @pipeline.stage
        async def aside() -> str:
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            return "aside"

    @pipeline.stage(**policy)
    async def bad(before: str) -> Any:
        return await body()

    @pipeline.stage
    async def after(bad: Any) -> str:
        return f"after {bad}"

    return pipeline


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize(("body", "words"), ENDINGS.values(), ids=ENDINGS.keys())
async def test_a_stage_that_ends_in_an_unusual_way_has_failed_by_name_and_line(
    staged: Staged, body: Body, words: str, beside: bool
) -> None:
    with pytest.raises(StageFailed) as failed:
        await staged.run(pipeline_of(body, beside=beside))
    assert failed.value.message.startswith("stage 'bad' ")
    assert words in failed.value.message
    assert f"{Path(__file__).name}:" in failed.value.message
    assert staged.status["bad"] == "failed"
    ends = {entry.name: entry.status for entry in await staged.journal.entries(staged.run_id, "stage")}
    assert (ends["bad"], "after" in ends) == ("failed", False)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize(
    "body", [cancelled_task, raised, own_task, own_task_at_the_end, own_task_and_raises, odd, left, forgot]
)
async def test_its_policy_is_about_such_an_end_too(staged: Staged, body: Body, beside: bool) -> None:
    tried = []

    async def counted() -> Any:
        tried.append(1)
        return await body()

    pipeline = pipeline_of(counted, beside=beside, retries=1, backoff="1ms", on_error=Fallback("stands in"))
    values = await staged.run(pipeline)
    assert (values["after"], len(tried)) == ("after stands in", 2)
    assert staged.status["bad"] == "fallback"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("body", [raised, cancelled_task, own_task, odd])
async def test_an_item_that_ends_so_fails_its_stage_and_is_named(staged: Staged, body: Body) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def numbers() -> list[int]:
        return [1, 2, 3]

    @pipeline.stage(each="numbers")
    async def bad(numbers: int) -> int:
        if numbers == 2:
            await body()
        return numbers

    with pytest.raises(StageFailed, match="stage 'bad', item 1, "):
        await staged.run(pipeline)


async def test_an_iterable_that_raises_a_cancellation_fails_the_stage_that_runs_over_it(staged: Staged) -> None:
    class Broken(list[int]):
        def __iter__(self) -> Any:
            raise asyncio.CancelledError

    pipeline = Pipeline("p")

    @pipeline.stage
    async def numbers() -> list[int]:
        return Broken([1])

    @pipeline.stage(each="numbers")
    async def bad(numbers: int) -> int:
        return numbers

    @pipeline.stage
    async def aside() -> str:
        await anyio.lowlevel.checkpoint()
        return "aside"

    with pytest.raises(StageFailed):
        await staged.run(pipeline)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("policy", [{}, {"retries": 3, "on_error": "skip"}], ids=["fail", "forgiving"])
async def test_a_run_that_is_cancelled_is_cancelled_and_no_stage_has_failed(
    staged: Staged, beside: bool, policy: dict[str, Any]
) -> None:
    begun = anyio.Event()

    async def waits() -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(staged.run, pipeline_of(waits, beside=beside, **policy))
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert staged.status["bad"] == "stopped"


async def test_a_task_that_is_cancelled_from_outside_is_cancelled_and_no_stage_has_failed(staged: Staged) -> None:
    begun = anyio.Event()

    async def waits() -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    task = asyncio.ensure_future(staged.run(pipeline_of(waits, beside=False, on_error="skip")))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert staged.status["bad"] == "stopped"


async def test_a_failure_beside_it_stops_a_stage_that_hands_a_cancellation_on(staged: Staged) -> None:
    begun = anyio.Event()
    pipeline = Pipeline("p")

    @pipeline.stage
    async def waits() -> str:
        begun.set()
        return str(await asyncio.ensure_future(asyncio.sleep(60)))

    @pipeline.stage
    async def fails() -> str:
        await begun.wait()
        raise ValueError("first")

    with pytest.raises(StageFailed, match="ValueError: first"):
        await staged.run(pipeline)
    assert staged.status == {"waits": "stopped", "fails": "failed"}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
async def test_a_keyboard_interrupt_in_a_stage_stays_one(staged: Staged, beside: bool) -> None:
    async def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        await staged.run(pipeline_of(interrupted, beside=beside, on_error="skip"))
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, KeyboardInterrupt)


class Hangs(Calls):
    """Its calls end as if somebody had cancelled them."""

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        if on_chunk is not None:
            await super().call(request)
        raise asyncio.CancelledError("the client's own")


@pytest.mark.parametrize("way", ["ask", "map", "sample", "stream"])
async def test_a_call_that_ends_in_a_cancellation_of_nobodys_fails_its_stage(staged: Staged, way: str) -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def bad(coder: Agent) -> Any:
        match way:
            case "ask":
                return await coder.ask("x")
            case "map":
                return await coder.map(["x", "y"])
            case "sample":
                return await coder.sample("x", n=2)
            case _:
                async with coder.stream("x") as pieces:
                    return [piece async for piece in pieces]

    @pipeline.stage
    async def aside() -> str:
        await anyio.lowlevel.checkpoint()
        return "aside"

    with pytest.raises(StageFailed, match="stage 'bad' was ended by CancelledError: the client's own"):
        await staged.run(pipeline, Hangs())


async def test_a_run_is_not_called_good_without_a_stage_that_is_gone(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Crew) -> None:
        pass

    monkeypatch.setattr(Crew, "run", nothing)
    with pytest.raises(StageFailed, match="'before', 'bad', 'after' neither a result nor a failure"):
        await staged.run(pipeline_of(later, beside=False))


async def test_a_stage_that_is_thrown_away_has_not_failed() -> None:
    (stage,) = build_graph(single(later), agents=[]).stages
    failed: list[Exception] = []

    async def turn() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException as error:  # noqa: BLE001 - as the runner does
            failed.append(await mine(stage, error))

    crew = Crew(1)
    crew.add(turn)
    running = crew.run()
    running.send(None)
    running.close()
    assert failed == []


async def looped() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


async def deep() -> Any:
    found: list[Any] = []
    for _ in range(10_000):
        found = [found]
    return found


async def failed_group() -> str:
    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("within")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fails())
        tasks.create_task(asyncio.sleep(60))
    return "never"


async def caught_group() -> str:
    try:
        return await failed_group()
    except* LookupError:
        pass
    return "caught"


GROUP_POLICIES = pytest.mark.parametrize("policy", [{}, {"timeout": "1h"}, {"on_error": "skip"}], ids=str)


@GROUP_POLICIES
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("body", [failed_group, caught_group])
async def test_a_task_group_that_cancelled_its_task_is_no_cancellation_of_the_run(
    staged: Staged, body: Body, policy: dict[str, Any], beside: bool
) -> None:
    task = asyncio.current_task()
    assert task is not None
    with anyio.CancelScope() as around:
        if body is caught_group:
            assert (await staged.run(pipeline_of(body, beside=beside, **policy)))["after"] == "after caught"
        elif "on_error" in policy:
            await staged.run(pipeline_of(body, beside=beside, **policy))
            assert staged.status["bad"] == "skipped"
        else:
            with pytest.raises(StageFailed, match="stage 'bad' raised LookupError: within"):
                await staged.run(pipeline_of(body, beside=beside, **policy))
        assert task.cancelling() == 0
        around.cancel()
        await anyio.lowlevel.checkpoint()
    assert around.cancelled_caught


async def test_the_deadline_of_a_stage_ends_it_after_a_try_with_a_failed_task_group(staged: Staged) -> None:
    tries: list[str] = []

    async def hangs_at_last() -> str:
        tries.append("try")
        if len(tries) == 1:
            return await failed_group()
        await anyio.sleep_forever()
        return "never"

    bad = pipeline_of(hangs_at_last, beside=False, deadline="50ms", retries=1, backoff="1ms")
    with pytest.raises(StageFailed, match="not done within its deadline of 0.05 s"):
        await staged.run(bad)


async def left_generator() -> str:
    async def pieces() -> AsyncIterator[str]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            yield "piece"

    async for piece in pieces():
        return piece
    return ""


async def open_scope() -> str:
    anyio.CancelScope().__enter__()
    return "with a scope that is open"


async def open_scopes() -> str:
    anyio.CancelScope(deadline=anyio.current_time() + 3600).__enter__()
    await anyio.create_task_group().__aenter__()
    await anyio.lowlevel.checkpoint()
    return "with two of them"


LEFT_OPEN = pytest.mark.parametrize("body", [left_generator, open_scope, open_scopes])


@LEFT_OPEN
@pytest.mark.parametrize("policy", [{}, {"timeout": "1h"}, {"deadline": "1h", "retries": 1, "backoff": "1ms"}], ids=str)
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_stage_that_leaves_a_scope_open_has_failed_and_all_scopes_around_it_hold(
    staged: Staged, body: Body, policy: dict[str, Any], beside: bool
) -> None:
    with anyio.CancelScope():  # which could not be left otherwise
        with pytest.raises(StageFailed, match="stage 'bad' has left a cancel scope or a task group open .*py:"):
            await staged.run(pipeline_of(body, beside=beside, **policy))
    assert staged.status["bad"] == "failed"
    assert staged.board.stages["bad"].retries == policy.get("retries", 0)


@LEFT_OPEN
async def test_a_try_that_left_a_scope_open_is_no_fault_of_the_next(staged: Staged, body: Body) -> None:
    tries: list[str] = []

    async def once() -> str:
        tries.append("try")
        return await body() if len(tries) == 1 else "the second"

    assert (await staged.run(pipeline_of(once, beside=False, retries=1, backoff="1ms")))["bad"] == "the second"


async def test_an_error_beside_an_open_scope_is_the_failure(staged: Staged) -> None:
    async def raises() -> str:
        await open_scope()
        raise ValueError("itself")

    with anyio.CancelScope():
        with pytest.raises(StageFailed, match="ValueError: itself"):
            await staged.run(single(raises))


async def test_of_an_error_with_a_very_long_text_its_begin_and_its_end_are_told(staged: Staged) -> None:
    async def long() -> str:
        raise ValueError(f"begin {'x' * 1_000_000} end")

    with pytest.raises(StageFailed) as failed:
        await staged.run(single(long))
    said = failed.value.message
    assert "ValueError: begin xxx" in said
    assert "x end (" in said
    assert "998010 characters left out" in said
    assert len(said) < 2500


@pytest.mark.parametrize("body", [looped, deep])
async def test_a_value_that_cannot_be_written_down_fails_its_stage(staged: Staged, body: Body) -> None:
    with pytest.raises(StageFailed, match="stage 'only' returned what cannot be written down: ValueError: ") as failed:
        await staged.run(single(body))
    assert f"{Path(__file__).name}:" in failed.value.message
    assert staged.status == {"only": "failed"}


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Unspeakable(), "<Unspeakable>"),
        (10**5000, "1" + "0" * 5000),
        (float("nan"), "NaN"),
        ("a\ud800b\0", "a\ud800b\0"),
    ],
    ids=["without words", "a very long number", "no number", "half a surrogate pair"],
)
async def test_a_value_that_json_cannot_say_is_kept_as_text(staged: Staged, value: Any, kept: str) -> None:
    async def odd_value() -> Any:
        return value

    values = await staged.run(single(odd_value))
    assert values["only"] is value
    (end,) = await staged.journal.entries(staged.run_id, "stage")
    assert decode(str(end.payload)) == jsonable(value) == kept
    assert value_of(end) == kept


def single(body: Body) -> Pipeline:
    pipeline = Pipeline("single")

    @pipeline.stage
    async def only() -> Any:
        return await body()

    return pipeline
