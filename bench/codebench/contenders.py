"""Who is compared: single calls, the best of several samples, and the full pipeline. Each is given a task, never its tests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from codebench.forms import FORM, chat, prefilled, writable
from codebench.score import visible_pass
from vwt_agents.errors import CallFailed, RunError, UsageError
from vwt_agents.side_by_side import side_by_side
from vwt_agents.stage_scope import seed_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from codebench.lab import Lab
    from codebench.tasks import Task

__all__ = ["Answer", "BestOf", "Contender", "FullPipeline", "SingleCall", "contender"]

TEMPERATURE: Final = 0.7


@dataclass(frozen=True, slots=True)
class Answer:
    """The code a contender stands by, its own verdict where it has one, and what went wrong where something did."""

    code: str
    verdict: bool | None = None
    error: str | None = None


class Contender(Protocol):
    """A way to get code for a task."""

    @property
    def label(self) -> str:
        """Its name in records and tables."""
        ...

    @property
    def method(self) -> str:
        """A fingerprint of how it works: records of another are not mixed with its own."""
        ...

    async def answer(self, task: Task, lab: Lab) -> Answer:
        """The code; a model that answers badly is no error, a world that does not answer is raised."""
        ...


@dataclass(frozen=True, slots=True)
class SingleCall:
    """One greedy call, in the form `greedy` (prefilled) or `chat`."""

    label: str

    @property
    def method(self) -> str:
        """Its prompt's version."""
        return f"{self.label}/{FORM}"

    async def answer(self, task: Task, lab: Lab) -> Answer:
        """Whatever the model says first."""
        form = (chat if self.label == "chat" else prefilled)(task)
        text = await lab.ask(
            form.messages, stop=form.stop, num_predict=form.num_predict, temperature=0.0, seed=lab.seed
        )
        return Answer(form.code(text))


@dataclass(frozen=True, slots=True)
class BestOf:
    """Several samples of the prefilled form; the first of those that do best on the visible examples."""

    samples: int

    @property
    def label(self) -> str:
        """With its number of samples."""
        return f"best-of-{self.samples}"

    @property
    def method(self) -> str:
        """Its prompt's version and its temperature."""
        return f"{self.label}/{FORM}/{TEMPERATURE}"

    async def answer(self, task: Task, lab: Lab) -> Answer:
        """All samples are drawn, then each different text is tried once."""
        form = prefilled(task)

        async def sample(number: int) -> str:
            return await lab.ask(
                form.messages,
                stop=form.stop,
                num_predict=form.num_predict,
                temperature=TEMPERATURE,
                seed=seed_from(f"{lab.seed}/{task.name}/{number}"),
            )

        texts = await side_by_side(sample, self.samples)
        best, share = "", -1.0
        for code in dict.fromkeys(map(form.code, texts)):
            visible = await visible_pass(lab.sandbox, task, code)
            if visible.share > share:
                best, share = code, visible.share
            if visible.total and visible.share == 1.0:
                break
        return Answer(best)


@dataclass(frozen=True, slots=True)
class FullPipeline:
    """A pipeline with the input `task`, walked by the package; the code is that of its stage `proven`."""

    file: Path
    inputs: Sequence[str] = ()

    @property
    def label(self) -> str:
        """With the inputs that differ from the pipeline's own."""
        name = "pipeline" if self.file.stem == "codegen" else self.file.stem
        return " ".join([name, *self.inputs])

    @property
    def method(self) -> str:
        """The text of its file, and its inputs."""
        text = self.file.read_text(encoding="utf-8")
        return hashlib.sha256("\0".join([text, *self.inputs]).encode()).hexdigest()[:16]

    def check(self, lab: Lab) -> None:
        """InputError where the pipeline has no such inputs."""
        lab.inputs({"task": ""}, self.inputs)

    async def answer(self, task: Task, lab: Lab) -> Answer:
        """What it delivers; a stage that gives up is an answer too, with the code there was until then."""
        values: dict[str, Any] = {}
        error = None
        try:
            given = {"task": task.text} | ({"repo": str(task.folder)} if task.folder is not None else {})
            await lab.run(lab.inputs(given, self.inputs), values)
        except (RunError, CallFailed) as failure:
            if isinstance(failure, CallFailed) and "proven" not in values:
                raise
            error = failure.message
        proven = values.get("proven")
        if proven is None:
            return Answer("", verdict=False, error=error or "the pipeline has no stage `proven`")
        code = str(proven.code) if task.folder is None else as_answer(proven.files)
        return Answer(writable(code), bool(proven.verdict.passed), error)


def contender(name: str, pipeline: Path, inputs: Sequence[str] = ()) -> Contender:
    """The contender of a name: greedy, chat, best-of-N or pipeline; UsageError for any other."""
    if name in {"greedy", "chat"}:
        return SingleCall(name)
    if name == "pipeline":
        return FullPipeline(pipeline, tuple(inputs))
    kind, _, number = name.rpartition("-")
    if kind == "best-of" and number.isdecimal() and int(number) > 0:
        return BestOf(int(number))
    raise UsageError(f"there is no contender {name!r}", hint="possible: greedy, chat, best-of-N, pipeline")


def as_answer(files: Mapping[str, str]) -> str:
    """Whole files as an answer would have them: fenced, each below its path."""
    return "\n\n".join(f"`{path}`:\n````python\n{text}````" for path, text in files.items())
