"""The measurement: nothing is measured twice, every call is counted, and hidden tests reach no prompt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from codebench.contenders import BestOf, Contender, FullPipeline, SingleCall, contender
from codebench.lab import Lab, bench_settings, open_lab
from codebench.measure import measure, turns
from codebench.records import Record, Records, read_records
from codebench.table import report
from codebench.tasks import Problem, load_problems

from vwt_agents.config import EndpointSettings
from vwt_agents.errors import InputError, UsageError
from vwt_agents.testing import OllamaServer, ServedModel
from vwt_agents.workspace import read_workspace

CODEGEN = Path(__file__).parents[2] / "pipelines" / "codegen.py"
PIPELINE = """
from dataclasses import dataclass

from vwt_agents import Agent, Pipeline, Sandbox, Verdict

pipeline = Pipeline("mini", defaults={"task": "", "tries": 1, "broken": False})


@dataclass
class Proven:
    code: str
    verdict: Verdict


@pipeline.stage
async def draft(coder: Agent, task: str, tries: int) -> str:
    for _ in range(tries):
        code = await coder.ask("Go on.", given=[task])
    return code


@pipeline.stage
async def proven(sandbox: Sandbox, draft: str) -> Proven:
    tests = {"test_a.py": "import solution\\n\\n\\ndef test_it():\\n    assert solution.x\\n"}
    return Proven(draft, await sandbox.test({"solution.py": draft}, tests))


@pipeline.stage
async def after(coder: Agent, proven: Proven, broken: bool) -> str:
    if broken:
        raise KeyError("gone")
    return proven.code
"""


@asynccontextmanager
async def opened(script: Callable[[dict[str, Any]], str], pipeline: Path) -> AsyncIterator[tuple[Lab, OllamaServer]]:
    """A lab on a scripted server, and the server, which has every prompt."""
    ready: list[bool] = []
    async with AsyncExitStack() as stack:
        answer = lambda body: script(body) if ready else "hello"  # noqa: E731
        server = await stack.enter_async_context(OllamaServer({"m:1b": ServedModel(300)}, answer))
        settings = bench_settings("m:1b")
        endpoint = EndpointSettings("embedded", "ollama", "cpu", url=server.url)
        lab = await stack.enter_async_context(open_lab(replace(settings, endpoints={"embedded": endpoint}), pipeline))
        server.calls.clear()  # the one that loaded the model
        ready.append(True)
        yield lab, server


def everybody(pipeline: Path, *inputs: str) -> list[Contender]:
    return [SingleCall("greedy"), SingleCall("chat"), BestOf(2), FullPipeline(pipeline, inputs)]


async def measured(
    lab: Lab, path: Path, problems: list[Problem], contenders: list[Contender], name: str = "own"
) -> list[Record]:
    said: list[str] = []
    with Records(path) as records:
        left = turns(name, problems, contenders, records, "m:1b", 0)
        await measure(lab, left, records, said.append)
        assert len(said) == len(left)
    return read_records(path)


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    path = tmp_path / "mini.py"
    path.write_text(PIPELINE)
    return path


async def test_right_code_passes_and_wrong_code_fails_whatever_its_author_says(tmp_path: Path, mini: Path) -> None:
    (problem,) = load_problems("own", "2")
    right, wrong = problem.hidden.reference, "x = 1\nclass Stack: ...\n"

    def script(body: dict[str, Any]) -> str:
        prefilled = body["messages"][-1]["role"] == "assistant"
        return f"{right}\n```" if prefilled else wrong if "Go on." in str(body) else f"So:\n```python\n{right}```\n"

    async with opened(script, mini) as (lab, _):
        found = {record.contender: record for record in await measured(lab, tmp_path / "r", [problem], everybody(mini))}
    assert {name: record.hidden for name, record in found.items()} == {
        "greedy": True,
        "chat": True,
        "best-of-2": True,
        "mini": False,
    }
    assert [found["mini"].verdict, found["greedy"].verdict] == [True, None]
    assert "mini called 1 of 1 proven: 0 pass the hidden tests" in report(found.values())


async def test_a_folder_is_changed_by_fenced_answers_and_scored_with_its_own_tests(tmp_path: Path) -> None:
    (problem,) = load_problems("folders", "1")
    right = problem.hidden.reference

    def script(body: dict[str, Any]) -> str:
        if "shop/money.py" not in str(body):
            return "nothing"
        prefilled = body["messages"][-1]["role"] == "assistant"
        return f"{right.partition('```python')[2].lstrip()}" if prefilled else f"So:\n\n{right}"

    async with opened(script, CODEGEN) as (lab, server):
        found = await measured(lab, tmp_path / "r", [problem], [SingleCall("greedy"), SingleCall("chat")], "folders")
        assert "def test_total_with_a_discount" in str(server.calls[0])
    assert [(one.hidden, one.visible_passed, one.visible_total) for one in found] == [(True, 3, 3)] * 2


async def test_every_call_is_counted_once_and_nothing_is_measured_twice(tmp_path: Path, mini: Path) -> None:
    problems = load_problems("own", "1-2")
    contenders = [SingleCall("greedy"), BestOf(2), FullPipeline(mini, ["tries=3"])]
    async with opened(lambda _: " ", mini) as (lab, server):
        first = await measured(lab, tmp_path / "r", problems[:1], contenders)
        assert {one.contender: one.calls for one in first} == {"greedy": 1, "best-of-2": 2, "mini tries=3": 3}
        assert len(server.calls) == 6
        both = await measured(lab, tmp_path / "r", problems, contenders)
        assert both[:3] == first
        assert [one.task for one in both[3:]] == ["int_stack"] * 3
        assert len(server.calls) == 12
        assert await measured(lab, tmp_path / "r", problems, contenders) == both
        assert len(server.calls) == 12
    assert all(record.prompt_tokens > record.output_tokens > 0 for record in both)


def secrets(problems: list[Problem]) -> set[str]:
    """Lines that only hidden tests and references have."""
    texts = [text for problem in problems for text in (*problem.hidden.files.values(), problem.hidden.reference)]
    lines = {line.strip() for text in texts for line in text.splitlines() if "assert" in line or "return" in line}
    folders = [problem.task.folder for problem in problems if problem.task.folder is not None]
    seen = [text for folder in folders for text in read_workspace(folder).files.values()]
    seen += [problem.task.text for problem in problems]
    return {line for line in lines if not any(line in text for text in seen)}


async def leaked(folder: Path, name: str, numbers: str, contenders: list[Contender], pipeline: Path) -> list[str]:
    """The secret lines that are in a prompt, where code fails again and again so that every way to a prompt is gone."""
    problems, asked = load_problems(name, numbers), iter(range(10_000))
    answers = ["def words(): return 0", " pass", "assert words('') == []\n\n\ndef test_b():\n    assert 1 == 2\n"]
    async with opened(lambda _: answers[next(asked) % 3], pipeline) as (lab, server):
        await measured(lab, folder / name, problems, contenders, name)
        prompts = [message["content"] for body in server.calls for message in body["messages"]]
    assert len(prompts) >= len(contenders)
    assert len(secrets(problems)) > 2
    return [line for line in secrets(problems) if any(line in prompt for prompt in prompts)]


async def test_no_line_of_a_hidden_test_is_in_any_prompt(tmp_path: Path, mini: Path) -> None:
    assert await leaked(tmp_path, "own", "1", [SingleCall("chat"), FullPipeline(mini)], mini) == []
    assert await leaked(tmp_path, "folders", "1", [SingleCall("chat"), SingleCall("greedy")], mini) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "numbers"), [("own", "0"), ("own", "1"), ("humaneval", "38"), ("humaneval", "2"), ("folders", "1")]
)
async def test_no_line_of_a_hidden_test_is_in_a_prompt_of_the_real_pipeline(
    tmp_path: Path, name: str, numbers: str
) -> None:
    assert await leaked(tmp_path, name, numbers, [FullPipeline(CODEGEN)], CODEGEN) == []


async def test_best_of_n_chooses_by_what_the_task_shows(tmp_path: Path, mini: Path) -> None:
    (problem,) = load_problems("humaneval", "2")  # truncate_number(3.5) gives 0.5
    answers = iter([" return number\n```", " return number % 1.0\n```"])
    async with opened(lambda _: next(answers), mini) as (lab, _):
        (record,) = await measured(lab, tmp_path / "r", [problem], [BestOf(2)], "humaneval")
    assert record.code.endswith("return number % 1.0\n")
    assert (record.hidden, record.visible_passed, record.visible_total) == (True, 1, 1)


async def test_a_stage_that_fails_late_does_not_cost_the_code_there_was(tmp_path: Path, mini: Path) -> None:
    (problem,) = load_problems("own", "2")
    async with opened(lambda _: "x = 1\n", mini) as (lab, _):
        (record,) = await measured(lab, tmp_path / "r", [problem], [FullPipeline(mini, ["broken=true"])])
    assert (record.code, record.verdict, record.hidden) == ("x = 1", True, False)
    assert record.error is not None
    assert "stage 'after' raised KeyError" in record.error


async def test_a_prompt_that_never_fits_is_a_failure_of_the_contender_and_not_the_end(
    tmp_path: Path, mini: Path
) -> None:
    (problem,) = load_problems("own", "2")
    long = replace(problem, task=replace(problem.task, text="many words " * 5000))
    async with opened(lambda _: "x", mini) as (lab, _):
        (record,) = await measured(lab, tmp_path / "r", [long], [SingleCall("chat")])
    assert (record.hidden, record.code, record.calls) == (False, "", 0)
    assert "context" in (record.error or "")


async def test_inputs_a_pipeline_does_not_have_are_refused(mini: Path) -> None:
    async with opened(lambda _: "x", mini) as (lab, server):
        with pytest.raises(InputError, match="trys"):
            FullPipeline(mini, ["trys=3"]).check(lab)
        assert server.calls == []


def test_contenders_are_found_by_name() -> None:
    assert [contender(name, CODEGEN).label for name in ("greedy", "chat", "best-of-8", "pipeline")] == [
        "greedy",
        "chat",
        "best-of-8",
        "pipeline",
    ]
    assert contender("pipeline", CODEGEN, ["samples=2"]).label == "pipeline samples=2"
    assert contender("pipeline", CODEGEN).method != contender("pipeline", CODEGEN, ["samples=2"]).method
    with pytest.raises(UsageError, match="best-of-0"):
        contender("best-of-0", CODEGEN)
