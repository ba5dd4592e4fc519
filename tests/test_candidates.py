"""Of several programs the one is taken that holds what the task states, and of equals the one the others agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from vwt_agents.candidates import Candidates
from vwt_agents.examples import Example
from vwt_agents.sandbox.observe import observe
from vwt_agents.sandbox.service import Sandbox
from vwt_agents.suites import TestSuite

GIVEN = TestSuite("f").with_examples([Example("f(1)", "2"), Example("f(2)", "4")])
WRITTEN = "def test_three():\n    assert f(3) == 6\n\n\ndef test_wrong():\n    assert f(5) == 11\n"


def program(body: str) -> dict[str, str]:
    return {"f.py": f"def f(x):\n    {body}\n"}


@pytest.fixture
async def sandbox() -> Sandbox:
    return await Sandbox.open()


async def test_what_the_task_states_comes_before_everything(sandbox: Sandbox) -> None:
    bench = Candidates(sandbox, GIVEN)
    best = await bench.judge([program("return 2"), program("return x + x"), program("return nothing")])
    assert best.files == program("return x + x")
    assert (best.passed, best.given_passed, len(bench)) == (True, 2, 3)


async def test_a_program_is_judged_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Candidates(sandbox, GIVEN)
    first = await bench.judge([program("return x * 2"), program("return x * 2")])
    monkeypatch.setattr(Sandbox, "test", None)  # would fail now
    assert await bench.judge([program("return x * 2")]) is first
    assert len(bench) == 1


async def test_of_those_equal_on_the_examples_the_one_the_others_agree_with_is_taken(sandbox: Sandbox) -> None:
    weak = TestSuite("f").with_examples([Example("f(0)", "0")])
    bench = Candidates(sandbox, weak, signature="def f(x: int) -> int:")
    best = await bench.judge([program("return x ** 3"), program("return 2 * x"), program("return x + x")])
    assert best.files == program("return 2 * x")
    alone = Candidates(sandbox, weak, probes=0)
    assert (await alone.judge([program("return x ** 3"), program("return 2 * x"), program("return x + x")])).files == (
        program("return x ** 3")
    )


async def test_a_program_is_tried_on_new_inputs_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    async def counted(box: Sandbox, module: str, programs: Sequence[Mapping[str, str]], calls: Sequence[str]) -> Any:
        tried.append(len(programs))
        return await observe(box, module, programs, calls)

    monkeypatch.setattr("vwt_agents.candidates.observe", counted)
    weak = TestSuite("f").with_examples([Example("f(0)", "0")])
    bench = Candidates(sandbox, weak, signature="def f(x: int) -> int:")
    await bench.judge([program("return x ** 3"), program("return x + x + x"), program("return 2 * x")])
    best = await bench.judge([program("return x + x")])
    assert (best.files, best.agreement) == (program("return 2 * x"), 0.333)
    assert tried == [3, 1]


async def test_a_written_test_no_good_program_agrees_with_is_left_out_and_named(sandbox: Sandbox) -> None:
    bench = Candidates(sandbox, GIVEN.with_written(WRITTEN))
    await bench.judge([program("return x * 2")])
    assert not bench.best.passed  # one program alone is no reason to doubt a test
    best = await bench.judge([program("return x + x")])
    assert (best.passed, bench.disputed) == (True, ("test_wrong",))
    assert [case.name for case in bench.suite.written] == ["test_three"]


async def test_the_smallest_failure_is_the_one_to_repair_by(sandbox: Sandbox) -> None:
    bench = Candidates(sandbox, GIVEN)
    best = await bench.judge([program("return x + 7 if x == 2 else 0")])
    assert best.smallest_failure is not None
    assert not best.passed


async def test_before_any_was_judged_there_is_no_best(sandbox: Sandbox) -> None:
    with pytest.raises(LookupError):
        _ = Candidates(sandbox, GIVEN).best
