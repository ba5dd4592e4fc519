"""Write a Python module for a task, and prove it with tests.

Examples in the task (`f(1) => 2`, doctests, tables) are tests nobody may drop. A tester, who does not see the code, writes
more. Code is called done when all tests have passed in the sandbox; if they don't, the run ends with exit code 1.

    python -m vwt_agents run pipelines/codegen.py -i task=@task.md
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from vwt_agents import (
    Agent,
    Pipeline,
    Run,
    Sandbox,
    TestSuite,
    Verdict,
    find_examples,
    find_signature,
    function_name,
)

DEFAULT_TASK = """\
Write `to_roman(number: int) -> str`, which gives the Roman numeral of a number from 1 to 3999 and raises ValueError for any
other number.

to_roman(4) => "IV"
to_roman(1994) => "MCMXCIV"
to_roman(3999) => "MMMCMXCIX"
to_roman(0) raises ValueError
"""

ENOUGH = 4  # tests that a verdict should rest on
APPROACHES = (
    "Use a regular expression where it fits.",
    "Use a plain loop, one step at a time.",
    "Use what itertools, collections or math offer.",
    "Handle each rule of the task in a step of its own.",
)

pipeline = Pipeline(
    "codegen",
    doc="Write a module for a task, and prove it with tests.",
    defaults={"task": DEFAULT_TASK, "attempts": 4, "samples": 4},
)


@dataclass(frozen=True)
class Brief:
    """What the task says that needs no model to be read: the function, its signature, the module, the given tests."""

    function: str
    signature: str | None
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
    function = function_name(task)
    signature = find_signature(task)
    if function is None:
        prompt = "Give only the `def` line of the function this task asks for."
        line = "def " + await coder.ask(prompt, given=[task], prefill="```python\ndef ", stop=["\n"], num_predict=60)
        signature = find_signature(line)
        function = function_name(line) or "solve"
    return Brief(function, signature, TestSuite(function).with_examples(find_examples(task, function)))


@pipeline.stage(importance="high")
async def draft(coder: Agent, task: str, brief: Brief) -> str:
    """The first candidate: greedy, without a plan."""
    return await write(coder, task, brief, temperature=0.0)


@pipeline.stage(importance="high")
async def tests(tester: Agent, task: str, brief: Brief) -> TestSuite:
    """More tests than the task gives, by an agent that does not see the code; asked for again where they are too few."""
    prompt = (
        f"Write six short pytest tests for `{brief.function}`, each a function with one assert. "
        "Use inputs that differ from those in the task."
    )
    opening = f"```python\nimport pytest\nfrom {brief.function} import {brief.function}\n\n\ndef test_"
    suite = brief.given
    for temperature in (0.0, 0.8):
        answer = await tester.ask(
            prompt, given=[task], prefill=opening, temperature=temperature, num_predict=400, stop=["\n```"]
        )
        suite = suite.with_written(opening.removeprefix("```python\n") + answer).first(10)
        if len(suite) >= ENOUGH:
            break
    return suite


@pipeline.stage(importance="high")
async def proven(
    coder: Agent,
    sandbox: Sandbox,
    run: Run,
    task: str,
    attempts: int,
    samples: int,
    brief: Brief,
    draft: str,
    tests: TestSuite,
) -> Proven:
    """Run, try more candidates, repair: until every test that stands has passed, or the attempts are used up."""
    bench = Bench(sandbox, brief, await only_red(sandbox, brief, tests))
    async for attempt in run.attempts(attempts, escalate_after=2):
        if attempt.number == 1:
            await bench.judge(draft)
        elif attempt.number == 2:
            await spread(coder, task, brief, samples, bench)
        else:
            await bench.judge(await repair(coder, task, bench.best))
        if await attempt.record(bench.best.verdict, files=bench.files):
            break
        run.say(f"attempt {attempt.number}: {bench.best.verdict.reason}")
    if bench.disputed:
        run.say(f"left out, because no candidate agrees with them: {', '.join(bench.disputed)}")
    return Proven(bench.best.code, bench.suite, tuple(bench.disputed), bench.best.verdict)


@pipeline.stage
async def review(reviewer: Agent, task: str, proven: Proven) -> str:
    """A second model reads the result; its notes are advice and change no verdict."""
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


def opening_of(brief: Brief, task: str) -> str:
    """What the answer is made to begin with. The end, newline and three spaces, makes a small model write a body at once."""
    if brief.signature is None:
        return "```python\n"
    words = " ".join(task.strip().split("\n\n")[0].split()).replace('"""', "'").replace("\\", "/")
    return f'```python\n{brief.signature}\n    """{words[:300]}"""\n   '


async def write(coder: Agent, task: str, brief: Brief, *, hint: str = "", temperature: float) -> str:
    """One candidate."""
    opening = opening_of(brief, task)
    prompt = (
        f"Write the module `{brief.function}.py`. Answer with one Python code block, without examples of use. {hint}"
    )
    answer = await coder.ask(
        prompt, given=[task], prefill=opening, stop=["\n```"], num_predict=700, temperature=temperature
    )
    return module_text(opening.removeprefix("```python\n") + answer)


async def spread(coder: Agent, task: str, brief: Brief, samples: int, bench: Bench) -> None:
    """More candidates until one passes: the other answer form first, then hot ones, each with another approach."""
    await bench.judge(await write(coder, task, replace(brief, signature=None), temperature=0.0))
    for number in range(samples):
        if bench.best.verdict.passed:
            return
        hint = APPROACHES[number % len(APPROACHES)]
        await bench.judge(await write(coder, task, brief, hint=hint, temperature=0.8))


async def repair(coder: Agent, task: str, best: Result) -> str:
    """A new try from the best candidate and its first failure; the prompt starts anew, so that nothing piles up."""
    failure = best.verdict.failures[0] if best.verdict.failures else None
    seen = f"{failure.test} fails:\n{failure.message}" if failure is not None else best.verdict.reason
    prompt = f"This code is wrong:\n\n```python\n{best.code}\n```\n\n{seen[-800:]}\n\nWrite the whole module again, corrected."
    answer = await coder.ask(
        prompt, given=[task], prefill="```python\n", stop=["\n```"], num_predict=800, temperature=0.4
    )
    return module_text(answer)


def module_text(source: str) -> str:
    """The source less what is no part of a module: a cut-off end, and statements that would run on import."""
    lines = source.strip("\n").splitlines()
    while lines:
        try:
            tree = ast.parse("\n".join(lines))
            break
        except (SyntaxError, ValueError):
            lines.pop()
    else:
        return source.strip("\n") + "\n"
    keep = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    spans = [(_first_line(node) - 1, node.end_lineno or 0) for node in tree.body if isinstance(node, keep)]
    return "\n\n".join("\n".join(lines[start:end]) for start, end in spans) + "\n"


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


# -- how code is judged -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A candidate and how it did."""

    code: str
    verdict: Verdict

    @property
    def ran(self) -> bool:
        """Whether the tests came to run at all: not where the module cannot be imported or never ends."""
        return self.verdict.tests_passed > 0

    @property
    def failed(self) -> set[str]:
        """The names of the tests that did not pass."""
        return {failure.test.rpartition("::")[2] for failure in self.verdict.failures}

    def rank(self) -> tuple[bool, int, int]:
        """Better is larger: passed, then more tests passed, then the shorter code."""
        return self.verdict.passed, self.verdict.tests_passed, -len(self.code)


class Bench:
    """Judges candidates by one suite and keeps the best; finds out tests that no good candidate agrees with.

    A test of a small model is wrong more often than several candidates that agree on all the rest. What the task gives is
    never dropped. Where it gives nothing, at least half of the written tests, and three, have to stand.
    """

    def __init__(self, sandbox: Sandbox, brief: Brief, suite: TestSuite) -> None:
        self.sandbox = sandbox
        self.brief = brief
        self.suite = suite
        self.disputed: list[str] = []
        self.results: dict[str, Result] = {}

    @property
    def best(self) -> Result:
        """The best candidate so far."""
        return max(self.results.values(), key=Result.rank)

    @property
    def files(self) -> dict[str, str]:
        """The best candidate and the tests it is judged by, by file name."""
        return {f"{self.brief.function}.py": self.best.code, self.suite.file_name: self.suite.render()}

    async def judge(self, code: str) -> None:
        """Run a candidate, once for each text; then drop what is disputed now and judge the best by what stands."""
        if code in self.results:
            return
        self.results[code] = await self._result(code)
        dropped = self._disputed()
        if dropped and not self.best.verdict.passed:
            self.disputed += sorted(dropped)
            self.suite = self.suite.without(dropped)
            self.results = {text: await self._result(text) for text in self.results}

    async def _result(self, code: str) -> Result:
        files = {f"{self.brief.function}.py": code}
        return Result(code, await self.sandbox.test(files, {self.suite.file_name: self.suite.render()}))

    def _disputed(self) -> set[str]:
        given = {case.name for case in self.suite.given}
        written = {case.name for case in self.suite.written}
        agreeing = [result for result in self.results.values() if result.ran and not result.failed & given]
        if len(agreeing) < (2 if len(given) >= 2 else 3):
            return set()
        failed = set.intersection(*(result.failed for result in agreeing)) & written
        stands = len(written) - len(failed)
        return failed if len(given) >= 2 or (stands >= 3 and stands >= len(failed)) else set()


async def only_red(sandbox: Sandbox, brief: Brief, suite: TestSuite) -> TestSuite:
    """The suite less the written tests that pass against a stub: they would pass whatever the code does."""
    stub = f"def {brief.function}(*args, **kwargs):\n    return NotImplemented\n"
    verdict = await sandbox.test({f"{brief.function}.py": stub}, {suite.file_name: suite.render()})
    return suite.without({case.name for case in suite.written} - Result(stub, verdict).failed)
