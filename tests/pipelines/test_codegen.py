"""The codegen pipeline asks for no more than it needs: a draft, samples while none holds, repairs, the large tier."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vwt_agents import Run, Sandbox, TestSuite
from vwt_agents.agents import Agent
from vwt_agents.board import Board, StageLine
from vwt_agents.config import AgentSettings
from vwt_agents.journaling import JournalingCaller
from vwt_agents.limits import Spent
from vwt_agents.messages import OnChunk, Request, Response, Usage
from vwt_agents.routing import Route
from vwt_agents.run import RunFolder
from vwt_agents.stage_scope import StageScope

LARGE = Route("s", "coder", "large", "e", "qwen2.5-coder:14b", "cpu", 2048, 1, 600, "", "escalated")
SMALL = Route("s", "coder", "small", "e", "qwen2.5-coder:7b", "cpu", 2048, 4, 300, "", "small", escalated=LARGE)

STUB = """\
def double(x: int) -> int:
    '''Twice x.

    >>> double(1)
    2
    >>> double(2)
    4
    >>> double(5)
    10
    '''
"""
RIGHT, WRONG = " return x + x", " return x + 1"
MODULE = "def double(x: int) -> int:\n    return x + x\n"


@pytest.fixture(scope="module")
def codegen() -> ModuleType:
    path = Path(__file__).parents[2] / "pipelines/codegen.py"
    spec = importlib.util.spec_from_file_location("codegen_pipeline", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Desk:
    """One stage's agent and run, answered by `answer`; keeps the requests."""

    def __init__(self, answer: Callable[[Request, int], str], folder: Path) -> None:
        self.requests: list[Request] = []
        self._answer = answer
        self.scope = StageScope("run", "stage", 7, can_escalate=True)
        self._line = StageLine("stage", (), ())
        self._board = Board()
        self.run = Run("run", self.scope, line=self._line, board=self._board, journal=None, folder=RunFolder(folder))

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        self.requests.append(request)
        text = self._answer(request, len(self.requests))
        return Response(
            text, request.model, request.endpoint, usage=Usage(prompt_tokens=100, output_tokens=20, cached_tokens=90)
        )

    def agent(self, model: str = "qwen2.5-coder:7b") -> Agent:
        caller = JournalingCaller(self, None, "run", self._line, self._board, {}, spent=Spent())
        return Agent(AgentSettings("coder"), replace(SMALL, model=model), caller=caller, scope=self.scope)


@pytest.fixture
async def sandbox() -> Sandbox:
    return await Sandbox.open()


async def prove(codegen: ModuleType, desk: Desk, sandbox: Sandbox, task: str = STUB, **inputs: Any) -> Any:
    coder = desk.agent()
    brief = await codegen.brief(coder, task)
    draft = await codegen.draft(coder, task, brief, inputs.get("form", "auto"))
    suite = inputs.pop("suite", brief.given)
    return await codegen.proven(coder, sandbox, desk.run, task, brief, draft, suite, **inputs)


async def test_a_draft_that_holds_is_the_only_call(codegen: ModuleType, sandbox: Sandbox, tmp_path: Path) -> None:
    desk = Desk(lambda _request, _n: RIGHT, tmp_path)
    result = await prove(codegen, desk, sandbox)
    (request,) = desk.requests
    assert (result.verdict.passed, result.verdict.tests_passed) == (True, 3)
    assert request.prefill == f"```python\n{STUB.strip()}\n   "
    assert "Twice x" not in request.messages[-2].content  # the stub stands in the answer's beginning already
    assert request.options.temperature == 0.0


async def test_samples_come_a_round_at_a_time_and_end_with_the_first_that_holds(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    desk = Desk(lambda _request, n: RIGHT if n == 3 else WRONG, tmp_path)
    result = await prove(codegen, desk, sandbox)
    assert result.verdict.passed
    assert len(desk.requests) == 1 + codegen.ROUND
    drafted, *sampled = desk.requests
    assert {request.messages for request in sampled} == {drafted.messages}  # one prompt, read once by the engine
    assert len({request.options.seed for request in sampled}) == codegen.ROUND
    assert all(request.options.temperature == 0.7 for request in sampled)


async def test_later_samples_are_asked_for_in_another_form_and_then_the_best_is_repaired(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    def answer(request: Request, n: int) -> str:
        repairing = any("This code is wrong" in message.content for message in request.messages)
        return MODULE if repairing else f" return {n}" if request.prefill.endswith("   ") else "```python\nx = 1\n```"

    desk = Desk(answer, tmp_path)
    result = await prove(codegen, desk, sandbox, samples=5, repairs=1)
    assert result.verdict.passed
    assert len(desk.requests) == 1 + 5 + 1
    free, *others = desk.requests[3:6]
    assert (free.prefill, free.options.temperature) == ("", 0.0)
    assert f"```python\n{STUB.strip()}\n```" in free.messages[-1].content
    assert [request.prefill for request in others] == ["```python\n"] * 2
    assert len({request.messages[-2].content for request in others}) == 2  # two approaches
    assert "double(" in desk.requests[-1].messages[-2].content  # the failure that is shown


async def test_without_progress_the_calls_go_to_the_large_tier(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    desk = Desk(lambda _request, _n: WRONG, tmp_path)
    result = await prove(codegen, desk, sandbox, samples=6, repairs=2)
    assert not result.verdict.passed
    assert [request.model for request in desk.requests[-1:]] == ["qwen2.5-coder:14b"]
    desk = Desk(lambda _request, _n: WRONG, tmp_path)
    await prove(codegen, desk, sandbox, samples=6, repairs=2, escalate=False)
    assert {request.model for request in desk.requests} == {"qwen2.5-coder:7b"}


def test_rounds_are_full_ones_and_one_of_a_single_answer_after_the_first(codegen: ModuleType) -> None:
    sizes = [[len(each) for each in codegen.rounds_of(samples)] for samples in range(8)]
    assert sizes == [[], [1], [2], [2, 1], [2, 1, 1], [2, 1, 2], [2, 1, 2, 1], [2, 1, 2, 2]]


@pytest.mark.parametrize(
    ("spend", "calls"), [({"max_calls": 4}, 4), ({"max_tokens": 100}, 4), ({"samples": 0, "repairs": 0}, 1)]
)
async def test_what_may_be_spent_is_kept_to_and_the_best_so_far_is_the_result(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path, spend: dict[str, int], calls: int
) -> None:
    desk = Desk(lambda _request, _n: WRONG, tmp_path)
    result = await prove(codegen, desk, sandbox, **spend)
    assert len(desk.requests) == calls
    assert "return x + 1" in result.code
    assert not result.verdict.passed


async def test_the_plain_form_takes_the_code_from_a_fenced_block(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    desk = Desk(lambda _request, _n: f"Sure:\n\n```python\n{MODULE}```\nDone.", tmp_path)
    result = await prove(codegen, desk, sandbox, form="plain")
    assert result.code == MODULE
    assert desk.requests[0].prefill == ""
    assert "Twice x" in desk.requests[0].messages[0].content


async def test_tests_are_written_only_where_the_task_states_few_and_those_a_stub_passes_are_left_out(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    body = "    assert double({0}) {1}\n\n\n"
    written = "".join(
        f"{'' if name == 'one' else 'def test_'}{name}():\n{body.format(*said)}"
        for name, said in {
            "one": (3, "== 6"),
            "empty": (3, "is not None"),
            "more": (-1, "== -2"),
            "zero": (0, "== 0"),
        }.items()
    )
    desk = Desk(lambda _request, _n: written, tmp_path)
    tester = desk.agent()
    brief = await codegen.brief(tester, STUB)
    assert await codegen.tests(tester, sandbox, STUB, brief, "auto") == brief.given
    few = await codegen.brief(tester, "Write `double(x: int) -> int`.\ndouble(1) => 2\n")
    suite = await codegen.tests(tester, sandbox, "...", few, "auto")
    assert [case.name for case in suite.written] == ["test_one", "test_more", "test_zero"]
    assert len(desk.requests) == 1
    assert await codegen.tests(tester, sandbox, "...", few, "never") == few.given
    assert len((await codegen.tests(tester, sandbox, STUB, brief, "always")).written) == 3


async def test_a_task_that_names_nothing_costs_one_call_for_the_head(
    codegen: ModuleType, sandbox: Sandbox, tmp_path: Path
) -> None:
    desk = Desk(lambda _request, _n: "twice(x: int) -> int:", tmp_path)
    brief = await codegen.brief(desk.agent(), "Something that doubles a number.")
    assert (brief.function, brief.signature, len(desk.requests)) == ("twice", "def twice(x: int) -> int:", 1)
    assert isinstance(brief.given, TestSuite)
