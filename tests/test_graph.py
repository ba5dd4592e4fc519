"""Promises of the checked graph: wiring by name, every fault at once with its line, the order, and what it knows of itself."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vwt_agents.errors import DefinitionError
from vwt_agents.graph import REQUIRED, Each, Graph, Param, build_graph, fingerprint, type_name
from vwt_agents.graph.typenames import contradict, item_type
from vwt_agents.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal


class Agent:
    __vwt_role__: ClassVar[str] = "agent"


class Sandbox:
    __vwt_role__: ClassVar[str] = "service"


class Run:
    __vwt_role__: ClassVar[str] = "service"


@dataclass(frozen=True)
class Task:
    text: str


@dataclass(frozen=True)
class Source:
    text: str


class Verdict:
    pass


def codegen() -> Pipeline:
    pipeline = Pipeline("codegen", doc="Write a module.")

    @pipeline.stage
    async def review(reviewer: Agent, task: Task, proven: Verdict) -> str: ...

    @pipeline.stage(importance="high")
    async def draft(coder: Agent, task: Task) -> Source: ...

    @pipeline.stage(importance="high")
    async def tests(tester: Agent, task: Task, lines: int = 40) -> Source: ...

    @pipeline.stage(importance="high", timeout="90s")
    async def proven(coder: Agent, sandbox: Sandbox, draft: Source, tests: Source, run: Run) -> Verdict: ...

    return pipeline


def faults_of(pipeline: Pipeline, **kwargs: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        build_graph(pipeline, **kwargs)
    assert caught.value.exit_code == 2
    for fault in caught.value.faults:
        assert fault.where.rpartition(":")[2].isdigit()
    return [f"{fault.message} ({fault.hint})" if fault.hint else fault.message for fault in caught.value.faults]


def fault_of(pipeline: Pipeline, **kwargs: Any) -> str:
    (fault,) = faults_of(pipeline, **kwargs)
    return fault


def one(func: Callable[..., Any], name: str = "p", **kwargs: Any) -> Pipeline:
    pipeline = Pipeline(name)
    pipeline.stage(**kwargs)(func)
    return pipeline


# -- wiring --------------------------------------------------------------------------------------------------------------


def test_every_parameter_is_wired_by_its_annotation_or_its_name() -> None:
    graph = build_graph(codegen(), agents={"coder", "tester", "reviewer"})
    proven = graph.stage("proven")
    assert proven.params == (
        Param("coder", "agent", "coder", Agent),
        Param("sandbox", "service", "Sandbox", Sandbox),
        Param("draft", "stage", "draft", Source),
        Param("tests", "stage", "tests", Source),
        Param("run", "service", "Run", Run),
    )
    assert proven.needs == ("draft", "tests")
    assert (proven.agents, proven.timeout, proven.importance, proven.kind) == (("coder",), 90.0, "high", "stage")
    assert proven.returns is Verdict
    assert graph.agents == ("coder", "tester", "reviewer")
    assert (graph.name, graph.doc, graph.high) == ("codegen", "Write a module.", 3)
    with pytest.raises(KeyError):
        graph.stage("nothing")


def test_stages_come_after_all_they_need_and_otherwise_as_written() -> None:
    assert [stage.name for stage in build_graph(codegen()).stages] == ["draft", "tests", "proven", "review"]


def test_what_is_neither_agent_nor_service_nor_stage_is_an_input() -> None:
    task, lines = build_graph(codegen()).inputs
    assert (task.name, task.annotation, task.default, task.used_by) == (
        "task",
        Task,
        REQUIRED,
        ("review", "draft", "tests"),
    )
    assert (lines.name, lines.annotation, lines.default, lines.used_by) == ("lines", int, 40, ("tests",))
    assert (task.required, lines.required) == (True, False)
    assert repr(REQUIRED) == "REQUIRED"


def test_the_output_is_what_the_last_stage_returns() -> None:
    graph = build_graph(codegen())
    assert graph.terminals == ("review",)
    assert graph.output.value({"review": "fine"}, {}) == "fine"


def test_the_output_of_several_last_stages_is_a_dict() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def one(task: str) -> int: ...

    @pipeline.stage
    async def two(task: str) -> int: ...

    graph = build_graph(pipeline)
    assert graph.terminals == ("one", "two")
    assert graph.output.value({"one": 1, "two": 2}, {}) == {"one": 1, "two": 2}


def test_output_names_the_stage_whose_result_it_is() -> None:
    pipeline = codegen()
    pipeline.output("proven")
    graph = build_graph(pipeline)
    assert graph.output.source == "proven"
    assert graph.terminals == ("review",), "the other stages run all the same"


def test_a_place_is_the_line_of_the_decorator() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def draft(task: str) -> str: ...

    line = draft.__code__.co_firstlineno
    expected = __file__.removeprefix(f"{Path.cwd()}/")
    assert build_graph(pipeline).stage("draft").where == f"{expected}:{line}"


def test_optional_and_annotated_agents_are_agents() -> None:
    async def draft(coder: Annotated[Agent, "the coder"], tester: Agent | None) -> str: ...

    assert [param.role for param in build_graph(one(draft)).stages[0].params] == ["agent", "agent"]


def test_annotated_optional_types_keep_their_whole_annotation() -> None:
    async def draft(size: Annotated[int | None, "lines"]) -> None: ...

    (item,) = build_graph(one(draft)).inputs
    assert item.annotation == Annotated[int | None, "lines"]


def test_local_classes_are_found_by_their_names() -> None:
    class Local:
        pass

    pipeline = Pipeline("p")

    @pipeline.stage
    async def draft(task: list[Local]) -> Local: ...

    graph = build_graph(pipeline)
    assert graph.inputs[0].annotation == list[Local]
    assert graph.stages[0].returns is Local


def test_keyword_only_parameters_are_fine() -> None:
    async def draft(*, task: str) -> str: ...

    assert build_graph(one(draft)).inputs[0].name == "task"


def test_a_wrapped_stage_is_read_through_its_wrapper() -> None:
    async def draft(task: Task) -> Source: ...

    @functools.wraps(draft)
    async def wrapper(**values: Any) -> Any:
        return await draft(**values)

    (stage,) = build_graph(one(wrapper)).stages
    assert (stage.name, stage.func, stage.returns) == ("draft", wrapper, Source)
    assert stage.where.endswith(f":{draft.__code__.co_firstlineno}")


def test_a_value_is_taken_from_the_results_or_the_inputs() -> None:
    assert Param("a", "stage", "build.a", int).value({"build.a": 1}, {}) == 1
    assert Param("a", "input", "task", int).value({}, {"task": 2}) == 2
    assert Param("a", "stage", "b", int, (("x", "b.x"), ("y", "b.y"))).value({"b.x": 1, "b.y": 2}, {}) == {
        "x": 1,
        "y": 2,
    }
    assert Param("a", "agent", "a", Agent).stages == ()


def test_an_ask_is_a_stage_that_builds_a_prompt() -> None:
    pipeline = Pipeline("p")

    @pipeline.ask(agent="planner", returns=Task, importance="high")
    def plan(goal: str, helper: Agent) -> str: ...

    @pipeline.ask(agent="coder")
    async def draft(plan: Task): ...

    plan_stage, draft_stage = build_graph(pipeline).stages
    assert (plan_stage.kind, plan_stage.agent, plan_stage.agents, plan_stage.returns) == (
        "ask",
        "planner",
        ("planner", "helper"),
        Task,
    )
    assert (draft_stage.returns, draft_stage.needs, draft_stage.importance) == (str, ("plan",), "normal")


# -- inputs --------------------------------------------------------------------------------------------------------------


def test_defaults_of_the_pipeline_reach_the_inputs() -> None:
    pipeline = Pipeline("p", defaults={"lines": 10, "task": "t"})

    @pipeline.stage
    async def draft(task: str, lines: int = 10) -> str: ...

    assert {item.name: item.default for item in build_graph(pipeline).inputs} == {"task": "t", "lines": 10}


def test_one_default_is_enough_and_any_gives_way_to_a_type() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def one(lines: Any) -> int: ...

    @pipeline.stage
    async def two(lines: int = 4) -> int: ...

    (item,) = build_graph(pipeline).inputs
    assert (item.annotation, item.default, item.used_by) == (int, 4, ("one", "two"))


def test_contradicting_inputs_are_faults() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def one(task: str, lines: int = 4) -> int: ...

    @pipeline.stage
    async def two(task: Task, lines: int = 5) -> int: ...

    assert faults_of(pipeline) == [
        "stage two: input task is Task here and str in stage one",
        "stage two: input lines has the default 5 here and 4 in stage one (keep one of them)",
    ]


def test_equal_defaults_of_another_type_are_not_the_same() -> None:
    pipeline = Pipeline("p", defaults={"lines": True})

    @pipeline.stage
    async def draft(other: int, lines: int = 1) -> str: ...

    assert fault_of(pipeline) == (
        "stage draft: input lines has the default 1 here and True in the pipeline's defaults (keep one of them)"
    )


def test_defaults_for_nothing_are_faults() -> None:
    pipeline = Pipeline("p", defaults={"lins": 1})

    @pipeline.stage
    async def draft(lines: int) -> str: ...

    assert fault_of(pipeline) == "defaults: no stage takes an input 'lins' (did you mean 'lines'?)"


def test_an_input_named_nearly_like_a_stage_says_so() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def draft(task: str) -> Source: ...

    @pipeline.stage
    async def review(drfat: Source, drafts: int = 3) -> str: ...

    assert {item.name: item.near for item in build_graph(pipeline).inputs} == {
        "task": None,
        "drfat": "draft",
        "drafts": None,
    }


# -- each ----------------------------------------------------------------------------------------------------------------


def test_each_gives_the_items_of_a_stage_one_by_one() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def files(task: str) -> list[Source]: ...

    @pipeline.stage(each="files")
    async def size(files: Source) -> int: ...

    @pipeline.stage(each={"number": "size"})
    async def double(number: int, size: list[int]) -> int: ...

    graph = build_graph(pipeline)
    assert graph.stage("size").each == Each("files", "files")
    assert graph.stage("size").needs == ("files",)
    assert graph.stage("double").each == Each("number", "size")
    assert [param.source for param in graph.stage("double").params] == ["size", "size"]
    assert graph.stage("double").needs == ("size",)


def test_each_over_an_input_makes_it_a_list() -> None:
    async def size(file: Source = Source("")) -> int: ...

    (item,) = build_graph(one(size, each={"file": "files"})).inputs
    assert (item.name, item.annotation, item.default) == ("files", list[Source], REQUIRED)


def test_each_over_an_input_another_stage_declares_keeps_that_type() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(each={"file": "files"})
    async def size(file: Source) -> int: ...

    @pipeline.stage
    async def count(files: tuple[Source, ...]) -> int: ...

    assert build_graph(pipeline).inputs[0].annotation == tuple[Source, ...]


def test_each_over_an_input_that_has_no_such_items_is_a_fault() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(each={"file": "files"})
    async def size(file: Source) -> int: ...

    @pipeline.stage(each={"letter": "name"})
    async def upper(letter: str) -> str: ...

    @pipeline.stage
    async def count(files: list[int], name: str) -> int: ...

    assert faults_of(pipeline) == [
        "stage size: parameter files is Source, but an item of input files is int",
        "stage upper: each='name': input name gives str, which has no items",
    ]


def test_each_that_names_nothing_is_a_fault() -> None:
    async def size(file: Source) -> int: ...

    async def none() -> int: ...

    assert fault_of(one(size, each="files")) == (
        "stage size: each names 'files', which is not one of its parameters "
        '(its parameters: file; each={"item": "files"} gives the items to a parameter `item`)'
    )
    assert fault_of(one(size, each={"x": "files"})) == (
        "stage size: each names 'x', which is not one of its parameters (its parameters: file)"
    )
    assert fault_of(one(none, each="files")) == "stage none: each names 'files', which is not one of its parameters"


@pytest.mark.parametrize("each", [3, {}, {"a": "x", "b": "y"}, {"file": 3}])
def test_a_bad_each_is_a_fault(each: Any) -> None:
    async def size(file: Source) -> int: ...

    assert fault_of(one(size, each=each)).startswith(f"stage size: each={each!r} is not understood (write each=")


def test_each_over_what_cannot_be_iterated_is_a_fault() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def number() -> int: ...

    @pipeline.stage
    async def sources() -> list[Source]: ...

    @pipeline.stage(each="number")
    async def wrong(number: int) -> int: ...

    @pipeline.stage(each="sources")
    async def other(sources: int) -> int: ...

    assert faults_of(pipeline) == [
        "stage wrong: each='number': number gives int, which has no items",
        "stage other: parameter sources is int, but an item of sources is Source",
    ]


def test_each_must_be_a_value_to_be_wired() -> None:
    async def size(coder: Agent) -> int: ...

    assert fault_of(one(size, each="coder")) == (
        "stage size: each names 'coder', an agent or a service, which has no items"
    )


# -- faults --------------------------------------------------------------------------------------------------------------


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(importance="hgih")  # type: ignore[call-overload]
    async def draft(codr: Agent, task, *more: int, **rest: int): ...

    @pipeline.stage
    def tests(a: str, /) -> str: ...

    pipeline.output("draf")
    assert faults_of(pipeline, agents=["coder"]) == [
        "stage draft: importance 'hgih' is unknown (possible: 'normal', 'high')",
        (
            "stage draft: parameter task has no annotation "
            "(write `task: Agent`, `task: str` or the type of the stage's result)"
        ),
        "stage draft: *more cannot be wired (name each parameter: its name says where its value comes from)",
        "stage draft: **rest cannot be wired (name each parameter: its name says where its value comes from)",
        "stage draft: has no return annotation (write `-> None` if it returns nothing; a resumed run reads results back by it)",
        "stage draft: no agent 'codr' in agents.toml (did you mean 'coder'?)",
        "stage tests: is not async (write `async def tests(...)`)",
        "stage tests: parameter a is positional-only, and stages are called by name (remove the `/`)",
        "output: there is no stage 'draf' (did you mean 'draft'?)",
    ]


def test_an_unknown_agent_of_an_ask_is_a_fault() -> None:
    pipeline = Pipeline("p")

    @pipeline.ask(agent="codr")
    def draft(task: str) -> str: ...

    assert fault_of(pipeline, agents={"coder"}) == "stage draft: no agent 'codr' in agents.toml (did you mean 'coder'?)"
    assert build_graph(pipeline).agents == ("codr",), "without the names nothing is said about agents"


def test_an_ask_that_builds_no_text_is_a_fault() -> None:
    pipeline = Pipeline("p")

    @pipeline.ask(agent="coder")  # type: ignore[type-var]
    def draft(task: str) -> int: ...

    @pipeline.ask(agent="coder")
    def fine(task: str) -> Any: ...

    assert fault_of(pipeline).startswith("stage draft: builds the prompt, so it returns str, not int")


def test_a_stage_that_yields_is_a_fault() -> None:
    async def draft(task: str) -> collections.abc.AsyncIterator[str]:
        yield task

    assert fault_of(one(draft)) == "stage draft: yields, and a stage has one result (return a list instead)"


def test_what_is_no_function_is_a_fault() -> None:
    async def draft(task: str) -> str: ...

    assert "is not a function" in fault_of(one(functools.partial(draft, task="")))
    assert "is not a function" in fault_of(one(print))


def test_a_stage_needs_a_name_of_its_own() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def run(task: str) -> str: ...

    pipeline.stage(lambda: None)  # type: ignore[arg-type,return-value]
    found = faults_of(pipeline)
    assert found[0].startswith("stage run: the name 'run' is taken (rename it; also taken: ")
    assert (
        "stage <lambda>: needs a name that other stages can use as a parameter (write it with `async def NAME`)"
        in found
    )


def test_a_name_used_twice_is_a_fault_at_the_second() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def draft(task: str) -> str: ...

    first = build_graph(pipeline).stage("draft").where

    def again() -> None:
        @pipeline.stage
        async def draft(other: str) -> str: ...

    again()
    assert fault_of(pipeline) == f"stage draft is defined twice (first at {first}; rename one)"


def test_an_empty_pipeline_is_a_fault() -> None:
    pipeline = Pipeline("p")
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    with pytest.raises(DefinitionError) as caught:
        build_graph(pipeline)
    (fault,) = caught.value.faults
    assert fault.message == "pipeline p has no stages"
    assert fault.where.endswith(f"test_graph.py:{line}")


def test_two_outputs_are_a_fault() -> None:
    pipeline = codegen()
    pipeline.output("draft")
    pipeline.output("tests")
    assert fault_of(pipeline) == "output is set to draft and to tests (a pipeline has one output)"


@pytest.mark.parametrize("timeout", ["soon", 0, -1, True, [], float("nan"), "0s"])
def test_a_timeout_nobody_can_keep_is_a_fault(timeout: Any) -> None:
    async def draft(task: str) -> str: ...

    assert fault_of(one(draft, timeout=timeout)).startswith("stage draft: timeout")


def test_a_timeout_may_be_seconds() -> None:
    async def draft(task: str) -> str: ...

    assert build_graph(one(draft, timeout=2)).stages[0].timeout == 2.0


def test_an_annotation_that_cannot_be_read_is_named() -> None:
    async def draft(task: Decimal, coder: Agnet) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

    async def other(task: inspect.Nothing) -> str: ...  # type: ignore[name-defined]

    pipeline = one(draft)
    pipeline.stage(other)
    hint = "(import it in this file, and not only under `if TYPE_CHECKING`)"
    assert faults_of(pipeline) == [
        f"stage draft: the annotation of task, 'Decimal', cannot be read: name 'Decimal' is not defined {hint}",
        f"stage draft: the annotation of coder, 'Agnet', cannot be read: name 'Agnet' is not defined {hint}",
        f"stage draft: the return annotation, 'Missing', cannot be read: name 'Missing' is not defined {hint}",
        "stage other: the annotation of task, 'inspect.Nothing', cannot be read: module 'inspect' has no attribute 'Nothing'",
    ]


def test_a_list_of_agents_is_a_fault() -> None:
    async def draft(coders: list[Agent]) -> str: ...

    assert fault_of(one(draft)) == (
        "stage draft: parameter coders is list[Agent] (write one parameter for each: its name says which it is)"
    )


def test_a_parameter_that_contradicts_the_stage_it_names_is_a_fault() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def draft(task: str) -> Source: ...

    @pipeline.stage
    async def review(draft: Verdict) -> str: ...

    assert fault_of(pipeline) == "stage review: parameter draft is Verdict, but draft is Source"


def test_a_cycle_is_named_whole_and_every_one_is() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def start(c: int) -> int: ...

    @pipeline.stage
    async def a(b: int) -> int: ...

    @pipeline.stage
    async def b(c: int) -> int: ...

    @pipeline.stage
    async def c(a: int, task: str) -> int: ...

    @pipeline.stage
    async def own(own: int) -> int: ...

    assert faults_of(pipeline) == [
        "stages wait for each other: a -> b -> c -> a (a loop is plain Python inside one stage)",
        "stage waits for itself: own -> own (a loop is plain Python inside one stage)",
    ]


# -- includes ------------------------------------------------------------------------------------------------------------


def test_an_included_pipeline_is_wired_into_the_outer_one() -> None:
    outer = Pipeline("outer")
    outer.include(codegen(), name="build", inputs={"task": "plan"})

    @outer.ask(agent="planner", returns=Task)
    def plan(goal: str) -> str: ...

    @outer.stage
    async def report(build: str) -> None: ...

    graph = build_graph(outer)
    assert {stage.name: stage.needs for stage in graph.stages} == {
        "plan": (),
        "build.draft": ("plan",),
        "build.tests": ("plan",),
        "build.proven": ("build.draft", "build.tests"),
        "build.review": ("plan", "build.proven"),
        "report": ("build.review",),
    }
    assert [item.name for item in graph.inputs] == ["goal", "lines"]
    assert graph.inputs[1].used_by == ("build.tests",)
    assert graph.high == 3


def test_an_included_output_of_several_stages_is_a_dict() -> None:
    inner = Pipeline("inner")

    @inner.stage
    async def lint(task: str) -> int: ...

    @inner.stage
    async def types(task: str) -> int: ...

    outer = Pipeline("outer")
    outer.include(inner, name="check")

    @outer.stage
    async def report(check: dict[str, int]) -> None: ...

    graph = build_graph(outer)
    (param,) = graph.stage("report").params
    assert param.stages == ("check.lint", "check.types") == graph.stage("report").needs
    assert param.value({"check.lint": 1, "check.types": 2}, {}) == {"lint": 1, "types": 2}
    assert graph.inputs[0].used_by == ("check.lint", "check.types")


def test_a_named_output_of_an_included_pipeline_is_what_others_get() -> None:
    inner = codegen()
    inner.output("proven")
    outer = Pipeline("outer")
    outer.include(inner, name="build")

    @outer.stage
    async def report(build: Verdict) -> None: ...

    graph = build_graph(outer)
    assert graph.stage("report").needs == ("build.proven",)
    assert graph.terminals == ("report", "build.review")
    assert graph.output.source == "report"


def test_includes_nest_and_their_names_show_it() -> None:
    inner, middle, outer = Pipeline("inner"), Pipeline("middle"), Pipeline("outer", defaults={"goal": "g"})

    @inner.stage
    async def lint(task: str = "t") -> int: ...

    @inner.stage
    async def types(task: str) -> int: ...

    middle.include(inner, name="check", inputs={"task": "aim"})

    @middle.stage
    async def count(aim: str) -> int: ...

    outer.include(middle, name="build", inputs={"aim": "goal"})
    graph = build_graph(outer)
    assert [stage.name for stage in graph.stages] == ["build.count", "build.check.lint", "build.check.types"]
    (item,) = graph.inputs
    assert (item.name, item.default) == ("goal", "g"), "the outermost default decides"
    assert graph.output.parts == (
        ("count", "build.count"),
        ("check.lint", "build.check.lint"),
        ("check.types", "build.check.types"),
    )


def test_each_over_an_included_output() -> None:
    inner, outer = Pipeline("inner"), Pipeline("outer")

    @inner.stage
    async def files(task: str) -> list[Source]: ...

    outer.include(inner, name="build")

    @outer.stage(each={"file": "build"})
    async def size(file: Source) -> int: ...

    assert build_graph(outer).stage("size").each == Each("file", "build.files")


def test_a_pipeline_that_includes_itself_is_a_fault() -> None:
    a, b = Pipeline("a"), Pipeline("b")
    a.include(b, name="b")
    b.include(a, name="a")
    assert fault_of(a) == "pipeline a includes itself: a -> b -> a"


def test_an_include_fed_by_itself_is_a_cycle() -> None:
    inner, outer = Pipeline("inner"), Pipeline("outer")

    @inner.stage
    async def draft(task: str) -> str: ...

    outer.include(inner, name="build", inputs={"task": "build"})
    assert fault_of(outer).startswith("stage waits for itself: build.draft -> build.draft")


def test_the_faults_of_includes_come_at_once() -> None:
    inner, outer = Pipeline("inner"), Pipeline("outer")

    @inner.stage
    async def draft(task: str) -> str: ...

    outer.include(inner, name="build", inputs={"taks": "plan", "task": "a b"})
    outer.include(inner, name="build")
    outer.include(inner, name="not a name")
    outer.include(inner, name="run")
    outer.include("inner", name="text")  # type: ignore[arg-type]
    outer.include(Pipeline("empty"), name="empty")

    @outer.stage
    async def last(empty: str) -> str: ...

    found = faults_of(outer)
    assert found[0] == "include build: pipeline inner has no input 'taks' (did you mean 'task'?)"
    assert found[1] == "include build: task cannot come from 'a b' (name a stage or an input of the outer pipeline)"
    assert found[2].startswith("stage build is defined twice")
    assert found[3].startswith("include: 'not a name' cannot be a stage's name")
    assert found[4].startswith("include: 'run' cannot be a stage's name")
    assert found[5] == "include text: 'inner' is not a Pipeline"
    assert found[6] == "pipeline empty has no stages (write one with @pipeline.stage)"
    assert len(found) == 7


def test_an_included_output_that_names_nothing_is_told_once() -> None:
    inner, outer = Pipeline("inner"), Pipeline("outer")

    @inner.stage
    async def draft(task: str) -> str: ...

    inner.output("nothing")
    outer.include(inner, name="build")
    outer.include(inner, name="again")

    @outer.stage
    async def last(build: str) -> str: ...

    assert fault_of(outer) == "output: there is no stage 'nothing' (possible: draft)"


# -- what a graph knows of itself ----------------------------------------------------------------------------------------


def _chain_beside(width: int) -> Pipeline:
    """x feeds `width` stages, and y beside it waits for nobody."""
    pipeline = Pipeline("p")

    @pipeline.stage
    async def x() -> int: ...

    @pipeline.stage
    async def y() -> int: ...

    for index in range(width):

        async def after(x: int) -> int: ...

        after.__name__ = f"after{index}"
        pipeline.stage(after)
    return pipeline


def test_width_is_the_most_that_can_run_side_by_side_not_the_widest_wave() -> None:
    graph = build_graph(_chain_beside(2))
    assert graph.width() == 3


@pytest.mark.parametrize(
    ("needs", "widest"),
    [
        pytest.param({"a": "", "b": "", "c": "ab", "d": "a"}, 2, id="a later choice changes an earlier one"),
        pytest.param(
            {"a": "", "b": "", "c": "ab", "d": "a", "e": "acd", "f": "c"}, 2, id="also one that led through a stage"
        ),
        pytest.param(
            {"a": "", "b": "", "c": "", "d": "bc", "e": "abcd", "f": "ab"},
            3,
            id="or is led through one that others pass",
        ),
        pytest.param({"a": "", "b": "", "c": "", "d": "abc", "e": "d", "f": "d", "g": "d"}, 3, id="all pass one stage"),
    ],
)
def test_width_is_found_whatever_was_matched_first(needs: dict[str, str], widest: int) -> None:
    graph = build_graph(_wired([(name, list(those)) for name, those in needs.items()]))
    assert graph.width() == _independent(graph) == widest


def _in_layers(layers: int) -> Pipeline:
    """Layers of five stages, each of which waits for all of the layer before; every other one is a single stage."""
    stages: list[tuple[str, list[str]]] = []
    before: list[str] = []
    for layer in range(layers):
        names = [f"s{layer}_{number}" for number in range(5 if layer % 2 else 1)]
        stages += [(name, before) for name in names]
        before = names
    return _wired(stages)


def _calls(work: Callable[[], object]) -> int:
    """How many calls of Python it takes, which a busy machine does not change."""
    made = 0

    def count_call(_frame: object, event: str, _arg: object) -> None:
        nonlocal made
        made += event == "call"

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made


def test_twice_the_stages_are_twice_the_work_to_find_the_width() -> None:
    assert build_graph(_in_layers(80)).width() == 5
    assert _calls(build_graph(_in_layers(80)).width) < 2.2 * _calls(build_graph(_in_layers(40)).width)


def test_twice_the_stages_are_twice_the_work_to_build() -> None:
    def calls(count: int) -> int:
        pipeline = Pipeline("p")
        for index in range(count):

            async def stage(x: int) -> int: ...

            stage.__name__ = f"s{index}"
            pipeline.stage(stage)

        return _calls(lambda: build_graph(pipeline))

    calls(1)  # what is made once is made
    assert calls(400) < 2.2 * calls(200)


def test_a_chain_is_one_wide() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage
    async def a() -> int: ...

    @pipeline.stage
    async def b(a: int) -> int: ...

    @pipeline.stage
    async def c(a: int, b: int) -> int: ...

    assert build_graph(pipeline).width() == 1
    assert build_graph(codegen()).width() == 2


def test_the_picture_shows_inputs_stages_agents_and_importance() -> None:
    pipeline = Pipeline("p")

    @pipeline.stage(each="files", importance="high")
    async def end(files: Literal["a", "b"], coder: Agent) -> int: ...

    @pipeline.stage
    async def last(end: list[int]) -> int: ...

    assert build_graph(pipeline).mermaid() == (
        'flowchart TD\n  i0(["files: list[Literal[&quot;a&quot;, &quot;b&quot;]]"])\n'.replace("&quot;", "'")
        + '  s0["end (each)<br/>coder"]:::high\n'
        '  s1["last"]\n'
        "  i0 --> s0\n"
        "  s0 --> s1\n"
        "  classDef high stroke-width:3px\n"
    )


def test_the_picture_of_an_ordinary_graph_has_no_styles() -> None:
    async def a(task: str) -> int: ...

    assert "classDef" not in build_graph(one(a)).mermaid()


# -- fingerprints --------------------------------------------------------------------------------------------------------

STAGE = """
async def stage(x):
    "doc"
    marks = {"a", "b", "c", "d"}
    def inner(y):
        return (y, 1.0, None, b"x") if y in {"p", "q", "r"} else x
    return inner(x) or marks%s
"""


def _made(source: str) -> Any:
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope["stage"]


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        f"from vwt_agents.graph import fingerprint\nscope = {{}}\nexec({STAGE % ''!r}, scope)\n"
        "print(fingerprint(scope['stage']))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {fingerprint(_made(STAGE % ""))}


def test_a_fingerprint_ignores_where_the_code_lies_and_comments() -> None:
    assert fingerprint(_made("\n\n\n" + STAGE % "  # a comment")) == fingerprint(_made(STAGE % ""))


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.0", "1"), ('"p", "q"', '"p", "s"'), ("inner(x) or", "inner(x) and"), ('b"x"', 'b"y"'), ("(y)", "(z, y=1)")],
)
def test_a_fingerprint_changes_with_what_the_code_does(old: str, new: str) -> None:
    assert fingerprint(_made((STAGE % "").replace(old, new))) != fingerprint(_made(STAGE % ""))


def test_a_fingerprint_sees_which_method_is_called() -> None:
    ask, stream = (_made(f"async def stage(a): return await a.{name}()") for name in ("ask", "stream"))
    assert fingerprint(ask) != fingerprint(stream)


def test_an_asks_fingerprint_sees_whom_it_asks_for_what() -> None:
    def prompt(task: str) -> str: ...

    def asked(**kwargs: Any) -> str:
        pipeline = Pipeline("p")
        pipeline.ask(**kwargs)(prompt)
        return build_graph(pipeline).stages[0].fingerprint()

    variants = [{"agent": "a"}, {"agent": "b"}, {"agent": "a", "returns": int}]
    assert len({asked(**variant) for variant in variants}) == 3
    assert asked(agent="a") == asked(agent="a", importance="high", timeout=3)

    async def stage(task: str) -> str: ...

    assert build_graph(one(stage)).stages[0].fingerprint() == fingerprint(stage)


# -- types ---------------------------------------------------------------------------------------------------------------


class Readable(Protocol):
    def read(self) -> str: ...


class Shape(TypedDict):
    side: int


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int, "int"),
        (type(None), "None"),
        (Task, "Task"),
        (list[Task], "list[Task]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, list[Task]], "dict[str, list[Task]]"),
        (str | None, "str | None"),
        (Annotated[int, "x"], "int"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Any, "Any"),
    ],
)
def test_a_type_is_named_as_the_user_writes_it(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (Source, Source, False),
        (Source, Task, True),
        (bool, int, False),
        (object, Task, False),
        (int, float, False),
        (float, int, True),
        (Any, Task, False),
        (Task, Any, False),
        (str | None, Task, False),
        (list[int], collections.abc.Sequence, False),
        (list[int], Task, True),
        (Annotated[int, "x"], str, True),
        (type(None), Task, True),
        (Source, Readable, False),
        (Shape, Shape, False),
        (int, Shape, False),
    ],
)
def test_types_contradict_only_where_they_plainly_do(given: Any, wanted: Any, expected: bool) -> None:
    assert contradict(given, wanted) is expected


@pytest.mark.parametrize(
    ("annotation", "item"),
    [
        (list[int], int),
        (tuple[int, ...], int),
        (tuple[int, str], Any),
        (dict[str, int], Any),
        (list, Any),
        (str, None),
        (int, None),
        (str | None, Any),
        (Annotated[list[int], "x"], int),
        (collections.abc.Sequence[Task], Task),
    ],
)
def test_the_items_of_a_type(annotation: Any, item: Any) -> None:
    assert item_type(annotation) is item


# -- any graph -----------------------------------------------------------------------------------------------------------


@st.composite
def dags(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Stages in an order of writing that is not their order of running."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 9)))]
    edges = [
        (name, draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else [])
        for index, name in enumerate(names)
    ]
    return draw(st.permutations(edges))


def _wired(stages: list[tuple[str, list[str]]]) -> Pipeline:
    pipeline = Pipeline("random")
    for name, needs in stages:
        params = ", ".join(f"{need}: int" for need in needs)
        scope: dict[str, Any] = {}
        exec(f"async def {name}({params}) -> int: ...", scope)
        pipeline.stage(scope[name])
    return pipeline


def _independent(graph: Graph) -> int:
    """The widest set of stages of which none waits for another, by trying every set."""
    before: dict[str, set[str]] = {}
    for stage in graph.stages:
        before[stage.name] = set(stage.needs).union(*(before[need] for need in stage.needs))
    best, names = 0, list(before)
    for mask in range(1 << len(names)):
        chosen = {name for bit, name in enumerate(names) if mask >> bit & 1}
        if len(chosen) > best and not any(before[name] & chosen for name in chosen):
            best = len(chosen)
    return best


@settings(max_examples=60)
@given(dags())
def test_any_pipeline_without_a_cycle_comes_out_in_an_order_that_runs(stages: list[tuple[str, list[str]]]) -> None:
    graph = build_graph(_wired(stages))
    seen: set[str] = set()
    for stage in graph.stages:
        assert set(stage.needs) <= seen
        seen.add(stage.name)
    assert {stage.name: set(stage.needs) for stage in graph.stages} == {name: set(needs) for name, needs in stages}
    assert graph.width() == _independent(graph)


@settings(max_examples=60)
@given(dags(), st.data())
def test_an_edge_back_always_is_a_cycle(stages: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    graph = build_graph(_wired(stages))
    waits: dict[str, set[str]] = {}
    for stage in graph.stages:
        waits[stage.name] = {stage.name}.union(*(waits[need] for need in stage.needs))
    late = data.draw(st.sampled_from(sorted(waits)))
    early = data.draw(st.sampled_from(sorted(waits[late])))
    closed = [(name, sorted({*needs, late}) if name == early else needs) for name, needs in stages]
    fault = fault_of(_wired(closed))
    path = fault.partition(": ")[2].partition(" (")[0].split(" -> ")
    assert path[0] == path[-1]
    assert len(set(path)) == len(path) - 1
    needs = dict(closed)
    assert all(later in needs[name] for name, later in itertools.pairwise(path))
