"""Write a Python module for a task, and prove it with tests.

Examples in the task (`f(1) => 2`, doctests, tables) are tests nobody may drop. Where the task states few, a tester, who does
not see the code, writes more. Code is called done when all tests have passed in the sandbox; if they don't, the run ends
with exit code 1.

    python -m vwt_agents run pipelines/codegen.py -i task=@task.md
    python -m vwt_agents run pipelines/codegen.py -i repo=DIR -i task="`total` leaves out the first price"

With `repo`, it changes a copy of that folder: the folder's own tests count too, and a patch is delivered. A task that names
several files gets them all, tested together.

One greedy answer first, and nothing more where it holds. Else samples, a few at a time and one of them in another form, until
one does; of equals the one that most others agree with on new inputs; then repairs; without progress the calls go to the large
tier. Each of these can be switched off by an input, so its worth can be measured (`bench/ablation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from vwt_agents import (
    PLAIN,
    Agent,
    Candidate,
    Candidates,
    CodeProfile,
    Pipeline,
    Run,
    Sandbox,
    TestSuite,
    Verdict,
    code_profile,
    extract_code,
    find_examples,
    find_signature,
    find_stub,
    function_names,
    module_source,
    stub_of,
)
from vwt_agents.folder_asks import Ask, Turn
from vwt_agents.folder_task import FolderTask
from vwt_agents.folder_trial import gets_further
from vwt_agents.workspace import named_files

DEFAULT_TASK = """\
Write `to_roman(number: int) -> str`, which gives the Roman numeral of a number from 1 to 3999 and raises ValueError for any
other number.

to_roman(4) => "IV"
to_roman(1994) => "MCMXCIV"
to_roman(3999) => "MMMCMXCIX"
to_roman(0) raises ValueError
"""

SUITE = 4  # tests, given and written, that a verdict should rest on where the task states too few
ROUND = 2  # samples at a time: fewer waste less once one is good, more are through sooner
APPROACHES = (
    "Use a plain loop, one step at a time.",
    "Handle each rule of the task in a step of its own.",
    "Use what itertools, collections, math or re offer.",
)
"""A sample is made different by its approach, not by temperature alone."""

MOST_SHOWN = 6000  # characters of a patch that a reviewer is shown

pipeline = Pipeline(
    "codegen",
    doc="Write a module for a task, and prove it with tests.",
    defaults={"task": DEFAULT_TASK},
)


@dataclass(frozen=True)
class Brief:
    """What the task says that needs no model to be read: what is asked for, its head, the given tests, the folder."""

    function: str  # what the module is named after: the only thing asked for, or the first of several
    names: tuple[str, ...]
    signature: str | None
    stub: str | None
    whole: bool  # the stub is the whole task: a prompt need not say it twice
    given: TestSuite
    folder: FolderTask | None = None  # where the task is about a folder, or names several files


@dataclass(frozen=True)
class Proven:
    """The best files, the tests they were judged by, those no candidate agreed with, the verdict; of a folder, the patch."""

    files: Mapping[str, str]
    suite: TestSuite
    disputed: tuple[str, ...]
    verdict: Verdict
    patch: str = ""

    @property
    def code(self) -> str:
        """All of the code as one text."""
        return "\n".join(self.files.values())


@pipeline.stage
async def folder(sandbox: Sandbox, run: Run, task: str, repo: str = "") -> FolderTask | None:
    """The folder the task is about, and how its tests do now; an empty one where the task names several files, else None."""
    if not repo and len(named_files(task)) < 2:
        return None
    found = await FolderTask.open(task, sandbox, repo)
    if found.before.missing:
        run.say(
            f"left out, because the sandbox's Python has no {', '.join(found.before.missing)}: those tests cannot run"
        )
    return found


@pipeline.stage
async def brief(coder: Agent, task: str, folder: FolderTask | None = None) -> Brief:
    """Find what is asked for; only a task that names no function costs a model call."""
    if folder is not None:
        return brief_of_folder(task, folder)
    names, signature, found = function_names(task), find_signature(task), find_stub(task)
    if not names:
        prompt = "Give only the `def` line of the function this task asks for."
        line = "def " + await coder.ask(prompt, given=[task], prefill="```python\ndef ", stop=["\n"], num_predict=60)
        signature, names = find_signature(line), function_names(line) or ("solve",)
    if len(names) > 1 or names[0][0].isupper():
        signature = None  # a head of its own is only put into the answer where it is all there is
    given = TestSuite(names[0]).with_examples(find_examples(task, *names))
    whole = found is not None and found.source == task.strip()
    return Brief(names[0], names, signature, stub_of(task, signature, found), whole, given)


@pipeline.stage(importance="high")
async def draft(coder: Agent, task: str, brief: Brief, form: Literal["auto", "plain"] = "auto") -> Mapping[str, str]:
    """The first candidate: greedy, without a plan."""
    if brief.folder is not None:
        return await first_change(coder, brief, form_for(coder, form))
    return (await write(coder, task, brief, form_for(coder, form), temperature=0.0))[0]


@pipeline.stage(importance="high")
async def tests(
    tester: Agent, sandbox: Sandbox, task: str, brief: Brief, write_tests: Literal["auto", "always", "never"] = "auto"
) -> TestSuite:
    """More tests where the task states few, by an agent that does not see the code; those that pass on a stub prove nothing."""
    suite = brief.given
    enough = len(suite) >= code_profile(tester.model).enough or (
        brief.folder is not None and bool(brief.folder.targets)
    )
    if write_tests == "never" or (write_tests == "auto" and enough):
        return suite
    prompt = (
        f"Write six short pytest tests for `{'`, `'.join(brief.names)}`, each a function with one assert. "
        "Use inputs that differ from those in the task."
    )
    imports = "\n".join(suite.preamble) or f"from {suite.module} import {', '.join(brief.names)}"
    opening = f"```python\nimport pytest\n{imports}\n\n\ndef test_"
    for temperature in (0.0, 0.8):
        answer = await tester.ask(
            prompt, given=[task], prefill=opening, temperature=temperature, num_predict=300, stop=["\n```"]
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
    draft: Mapping[str, str],
    tests: TestSuite,
    form: Literal["auto", "plain"] = "auto",
    samples: int | None = None,
    repairs: int | None = None,
    probes: int = 12,
    escalate: bool = True,
    max_calls: int = 24,
    max_tokens: int = 20_000,
    accept: tuple[str, ...] = (),
) -> Proven:
    """Run, try more candidates, repair: until every test that stands has passed, or there is nothing left to spend.

    `accept` are suspicions of a verdict that do not count, because such code is what is wanted.
    """
    bench = bench_of(sandbox.accepting(accept), brief, tests, probes)
    ways = form_for(coder, form)
    samples = ways.samples if samples is None else samples
    fixes = ways.repairs if repairs is None else repairs
    if brief.folder is not None:
        changing = Changing(coder, brief.folder, bench, ways, samples, fixes)
        await changing.prove(run, draft, escalate=escalate, max_calls=max_calls, max_tokens=max_tokens)
        return changing.proven()
    rounds = rounds_of(samples)
    async for attempt in run.attempts(1 + len(rounds) + fixes, escalate_after=2 if escalate else None):
        if attempt.number == 1:
            programs: Sequence[Mapping[str, str]] = [draft]
        elif attempt.number <= 1 + len(rounds):
            done = rounds[attempt.number - 2]
            programs = await spread(coder, task, brief, ways, done[: max(0, max_calls - run.calls)])
        else:
            programs = [await repair(coder, task, brief, bench.best)]
        await bench.judge(programs)
        if await attempt.record(bench.best.verdict, files=bench.best.files):
            break
        run.say(f"attempt {attempt.number}: {bench.best.verdict.reason}")
        if is_spent(run, max_calls, max_tokens):
            break
    say_disputed(run, bench)
    return Proven(bench.best.files, bench.suite, bench.disputed, bench.best.verdict)


@pipeline.stage
async def review(reviewer: Agent, task: str, proven: Proven, advice: bool = True) -> str:
    """A second model reads the result; its notes are advice and change no verdict."""
    if not advice:
        return ""
    code = "This code was written for the task:\n\n" + shown_result(proven)
    prompt = f"{code}\n\nName at most three faults or risks, one line each."
    return await reviewer.ask(prompt, given=[task], num_predict=160)


@pipeline.stage
async def deliver(run: Run, brief: Brief, proven: Proven, review: str) -> list[str]:
    """The module or the patch, its tests and the review, as files."""
    word = "proven" if proven.verdict.passed else "NOT PROVEN"
    notes = [f"# {brief.function}: {word}", proven.verdict.reason]
    if proven.disputed:
        notes.append("Tests the tester wrote and no candidate agreed with, left out: " + ", ".join(proven.disputed))
    notes += ["## Review (advice of another model)", review or "(none)"]
    new = {proven.suite.file_name: proven.suite.render()} if proven.suite.cases else {}
    files = {**proven.files, **new}
    if brief.folder is not None and brief.folder.exists:
        patch = brief.folder.patch(files)
        files = {"changes.patch": patch, **{f"changed/{path}": text for path, text in files.items()}}
    await run.deliver({**files, "notes.md": "\n\n".join(notes) + "\n"})
    return [*files, "notes.md"]


# -- how code is asked for ----------------------------------------------------------------------------------------------


def form_for(coder: Agent, wanted: str) -> CodeProfile:
    """How the model that answers now is made to answer; `plain` switches that off."""
    return PLAIN if wanted == "plain" else code_profile(coder.model)


def prompt_for(task: str, brief: Brief, ways: CodeProfile, hint: str) -> tuple[str, list[str]]:
    """The prompt, and what goes before it; a task that is only a stub may stand in the answer's beginning already."""
    if brief.whole and (ways.completes or not ways.fence):
        complete = f"Complete this function. Answer with one Python code block. {hint}".strip()
        return complete if ways.completes else f"{complete}\n\n```python\n{brief.stub}\n```", []
    words = f"Write the module `{brief.function}.py`. Answer with one Python code block, without examples of use."
    return f"{words} {hint}".strip(), [task]


async def write(
    coder: Agent, task: str, brief: Brief, ways: CodeProfile, *, hint: str = "", n: int = 1, temperature: float
) -> list[dict[str, str]]:
    """`n` programs from one prompt."""
    opening, stops = ways.opening(brief.stub), ways.stops(brief.stub)
    prompt, shared = prompt_for(task, brief, ways, hint)
    answers = await coder.sample(
        prompt, n=n, given=shared, prefill=opening, stop=stops, num_predict=600, temperature=temperature
    )
    return [{f"{brief.function}.py": program_in(opening, answer, brief.stub)} for answer in answers]


def program_in(opening: str, answer: str, stub: str | None) -> str:
    """The module in an answer that was made to begin with `opening`, with what the task's own code has above the function."""
    if opening:
        return module_source(opening.removeprefix("```python\n") + answer, stub=stub)
    try:
        return module_source(extract_code(answer).text, stub=stub)
    except ValueError:
        return module_source(answer, stub=stub)


def rounds_of(samples: int) -> list[range]:
    """The numbers of the samples of each round: a full one, one answer in another form alone, then full ones again."""
    ends = [0, *[end for end in (ROUND, ROUND + 1) if end < samples]]
    while ends[-1] < samples:
        ends.append(min(samples, ends[-1] + ROUND))
    return [range(begin, end) for begin, end in pairwise(ends)]


async def spread(
    coder: Agent, task: str, brief: Brief, ways: CodeProfile, numbers: range
) -> Sequence[Mapping[str, str]]:
    """A round of more programs.

    First more answers to the draft's prompt, which the engine has read already. Then one free answer: asked in another form a
    model often solves what it did not before. Then other approaches, where the model follows a hint.
    """
    if numbers.start == ROUND and ways != PLAIN:
        return await write(coder, task, brief, PLAIN, temperature=0.0)
    if numbers.start < ROUND or not ways.hints:
        return await write(coder, task, brief, ways, n=len(numbers), temperature=ways.temperature)
    found = []
    for number in numbers:
        hint = APPROACHES[number % len(APPROACHES)]
        found += await write(coder, task, brief, ways.without_head(), hint=hint, temperature=ways.temperature)
    return found


async def repair(coder: Agent, task: str, brief: Brief, best: Candidate) -> Mapping[str, str]:
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
    return {f"{brief.function}.py": module_source(answer, stub=brief.stub)}


async def only_red(sandbox: Sandbox, brief: Brief, suite: TestSuite) -> TestSuite:
    """The suite less the written tests that pass against a stub: they would pass whatever the code does."""
    rendered = {suite.file_name: suite.render()}
    if brief.folder is not None:
        verdict = await brief.folder.trial(sandbox).test({}, rendered)
    else:
        stub = "\n\n".join(f"def {name}(*args, **kwargs):\n    return NotImplemented\n" for name in brief.names)
        verdict = await sandbox.test({f"{brief.function}.py": stub}, rendered)
    return suite.without({case.name for case in suite.written} - verdict.failed)


# -- folders, and tasks for several files --------------------------------------------------------------------------------


def brief_of_folder(task: str, folder: FolderTask) -> Brief:
    """What the task is about in the folder: what it names, else the likeliest function."""
    names = function_names(task) or tuple(part for one in folder.suspects[:1] for part in one.name.split("."))
    suite = TestSuite(folder.module, preamble=folder.imports(names), file=folder.test_file())
    given = suite.with_examples(find_examples(task, *names))
    names = names or (folder.module,)
    return Brief(names[0], names, signature=None, stub=None, whole=False, given=given, folder=folder)


def bench_of(sandbox: Sandbox, brief: Brief, tests: TestSuite, probes: int) -> Candidates:
    """Who judges: the sandbox a module, a trial the changes of a folder. Probes are for single functions."""
    if brief.folder is None:
        return Candidates(sandbox, tests, names=brief.names, signature=brief.signature, probes=probes)
    return Candidates(sandbox, tests, probes=0, judge=brief.folder.trial(sandbox))


def is_spent(run: Run, max_calls: int, max_tokens: int) -> bool:
    """Whether nothing is left to spend; the run says so."""
    spent = run.calls >= max_calls or run.tokens >= max_tokens
    if spent:
        run.say(f"stopped: {run.calls} calls and {run.tokens} tokens are spent")
    return spent


def say_disputed(run: Run, bench: Candidates) -> None:
    """Name the tests that were left out."""
    if bench.disputed:
        run.say(f"left out, because no candidate agrees with them: {', '.join(bench.disputed)}")


async def first_change(coder: Agent, brief: Brief, ways: CodeProfile) -> Mapping[str, str]:
    """The first program for a folder, file -> text: the files that are to be written, else a change of what is there."""
    assert brief.folder is not None
    if brief.folder.files:
        return await new_files(coder, brief.folder, ways, temperature=0.0)
    examples = [case.source for case in brief.given.given]
    turn = brief.folder.turns(ways, budget_of(coder), samples=0, examples=examples)[0]
    return next(iter(await drawn(coder, turn, ways)), {})


async def new_files(coder: Agent, folder: FolderTask, ways: CodeProfile, *, temperature: float) -> dict[str, str]:
    """Each file that is to be written in turn, with those before it."""
    files: dict[str, str] = {}
    for path in folder.files:
        files |= await answered(coder, folder.ask_for(path, budget_of(coder), now=files), ways, temperature=temperature)
    return files


class Changing:
    """Changes of a folder, one request after the other, until the tests pass: from what got furthest, by what fails there."""

    def __init__(
        self, coder: Agent, folder: FolderTask, bench: Candidates, ways: CodeProfile, samples: int, fixes: int
    ) -> None:
        self.coder, self.folder, self.bench, self.ways = coder, folder, bench, ways
        self.samples, self.fixes = samples, fixes
        self.anew = min(samples, ROUND) if folder.files else 0  # times that new files are written once more
        self.base: Mapping[str, str] = {}
        self.so_far: Verdict | None = None  # on the base; None before there is one
        self.turns: list[Turn] = []

    async def prove(
        self, run: Run, draft: Mapping[str, str], *, escalate: bool, max_calls: int, max_tokens: int
    ) -> None:
        """Judge the draft, then what is drawn turn by turn."""
        if self.folder.exists:
            await self.start()
        async for attempt in run.attempts(max_calls, escalate_after=2 if escalate else None):
            await self.bench.judge([draft] if attempt.number == 1 else await self.more(max_calls - run.calls))
            self.go_on()
            best = self.bench.best
            if await attempt.record(best.verdict, files=best.files):
                break
            run.say(f"attempt {attempt.number}: {best.verdict.reason}")
            if not (self.anew or self.turns or self.fixes):
                break
            if is_spent(run, max_calls, max_tokens):
                break
        say_disputed(run, self.bench)

    async def start(self) -> None:
        """The folder as it is, and the requests for a change of it; the first of them was the draft's."""
        await self.bench.judge([{}])
        self.so_far = self.bench.best.verdict
        self.turns = self.requests()[1:]

    def go_on(self) -> None:
        """Where the best is further than what the requests were about, they are about it from now on."""
        best = self.bench.best
        further = self.so_far is None or gets_further(best.verdict, self.so_far)
        other = bool(self.folder.files) and not self.turns and best.files != self.base
        if not best.passed and (further or other):
            self.base, self.so_far = best.files, best.verdict
            self.turns = self.requests(best)

    def requests(self, best: Candidate | None = None) -> list[Turn]:
        """What to ask for a change of the base."""
        return self.folder.turns(
            self.ways,
            budget_of(self.coder),
            samples=self.samples,
            now=self.base,
            failure=best.smallest_failure if best is not None else None,
            examples=[case.source for case in self.bench.suite.given],
        )

    async def more(self, calls: int) -> Sequence[Mapping[str, str]]:
        """The programs of the next request, at most `calls` of them."""
        if self.anew:
            self.anew -= 1
            return [await new_files(self.coder, self.folder, self.ways, temperature=self.ways.temperature)]
        if self.turns:
            found = await drawn(self.coder, self.turns.pop(0), self.ways, most=calls)
            return [{**self.base, **files} for files in found]
        self.fixes -= 1
        best = self.bench.best
        asks = self.folder.asks(budget_of(self.coder), now=best.files, failure=best.smallest_failure)
        return [{**best.files, **await answered(self.coder, asks[0], self.ways, temperature=0.4)}]

    def proven(self) -> Proven:
        """The best there is."""
        best = self.bench.best
        patch = self.folder.patch(best.files) if self.folder.exists else ""
        return Proven(best.files, self.bench.suite, self.bench.disputed, best.verdict, patch)


async def drawn(coder: Agent, turn: Turn, ways: CodeProfile, *, most: int = 1) -> list[Mapping[str, str]]:
    """The changes of the answers to one request; of a function that is to be completed they are drawn together."""
    temperature = 0.0 if turn.greedy else ways.temperature
    if turn.ask.blank is None:
        return [await answered(coder, turn.ask, ways, temperature=temperature)]
    opening = turn.ask.opening(ways)
    answers = await coder.sample(
        turn.ask.prompt,
        n=min(turn.answers, most),
        given=turn.ask.given,
        prefill=opening,
        stop=turn.ask.stops(ways),
        num_predict=300,
        temperature=temperature,
    )
    changes = [turn.ask.read(answer, opening) for answer in answers]
    return [change.files for change in changes if change]


async def answered(coder: Agent, ask: Ask, ways: CodeProfile, *, temperature: float) -> Mapping[str, str]:
    """What one answer changes; an answer that is no use is asked for once more, with the reason."""
    opening = ask.opening(ways)
    prompt = ask.prompt
    for _ in range(2):
        answer = await coder.ask(
            prompt,
            given=ask.given,
            prefill=opening,
            stop=ask.stops(ways),
            num_predict=700,
            temperature=temperature,
        )
        changes = ask.read(answer, opening)
        if changes:
            break
        prompt = f"{ask.prompt}\n\nAn answer was no use: {' '.join(changes.faults)[:400]}"
        temperature = max(temperature, ways.temperature)
    return changes.files


def budget_of(coder: Agent) -> int:
    """Tokens for the files in a prompt: what the context leaves beside the task, failing tests and the answer."""
    return max(300, coder.route.num_ctx - 700 - 900)


def shown_result(proven: Proven) -> str:
    """What was written, for a reader: the files, or the patch of a folder."""
    if proven.patch:
        return f"```diff\n{proven.patch[:MOST_SHOWN]}\n```"
    names = {path: f"`{path}`:\n" if len(proven.files) > 1 else "" for path in proven.files}
    return "\n\n".join(f"{names[path]}```python\n{text}\n```" for path, text in proven.files.items())
