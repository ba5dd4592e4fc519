"""A person is asked: at the terminal or from another one, with a default and a time limit, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import pytest
import virtual_time
from staged import Calls, Staged

from vwt_agents.agents import Agent
from vwt_agents.app.answering import answer
from vwt_agents.approval import Approval, approve
from vwt_agents.approvals import Approvals
from vwt_agents.board import Board, StageLine
from vwt_agents.errors import NotApproved, StageFailed, UsageError
from vwt_agents.graph import Stage
from vwt_agents.journal import Journal, default_path
from vwt_agents.past import pending
from vwt_agents.pipeline import Fallback, Pipeline
from vwt_agents.run import Run


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Staged]:
    async with Journal.open(default_path()) as journal:
        yield Staged(journal, tmp_path / "runs")


class Person:
    """Sits at the terminal and gives one answer to every question, once the gate is open."""

    def __init__(self, *, approved: bool, gate: anyio.Event | None = None) -> None:
        self.answer = Approval(approved=approved, by="ann", at=datetime.now(UTC), note="looked at it")
        self.asked: list[tuple[str, bool]] = []
        self.left = 0
        self._gate = gate

    async def __call__(self, question: str, *, default: bool) -> Approval:
        self.asked.append((question, default))
        try:
            if self._gate is not None:
                await self._gate.wait()
        except BaseException:
            self.left += 1
            raise
        return self.answer


def asking(**options: Any) -> Pipeline:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def deliver(run: Run) -> str:
        approval = await run.approve("Deliver?", **options)
        return f"{'yes' if approval else 'no'} by {approval.by}"

    return pipeline


def gated(**policy: Any) -> Pipeline:
    pipeline = Pipeline("p")

    @pipeline.stage(approve="Deliver?", **policy)
    async def deliver() -> str:
        return "delivered"

    @pipeline.stage
    async def after(deliver: str | None) -> str:
        return f"after {deliver}"

    return pipeline


async def reached(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(30):
        while not await condition():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("approved", [True, False])
async def test_the_answer_of_the_terminal_is_journaled_with_who_and_when(runs: Staged, approved: bool) -> None:
    person = Person(approved=approved)
    values = await runs.run(asking(default=True), terminal=person)
    assert values == {"deliver": "yes by ann" if approved else "no by ann"}
    assert person.asked == [("Deliver?", True)]
    assert await runs.events() == ["approval.asked", "approval.given"]
    given = (await runs.journal.entries(runs.run_id, "event"))[-1]
    assert given.started_at == person.answer.at
    assert "looked at it" in runs.said[-1]


async def test_a_resumed_run_does_not_ask_again(runs: Staged) -> None:
    pipeline, calls = Pipeline("p"), Calls(lambda _request: answers.pop())

    @pipeline.stage
    async def deliver(coder: Agent) -> bool:
        approval = await pipeline.approve("Deliver?")
        if await coder.ask("what") == "stop":
            raise ValueError("stopped")
        return bool(approval)

    answers = ["stop"]

    with pytest.raises(StageFailed):
        await runs.run(pipeline, calls, terminal=Person(approved=True))
    answers, person = ["go on"], Person(approved=False)
    assert await runs.resume(pipeline, calls, terminal=person, seed=8) == {"deliver": True}
    assert (person.asked, runs.said[0].startswith("deliver: Deliver? yes, said 20")) == ([], True)


async def test_another_terminal_answers_through_the_journal_and_the_prompt_is_given_up(runs: Staged) -> None:
    person = Person(approved=False, gate=anyio.Event())
    found: list[dict[str, Any]] = []

    async def work() -> None:
        found.append(await runs.run(asking(), terminal=person))

    async def waits() -> bool:
        return bool(runs.run_id and pending(await runs.journal.entries(runs.run_id)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await reached(waits)
        assert runs.board.stages["deliver"].note == "waits for a person: Deliver?"
        told = await answer(runs.run_id, None, approved=True, by="bob", note="fine")
    assert told == f"{runs.run_id}, stage deliver: Deliver? yes"
    assert found == [{"deliver": "yes by bob"}]
    assert person.left == 1
    assert pending(await runs.journal.entries(runs.run_id)) == []


async def test_yes_answers_everything_and_is_journaled(runs: Staged) -> None:
    assert await runs.run(asking(), yes=True) == {"deliver": "yes by --yes"}
    assert await runs.events() == ["approval.given"]


async def test_a_stage_that_is_not_approved_ends_the_run_and_can_be_approved_later(runs: Staged) -> None:
    with pytest.raises(NotApproved, match="'deliver' was not approved by ann: looked at it"):
        await runs.run(gated(), terminal=Person(approved=False))
    await runs.journal.finish_run(runs.run_id, "bad", exit_code=1)
    told = await answer(runs.run_id, "deliver", approved=True, by="bob")
    assert told.endswith(f"go on with it: python -m vwt_agents runs resume {runs.run_id}")
    assert await runs.resume(gated(), terminal=None) == {"deliver": "delivered", "after": "after delivered"}


async def test_a_stage_that_is_not_approved_is_skipped_where_its_policy_says_so(runs: Staged) -> None:
    assert await runs.run(gated(on_error="skip"), terminal=Person(approved=False)) == {"after": "after None"}
    assert runs.status == {"deliver": "skipped", "after": "done"}


async def test_a_fallback_for_a_stage_of_items_that_is_not_approved_is_one_for_each(runs: Staged) -> None:
    pipeline = Pipeline("p", defaults={"names": ["a", "b"]})

    @pipeline.stage(each={"name": "names"}, approve="All of them?", on_error=Fallback("nobody"))
    async def greeted(name: str) -> str:
        return name

    assert await runs.run(pipeline, terminal=Person(approved=False)) == {"greeted": ["nobody", "nobody"]}
    assert await runs.run(pipeline, terminal=Person(approved=True)) == {"greeted": ["a", "b"]}


async def test_another_try_has_the_answers_of_the_first(runs: Staged) -> None:
    pipeline, tries = Pipeline("p"), []

    @pipeline.stage(retries=1, backoff="1ms")
    async def deliver(run: Run) -> str:
        approval = await run.approve("Deliver?")
        tries.append(approval)
        if len(tries) == 1:
            raise ValueError("once more")
        return "done"

    person = Person(approved=True)
    assert await runs.run(pipeline, terminal=person) == {"deliver": "done"}
    assert (len(person.asked), len(tries)) == (1, 2)


async def test_a_stage_that_waits_for_a_person_holds_no_seat(runs: Staged) -> None:
    pipeline, gate, caller = Pipeline("p"), anyio.Event(), Calls()

    @pipeline.stage
    async def deliver(coder: Agent, run: Run) -> str:
        await run.approve("Deliver?")
        return await coder.ask("after")

    @pipeline.stage
    async def other(coder: Agent) -> str:
        answered = await coder.ask("meanwhile")
        gate.set()
        return answered

    with anyio.fail_after(30):
        await runs.run(pipeline, caller, terminal=Person(approved=True, gate=gate), max_agents=1)
    assert caller.prompts == ["meanwhile", "after"]


async def test_a_run_that_is_cancelled_while_it_asks_leaves_nobody_asking(runs: Staged) -> None:
    person = Person(approved=True, gate=anyio.Event())
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            await runs.run(asking(), terminal=person)

        async def asked() -> bool:
            return bool(person.asked)

        tasks.start_soon(work)
        await reached(asked)
        tasks.cancel_scope.cancel()
    assert (person.left, runs.status) == (1, {"deliver": "stopped"})


async def test_questions_are_told_apart_by_their_place(runs: Staged) -> None:
    pipeline = Pipeline("p", defaults={"names": ["a", "b"]})

    @pipeline.stage(each={"name": "names"})
    async def deliver(name: str, run: Run) -> bool:
        first, second = await run.approve(f"First {name}?"), await run.approve(f"Second {name}?")
        return bool(first and second)

    await runs.run(pipeline, yes=True)
    events = await runs.journal.entries(runs.run_id, "event")
    assert sorted(event.key.partition(" of ")[0] for event in events) == [
        "deliver[0]#1",
        "deliver[0]#2",
        "deliver[1]#1",
        "deliver[1]#2",
    ]


async def test_a_yes_is_for_what_was_shown_and_other_values_are_asked_for_anew(runs: Staged) -> None:
    pipeline = Pipeline("p", defaults={"text": "harmless"})

    @pipeline.stage(approve="Deliver?")
    async def deliver(text: str) -> str:
        return text

    await runs.run(pipeline, terminal=Person(approved=True))
    other = Person(approved=False)
    with pytest.raises(NotApproved):
        await runs.fork(pipeline, terminal=other, inputs={"text": "harmful"})
    assert other.asked == [("Deliver?", False)]


async def test_yes_to_everything_goes_over_a_no_that_was_said_before(runs: Staged) -> None:
    with pytest.raises(NotApproved):
        await runs.run(gated(), terminal=Person(approved=False))
    assert (await runs.resume(gated(), yes=True))["deliver"] == "delivered"


async def test_what_is_wrong_with_an_answer_is_said(runs: Staged) -> None:
    await runs.run(asking(), yes=True)
    with pytest.raises(UsageError, match=r"asks nothing \(running\)"):
        await answer(runs.run_id, None, approved=True, by="bob")
    with pytest.raises(UsageError, match="no run 'nix'"):
        await answer("nix", None, approved=True, by="bob")
    with pytest.raises(UsageError, match="outside a stage"):
        await approve("Deliver?")


@pytest.mark.parametrize("default", [True, False])
def test_when_nobody_answers_in_time_the_default_stands(default: bool) -> None:
    async def work() -> None:
        start = anyio.current_time()
        approvals = Approvals("run", None, Board(), past={})
        line = StageLine("deliver", (), ())
        answer = await approvals.ask("k", line, "Deliver?", default=default, patience=600.0)
        assert (answer.approved, answer.by) == (default, "the time limit")
        assert anyio.current_time() - start == pytest.approx(600)

    virtual_time.run(work())


class Alone:
    """The host of a turn that is the only one, and has nothing written down."""

    def __init__(self) -> None:
        self.approvals = Approvals("run", None, Board(), past={})

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def mark(self, _stage: Stage) -> str:
        return ""


def test_the_time_limits_of_a_stage_stand_still_while_a_person_is_waited_for() -> None:
    from vwt_agents.tries import Turn
    from vwt_agents.walk import Node

    async def work() -> None:
        turn = Turn(Alone(), Node("deliver", (), (), stage=Mock(), lacks=0), "", seated=False)
        start = anyio.current_time()
        with turn.limited(10.0) as outer, turn.limited(5.0) as scope:
            async with anyio.create_task_group() as tasks:
                for patience in (100.0, 300.0):

                    async def one(patience: float = patience) -> None:
                        await turn.ask("Deliver?", default=True, patience=patience)

                    tasks.start_soon(one)
            assert anyio.current_time() - start == pytest.approx(300)
            await anyio.sleep(4)
            await anyio.sleep_forever()
        assert (scope.cancelled_caught, outer.cancelled_caught) == (True, False)
        assert anyio.current_time() - start == pytest.approx(305)

    virtual_time.run(work())
