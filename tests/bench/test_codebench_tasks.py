"""The tasks: all there, the hidden tests apart from them, and every hidden suite both passable and not passed by nothing."""

from __future__ import annotations

from dataclasses import fields

import pytest
from codebench.score import Visible, hidden_pass, visible_pass, visible_suite
from codebench.tasks import Problem, Task, load_problems, parse_numbers

from vwt_agents import Sandbox
from vwt_agents.errors import UsageError
from vwt_agents.side_by_side import side_by_side
from vwt_agents.workspace import read_workspace


def test_numbers_are_read_once_and_in_order() -> None:
    assert parse_numbers("9-11, 3,3 ,10", 20) == [3, 9, 10, 11]


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "5-4", "20", "0-20", "1,,2"])
def test_what_is_no_number_of_a_task_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_numbers(text, 20)


def test_humaneval_has_its_164_tasks() -> None:
    problems = load_problems("humaneval")
    assert [problem.task.number for problem in problems] == list(range(164))
    assert all(f"def {problem.task.defines[0]}(" in problem.task.text for problem in problems)


def test_a_check_may_call_what_the_prompt_defines() -> None:
    (problem,) = load_problems("humaneval", "38")
    assert problem.task.defines == ("decode_cyclic",)
    assert "def encode_cyclic" in problem.hidden.files["test_hidden.py"]


def test_a_task_has_no_way_to_its_hidden_tests() -> None:
    assert {field.name for field in fields(Task)} == {"number", "name", "text", "module", "defines", "stub", "folder"}
    for problem in (*load_problems("own"), *load_problems("humaneval"), *load_problems("folders")):
        hidden = [
            line.strip() for text in problem.hidden.files.values() for line in text.splitlines() if "assert" in line
        ]
        assert hidden
        own = read_workspace(problem.task.folder).files.values() if problem.task.folder is not None else ()
        seen = "\n".join([problem.task.text, *own])
        shown = [line for line in hidden if line in seen]  # a test of a folder may begin as one of its own does
        assert len(shown) < len(hidden) / 2 if own else not shown, problem.task.name


def test_our_own_tasks_say_what_to_define() -> None:
    problems = load_problems("own")
    assert len(problems) == 20
    for problem in problems:
        assert all(name in problem.task.text for name in problem.task.defines), problem.task.name
        assert any(
            f"def {name}" in problem.hidden.reference or f"class {name}" in problem.hidden.reference
            for name in problem.task.defines
        )


def test_visible_examples_of_all_functions_are_found() -> None:
    (problem,) = load_problems("own", "0")
    assert len(visible_suite(problem.task)) == 4


async def fair(problems: list[Problem]) -> list[str]:
    """The problems whose reference fails, or whose hidden tests a stub passes."""
    sandbox = await Sandbox.open()

    async def one(index: int) -> bool:
        task, hidden = problems[index].task, problems[index].hidden
        stub = (
            "x"
            if task.folder is not None
            else "".join(f"def {name}(*args, **kwargs):\n    return None\n\n\n" for name in task.defines)
        )
        return await hidden_pass(sandbox, task, hidden, hidden.reference) and not await hidden_pass(
            sandbox, task, hidden, stub
        )

    fine = await side_by_side(one, len(problems))
    return [problem.task.name for problem, good in zip(problems, fine, strict=True) if not good]


async def test_a_task_can_be_solved_and_not_by_a_stub() -> None:
    assert await fair([*load_problems("humaneval", "38"), *load_problems("folders", "0,12")]) == []


async def test_a_folder_s_own_tests_are_what_a_contender_sees_of_it() -> None:
    (problem,) = load_problems("folders", "0")
    sandbox = await Sandbox.open()
    assert await visible_pass(sandbox, problem.task, "no code at all") == Visible(2, 4)
    assert await visible_pass(sandbox, problem.task, problem.hidden.reference) == Visible(4, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own", "humaneval", "folders"])
async def test_every_task_can_be_solved_and_not_by_a_stub(name: str) -> None:
    assert await fair(load_problems(name)) == []
