"""Write a Python module for a task, and prove it with tests.

Examples in the task (`f(1) => 2`, doctests, tables) are tests nobody may drop. Where the task states few, a tester, who does not
see the code, writes more. Code is called done when all tests have passed in the sandbox; if they don't, the run ends with
exit code 1.

    python -m vwt_agents run pipelines/codegen.py -i task=@task.md

One greedy answer first, and nothing more where it holds. Else samples, a few at a time, until one does; of equals the one that
most others agree with on new inputs; then repairs; without progress the calls go to the large tier. Each of these can be
switched off by an input, so its worth can be measured (`bench/ablation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vwt_agents import (
    PLAIN,
    Agent,
    AnswerForm,
    Candidate,
    Candidates,
    Pipeline,
    Run,
    Sandbox,
    TestSuite,
    Verdict,
    answer_form,
    extract_code,
    find_examples,
    find_signature,
    find_stub,
    function_name,
    function_names,
    module_source,
    stub_of,
)

DEFAULT_TASK = """\
Write `to_roman(number: int) -> str`, which gives the Roman numeral of a number from 1 to 3999 and raises ValueError for any
other number.

to_roman(4) => "IV"
to_roman(1994) => "MCMXCIV"
to_roman(3999) => "MMMCMXCIX"
to_roman(0) raises ValueError
"""

ENOUGH = 2  # examples in the task from which on no written tests are asked for, unless write_tests=always
SUITE = 4  # tests, given and written, that a verdict should rest on where the task states too few
ROUND = 3  # samples at a time: fewer waste less once one is good, more share one reading of the prompt
APPROACHES = (
    "",
    "Use a plain loop, one step at a time.",
    "Handle each rule of the task in a step of its own.",
    "Use what itertools, collections, math or re offer.",
)
"""A sample is made different by its approach, not by temperature alone."""

pipeline = Pipeline(
    "codegen",
    doc="Write a module for a task, and prove it with tests.",
    defaults={"task": DEFAULT_TASK},
)


@dataclass(frozen=True)
class Brief:
    """What the task says that needs no model to be read: the function, its head, the given tests."""

    function: str
    signature: str | None
    stub: str | None
    whole: bool  # the stub is the whole task: a prompt need not say it twice
    given: TestSuite


@dataclass(frozen=True)
class Proven:
    """The best code, the tests it was judged by, those no candidate agreed with, and the verdict."""

    code: str
    suite: TestSuite
    disputed: tuple[str, ...]
    verdict: Verdict


@pipeline.stage
async def brief(coder: Agent, task: str) -> Brief:
    """Find what is asked for; only a task that names no function costs a model call."""
    function, signature, found = function_name(task), find_signature(task), find_stub(task)
    if function is None:
        prompt = "Give only the `def` line of the function this task asks for."
        line = "def " + await coder.ask(prompt, given=[task], prefill="```python\ndef ", stop=["\n"], num_predict=60)
        signature = find_signature(line)
        function = function_name(line) or "solve"
    given = TestSuite(function).with_examples(find_examples(task, *(function_names(task) or (function,))))
    whole = found is not None and found.source == task.strip()
    return Brief(function, signature, stub_of(task, signature, found), whole, given)


@pipeline.stage(importance="high")
async def draft(coder: Agent, task: str, brief: Brief, form: Literal["auto", "plain"] = "auto") -> str:
    """The first candidate: greedy, without a plan."""
    return (await write(coder, task, brief, form_for(coder, form), temperature=0.0))[0]


@pipeline.stage(importance="high")
async def tests(
    tester: Agent, sandbox: Sandbox, task: str, brief: Brief, write_tests: Literal["auto", "always", "never"] = "auto"
) -> TestSuite:
    """More tests where the task states few, by an agent that does not see the code; those that pass on a stub prove nothing."""
    suite = brief.given
    if write_tests == "never" or (write_tests == "auto" and len(suite) >= ENOUGH):
        return suite
    prompt = (
        f"Write six short pytest tests for `{brief.function}`, each a function with one assert. "
        "Use inputs that differ from those in the task."
    )
    opening = f"```python\nimport pytest\nfrom {brief.function} import {brief.function}\n\n\ndef test_"
    for temperature in (0.0, 0.8):
        answer = await tester.ask(
            prompt, given=[task], prefill=opening, temperature=temperature, num_predict=400, stop=["\n```"]
        )
        suite = suite.with_written(opening.removeprefix("```python\n") + answer).first(10)
        if len(suite) >= SUITE:
            break
    return await only_red(sandbox, brief, suite)


@pipeline.stage(importance="high")
async def proven(
    coder: Agent,
    sandbox: Sandbox,
    run: Run,
    task: str,
    brief: Brief,
    draft: str,
    tests: TestSuite,
    form: Literal["auto", "plain"] = "auto",
    samples: int = 6,
    repairs: int = 2,
    probes: int = 12,
    escalate: bool = True,
    max_calls: int = 16,
    max_tokens: int = 20_000,
) -> Proven:
    """Run, try more candidates, repair: until every test that stands has passed, or there is nothing left to spend."""
    bench = Candidates(sandbox, tests, signature=brief.signature, probes=probes)
    ways = form_for(coder, form)
    rounds, fixes = -(-samples // ROUND), min(repairs, ways.repairs)
    module = f"{brief.function}.py"
    async for attempt in run.attempts(1 + rounds + fixes, escalate_after=2 if escalate else None):
        if attempt.number == 1:
            programs = [draft]
        elif attempt.number <= 1 + rounds:
            done = (attempt.number - 2) * ROUND
            programs = await spread(coder, task, brief, ways, done, min(ROUND, samples - done))
        else:
            programs = [await repair(coder, task, brief, bench.best)]
        await bench.judge([{module: program} for program in programs])
        if await attempt.record(bench.best):
            break
        run.say(f"attempt {attempt.number}: {bench.best.verdict.reason}")
        if run.calls >= max_calls or run.tokens >= max_tokens:
            run.say(f"stopped: {run.calls} calls and {run.tokens} tokens are spent")
            break
    if bench.disputed:
        run.say(f"left out, because no candidate agrees with them: {', '.join(bench.disputed)}")
    return Proven(bench.best.files[module], bench.suite, bench.disputed, bench.best.verdict)


@pipeline.stage
async def review(reviewer: Agent, task: str, proven: Proven, advice: bool = True) -> str:
    """A second model reads the result; its notes are advice and change no verdict."""
    if not advice:
        return ""
    code = f"This code was written for the task:\n\n```python\n{proven.code}\n```"
    prompt = f"{code}\n\nName at most three faults or risks, one line each."
    return await reviewer.ask(prompt, given=[task], num_predict=160)


@pipeline.stage
async def deliver(run: Run, brief: Brief, proven: Proven, review: str) -> list[str]:
    """The module, its tests and the review, as files."""
    word = "proven" if proven.verdict.passed else "NOT PROVEN"
    notes = [f"# {brief.function}: {word}", proven.verdict.reason]
    if proven.disputed:
        notes.append("Tests the tester wrote and no candidate agreed with, left out: " + ", ".join(proven.disputed))
    notes += ["## Review (advice of another model)", review or "(none)"]
    files = {
        f"{brief.function}.py": proven.code,
        proven.suite.file_name: proven.suite.render(),
        "notes.md": "\n\n".join(notes) + "\n",
    }
    return [path.name for path in await run.deliver(files)]


# -- how code is asked for ----------------------------------------------------------------------------------------------


def form_for(coder: Agent, wanted: str) -> AnswerForm:
    """How the model that answers now is made to answer; `plain` switches that off."""
    return PLAIN if wanted == "plain" else answer_form(coder.model)


def prompt_for(task: str, brief: Brief, ways: AnswerForm, hint: str) -> tuple[str, list[str]]:
    """The prompt, and what goes before it; a task that is only a stub stands in the answer's beginning already."""
    if brief.whole and ways.opening(brief.stub).count(brief.stub or "\0"):
        return f"Complete this function. Answer with one Python code block. {hint}".strip(), []
    words = f"Write the module `{brief.function}.py`. Answer with one Python code block, without examples of use."
    return f"{words} {hint}".strip(), [task]


async def write(
    coder: Agent, task: str, brief: Brief, ways: AnswerForm, *, hint: str = "", n: int = 1, temperature: float
) -> list[str]:
    """`n` programs from one prompt."""
    opening, stops = ways.opening(brief.stub), ways.stops(brief.stub)
    prompt, shared = prompt_for(task, brief, ways, hint)
    answers = await coder.sample(
        prompt, n=n, given=shared, prefill=opening, stop=stops, num_predict=600, temperature=temperature
    )
    return [program_in(opening, answer) for answer in answers]


def program_in(opening: str, answer: str) -> str:
    """The module in an answer that was made to begin with `opening`."""
    if opening:
        return module_source(opening.removeprefix("```python\n") + answer)
    try:
        return module_source(extract_code(answer).text)
    except ValueError:
        return module_source(answer)


async def spread(coder: Agent, task: str, brief: Brief, ways: AnswerForm, done: int, count: int) -> list[str]:
    """`count` more programs: at first more answers to the draft's prompt, which is read already; then other approaches."""
    if done < ROUND:
        return await write(coder, task, brief, ways, n=count, temperature=ways.temperature)
    hints = [APPROACHES[(done + number) % len(APPROACHES)] for number in range(count)]
    other = ways.without_head()
    found = [await write(coder, task, brief, other, hint=hint, temperature=ways.temperature) for hint in hints]
    return [program for programs in found for program in programs]


async def repair(coder: Agent, task: str, brief: Brief, best: Candidate) -> str:
    """A new try from the best candidate and its smallest failure; the prompt starts anew, so that nothing piles up."""
    failure = best.smallest_failure
    seen = f"{failure.test} fails:\n{failure.message}" if failure is not None else best.verdict.reason
    code = best.files[f"{brief.function}.py"]
    prompt = (
        f"This code is wrong:\n\n```python\n{code}\n```\n\n{seen[-800:]}\n\nWrite the whole module again, corrected."
    )
    answer = await coder.ask(
        prompt, given=[task], prefill="```python\n", stop=["\n```"], num_predict=800, temperature=0.4
    )
    return module_source(answer)


async def only_red(sandbox: Sandbox, brief: Brief, suite: TestSuite) -> TestSuite:
    """The suite less the written tests that pass against a stub: they would pass whatever the code does."""
    stub = f"def {brief.function}(*args, **kwargs):\n    return NotImplemented\n"
    verdict = await sandbox.test({f"{brief.function}.py": stub}, {suite.file_name: suite.render()})
    failed = {failure.test.rpartition("::")[2] for failure in verdict.failures}
    return suite.without({case.name for case in suite.written} - failed)
