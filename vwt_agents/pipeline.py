"""Pipeline: what the user declares. Owns the record of stages, includes and outputs in the order they were written.

It records and never judges: every fault, also one of a single declaration, waits for `graph.build_graph`, which reports
them all at once. Decorated functions are handed back unchanged, so that a test can call a stage like any function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from vwt_agents.approval import Approval, approve

if TYPE_CHECKING:
    from types import FrameType

    from vwt_agents.types import Importance, Seconds

__all__ = ["Declaration", "EachOf", "Fallback", "Inclusion", "Pipeline", "Place", "PolicyOptions", "WrittenPolicy"]

EachOf: TypeAlias = "str | Mapping[str, str]"
"""What a stage runs once per item of: `"files"`, or `{"file": "files"}` where the parameter has another name."""

StageT = TypeVar("StageT", bound=Callable[..., Coroutine[Any, Any, Any]])
PromptT = TypeVar("PromptT", bound="Callable[..., str | Coroutine[Any, Any, str]]")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a user's file; as text relative to the current folder where it lies below it."""

    file: str
    line: int

    def __str__(self) -> str:
        from pathlib import Path  # 4 ms that only a fault or a report has to pay

        return f"{self.file.removeprefix(f'{Path.cwd()}/')}:{self.line}"


@dataclass(frozen=True, slots=True)
class Fallback:
    """The value that stands in for a stage's result when the stage fails: `on_error=Fallback(value)`."""

    value: Any


class PolicyOptions(TypedDict, total=False):
    """What `stage` and `ask` take beside importance, each and timeout: what becomes of a stage that fails, and may it run."""

    retries: int
    backoff: str | Seconds
    deadline: str | Seconds | None
    on_error: Literal["fail", "skip"] | Fallback
    cache: bool | str | Seconds
    approve: str | None


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """The same as it was written, not yet judged."""

    retries: Any = 0
    backoff: Any = "1s"
    deadline: Any = None
    on_error: Any = "fail"
    cache: Any = False
    approve: Any = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """One stage as it was written. `agent` is set for the short form `ask`; `names` are the local names around it."""

    func: Callable[..., Any]
    importance: str
    each: EachOf | None
    timeout: str | Seconds | None
    agent: str | None
    returns: Any
    names: Mapping[str, Any]
    policy: WrittenPolicy = WrittenPolicy()


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Another pipeline used as a stage: its name here, and which outer name feeds which of its inputs."""

    pipeline: Pipeline
    name: str
    inputs: Mapping[str, str]
    place: Place


class Pipeline:
    """A named set of typed functions, wired by their parameters' names.

    A parameter annotated `Agent` is the agent of that name, `Sandbox` and `Run` are services, a parameter named like
    another stage is its result, and anything else is an input of the pipeline. `defaults` gives inputs a default.
    """

    def __init__(self, name: str, *, doc: str = "", defaults: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.doc = doc
        self.defaults: Mapping[str, Any] = MappingProxyType(dict(defaults or {}))
        self.place = _place(_caller())
        self._declarations: list[Declaration] = []
        self._inclusions: list[Inclusion] = []
        self._outputs: list[tuple[str, Place]] = []

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """The stages in the order they were written."""
        return tuple(self._declarations)

    @property
    def inclusions(self) -> tuple[Inclusion, ...]:
        """The pipelines used as stages, in the order they were written."""
        return tuple(self._inclusions)

    @property
    def outputs(self) -> tuple[tuple[str, Place], ...]:
        """What `output` was called with, and where."""
        return tuple(self._outputs)

    @overload
    def stage(self, func: StageT, /) -> StageT: ...
    @overload
    def stage(
        self,
        /,
        *,
        importance: Importance = "normal",
        each: EachOf | None = None,
        timeout: str | Seconds | None = None,
        **policy: Unpack[PolicyOptions],
    ) -> Callable[[StageT], StageT]: ...
    def stage(
        self,
        func: Any = None,
        /,
        *,
        importance: Importance = "normal",
        each: EachOf | None = None,
        timeout: str | Seconds | None = None,
        **policy: Unpack[PolicyOptions],
    ) -> Any:
        """Declare an `async def` as a stage, unchanged; usable as `@pipeline.stage` and `@pipeline.stage(...)`.

        `each` runs it once per item of a stage's result or an input, side by side, and its result is the list in order.
        `timeout` is a duration such as `"90s"`, or seconds, for one run of the body; heeded where that awaits.

        What becomes of a stage (or of each item) that fails: `retries` more tries, after pauses that begin with `backoff`
        and double; all of it within `deadline`; then, by `on_error`, the run fails, the stage is left out (`"skip"`), or
        `Fallback(value)` stands in. With `cache`, a result of an earlier run is used where all that shaped it is the same
        (`"7d"`: one of at most that age). With `approve`, a person is asked this question before the stage begins.
        """
        names, written = _local_names(_caller()), WrittenPolicy(**policy)

        def declare(declared: StageT) -> StageT:
            self._declarations.append(Declaration(declared, importance, each, timeout, None, None, names, written))
            return declared

        return declare if func is None else declare(func)

    def ask(
        self,
        *,
        agent: str,
        returns: Any = str,
        importance: Importance = "normal",
        each: EachOf | None = None,
        timeout: str | Seconds | None = None,
        **policy: Unpack[PolicyOptions],
    ) -> Callable[[PromptT], PromptT]:
        """Declare a stage whose body only builds the prompt; its result is what `agent` answers, as `returns`.

        The other options are those of `stage`.
        """
        names, written = _local_names(_caller()), WrittenPolicy(**policy)

        def declare(func: PromptT) -> PromptT:
            self._declarations.append(Declaration(func, importance, each, timeout, agent, returns, names, written))
            return func

        return declare

    def include(self, pipeline: Pipeline, /, *, name: str, inputs: Mapping[str, str] | None = None) -> None:
        """Use another pipeline as a stage called `name`; a parameter of that name gets its output.

        Its inputs are wired by name to the stages and inputs here; `inputs={"task": "plan"}` feeds `task` from `plan`.
        """
        self._inclusions.append(Inclusion(pipeline, name, MappingProxyType(dict(inputs or {})), _place(_caller())))

    def output(self, name: str, /) -> None:
        """Make the result of this stage the pipeline's output, instead of what its last stages return."""
        self._outputs.append((name, _place(_caller())))

    async def approve(
        self,
        question: str,
        /,
        *,
        default: bool = False,
        timeout: str | Seconds | None = None,  # noqa: ASYNC109 - it has a value when it is over
    ) -> Approval:
        """Within a stage: ask a person, and wait for the answer; true where it was yes.

        The same as `run.approve`: see there.
        """
        return await approve(question, default=default, timeout=timeout)

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r})"


def _caller() -> FrameType | None:
    here = inspect.currentframe()
    method = here.f_back if here is not None else None
    return method.f_back if method is not None else None


def _place(frame: FrameType | None) -> Place:
    return Place("<unknown>", 0) if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def _local_names(frame: FrameType | None) -> Mapping[str, Any]:
    # A pipeline written inside a function (a test) annotates with classes that only this function knows.
    return {} if frame is None or frame.f_locals is frame.f_globals else dict(frame.f_locals)
