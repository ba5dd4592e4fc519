"""The measurement itself: each contender's answer to each task, scored and written down before the next one begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebench.contenders import Answer
from codebench.records import Key, Record
from codebench.score import hidden_pass, visible_pass
from vwt_agents.errors import CallFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codebench.contenders import Contender
    from codebench.lab import Lab, Tally
    from codebench.records import Records
    from codebench.tasks import Problem, Task

__all__ = ["Turn", "measure", "turns"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement that is still to be made."""

    problem: Problem
    contender: Contender
    key: Key
    method: str


def turns(
    name: str, problems: Sequence[Problem], contenders: Sequence[Contender], records: Records, model: str, seed: int
) -> list[Turn]:
    """What is not in the records yet, task by task.

    The contender that goes first changes from task to task, because the later ones find the prompt in the engine's cache.
    """
    left = []
    methods = {contender.label: contender.method for contender in contenders}
    for problem in problems:
        first = problem.task.number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            key = Key(name, problem.task.name, contender.label, model, seed)
            method = f"{methods[contender.label]} on {problem.fingerprint}"
            if not records.has(key, method):
                left.append(Turn(problem, contender, key, method))
    return left


async def measure(lab: Lab, left: Sequence[Turn], records: Records, say: Callable[[str], None]) -> None:
    """Make the measurements in order. An error of the outside world ends it; what was measured until then is kept."""
    for number, turn in enumerate(left, 1):
        answer, tally, seconds = await _answer(turn.contender, turn.problem.task, lab)
        record = await _scored(turn, answer, tally, seconds, lab)
        records.add(record)
        word = "passed" if record.hidden else "failed"
        spent = f"{record.calls} calls, {record.tokens} tokens, {record.seconds:.1f} s"
        say(f"{number}/{len(left)} {record.task} {record.contender}: {word} ({spent})")


async def _answer(contender: Contender, task: Task, lab: Lab) -> tuple[Answer, Tally, float]:
    """A call that breaks is tried again once, from the start; then it is the contender's failure (a prompt too long)."""
    for last in (False, True):
        tally, began = lab.meter.begin(), time.monotonic()
        try:
            answer = await contender.answer(task, lab)
        except CallFailed as error:
            if not last:
                continue
            answer = Answer("", error=error.message)
        break
    return answer, tally, time.monotonic() - began


async def _scored(turn: Turn, answer: Answer, tally: Tally, seconds: float, lab: Lab) -> Record:
    task, code = turn.problem.task, answer.code
    visible = await visible_pass(lab.sandbox, task, code)
    hidden = bool(code.strip()) and await hidden_pass(lab.sandbox, task, turn.problem.hidden, code)
    return Record(
        **turn.key._asdict(),
        method=turn.method,
        hidden=hidden,
        visible_passed=visible.passed,
        visible_total=visible.total,
        verdict=answer.verdict,
        calls=tally.calls,
        prompt_tokens=tally.prompt_tokens,
        evaluated_tokens=tally.evaluated_tokens,
        output_tokens=tally.output_tokens,
        seconds=round(seconds, 3),
        code=code,
        error=answer.error,
    )
