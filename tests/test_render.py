"""Every kind of result has a text; views tell each thing once, and neither breaks a run nor believes a model's markup."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from vwt_agents.agents import Agent
from vwt_agents.board import Board, CallLine, ModelLine, StageLine, Swap, Tally
from vwt_agents.endpoints.base import Progress
from vwt_agents.graph import Graph, build_graph
from vwt_agents.messages import Chunk
from vwt_agents.pipeline import Pipeline
from vwt_agents.render.live import LiveView, PlainView, open_view
from vwt_agents.render.pulls import PullView
from vwt_agents.render.report import run_report
from vwt_agents.render.tables import plan_text, run_text, shorten
from vwt_agents.result import RunResult
from vwt_agents.routing import ModelPlan, Plan, Route
from vwt_agents.sandbox.judge import Failure, Verdict
from vwt_agents.values import encode, jsonable

LARGE = Route("draft", "coder", "large", "big", "large:2b", "gpu0", 2048, 1, 600, "sum", "escalated")
SMALL = Route(
    "draft", "coder", "small", "here", "small:1b", "gpu0", 2048, 4, 300, "sum", "small | cheap", escalated=LARGE
)
SPECS = (
    ModelPlan("here", "small:1b", "gpu0", 300, "sum", 2048, 4, ("small",), needs_pull=True),
    ModelPlan("big", "large:2b", "gpu0", 600, "sum", 2048, 1, ("large",), only_escalation=True),
)
PLAN = Plan(False, "small", "not promoted: 0 of 2", {("draft", "coder"): SMALL}, SPECS, ("a note",))
BAD = Verdict(
    passed=False,
    reason="1 of 2 tests failed",
    tests_run=2,
    tests_passed=1,
    tests_failed=1,
    failures=(Failure("test_f.py::test_a", "AssertionError", "assert 1 == 2\n```\nfenced"),),
    backend="namespaces",
)


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


def graph() -> Graph:
    pipeline = Pipeline("p", doc="What it does.", defaults={"empty": "", "thing": Opaque(), "text": "two\nlines"})

    @pipeline.stage
    async def draft(coder: Agent, task: str, empty: str, thing: Any, text: str) -> list[str]:
        return [task]

    @pipeline.stage(each={"item": "draft"}, importance="high")
    async def checked(item: str) -> str:
        return item

    return build_graph(pipeline)


def board() -> Board:
    made = Board()
    made.stages = {"draft": StageLine("draft", ("coder",), ()), "checked": StageLine("checked", (), ("draft",))}
    made.models = {("here", "small:1b"): ModelLine("here", "small:1b", "gpu0", "resident", 300, 1, 4)}
    made.budgets, made.peaks = {"gpu0": 1000}, {"gpu0": 300}
    return made


def result(**more: Any) -> RunResult:
    made = RunResult("run-1", "p", "good", 0, promoted=False, tier="small", seconds=1.5)
    made.count(board(), 0.0)
    for name, value in more.items():
        setattr(made, name, value)
    return made


RESULTS = {
    "outputs": result(outputs={"draft": ["one"], "text": "some text"}, artifacts=["out/a.py"]),
    "nothing at all": result(),
    "bad verdict": result(status="bad", exit_code=1, verdict=jsonable(BAD)),
    "good verdict": result(verdict=jsonable(replace(BAD, passed=True, failures=()))),
    "an error": result(status="failed", exit_code=3, error="it broke\n  do this"),
    "interrupted": result(status="interrupted", exit_code=130),
    "no stage ran": replace(result(), stages=[], devices={}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_end_of_a_run_has_a_text_and_a_report(name: str) -> None:
    made = RESULTS[name]
    for text in (run_text(made), run_text(made, width=60), run_report(made, PLAN, board(), graph())):
        assert made.status in text
        assert made.run_id in text
        assert not made.error or "it broke" in text
        assert not made.verdict or made.verdict["reason"] in text


def test_a_run_with_limits_says_what_it_used_of_them() -> None:
    limits = {"deadline": {"used": 1.52, "limit": 1800.0}, "max_calls": {"used": 3, "limit": 200}}
    made = result(limits=limits)
    assert "limits: deadline: 1.5 s of 1800.0 s, max_calls: 3 of 200" in run_text(made)
    assert "## Limits\n\n- deadline: 1.5 s of 1800.0 s\n- max_calls: 3 of 200" in run_report(
        made, PLAN, board(), graph()
    )
    assert "imits" not in run_text(result()) + run_report(result(), PLAN, board(), graph())


def test_a_promoted_run_says_what_was_promoted() -> None:
    assert "models: small tier" in run_text(result())
    assert "promoted to the large tier" in run_text(result(promoted=True, tier="large"))
    assert "important stages on the large tier" in run_text(result(promoted=True))


def test_a_report_survives_what_models_and_tests_write_into_it() -> None:
    text = run_report(result(verdict=jsonable(BAD)), PLAN, board(), graph())
    assert "````\nassert 1 == 2\n```\nfenced\n````" in text
    assert "small \\| cheap" in text


@pytest.mark.parametrize("width", [None, 50])
def test_a_plan_has_its_stages_inputs_routes_models_and_loads(width: int | None) -> None:
    text = plan_text(graph(), PLAN, {"gpu0": 1000}, {"gpu0": "as measured"}, width=width)
    for said in ("checked (each of draft)", "small:1b", "only on escalation", "predicted loads: 1", "note: a note"):
        assert said in text
    inputs = text.partition("\ninputs\n")[2].partition("\nroutes\n")[0]
    assert all(f"{name} " in inputs for name in ("task", "empty", "thing", "text"))
    assert "<opaque>" in inputs


@pytest.mark.parametrize(
    ("budget", "loads", "residency"),
    [
        (1000, "predicted loads: 2\n", "gpu0: 2 models side by side, 600 of 1000 MiB"),
        (
            599,
            "predicted loads: 2 at least, as models are swapped\n",
            "gpu0: swaps: 2 models in turn (600 MiB together, budget 599 MiB)",
        ),
    ],
)
def test_a_plan_says_whether_its_models_are_side_by_side_or_swapped(budget: int, loads: str, residency: str) -> None:
    sure = PLAN.specs[0]
    both = (replace(sure, footprint=300), replace(sure, model="other:1b", footprint=300))
    text = plan_text(graph(), replace(PLAN, specs=both), {"gpu0": budget}, {})
    assert f"{loads}residency on {residency}\n" in text


def test_a_reason_that_several_stages_share_is_said_once_in_parts() -> None:
    route = next(iter(PLAN.routes.values()))
    routes = {(stage, "coder"): replace(route, stage=stage, reason="because; and so") for stage in ("one", "two")}
    text = plan_text(graph(), replace(PLAN, routes=routes), {"gpu0": 1000}, {})
    assert text.count("  coder on small:1b:\n    because\n    and so\n") == 1


def test_a_value_that_is_cut_says_so() -> None:
    assert shorten("x" * 30, 10) == "x" * 10 + "\n... (20 more characters)"
    assert json.loads(shorten({"a": [1]})) == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), "NaN"),
        ({"a": float("inf")}, {"a": "Infinity"}),
        ({("a", 1): {2}}, {"a,1": [2]}),
        ([Opaque()], ["<opaque>"]),
        ("half \ud83d", "half \ud83d"),
        (b"\xff", "_w=="),
    ],
)
def test_any_value_has_json(value: Any, plain: Any) -> None:
    assert jsonable(value) == json.loads(encode(value), parse_constant=pytest.fail) == plain


def swap_and_end(made: Board) -> None:
    """A stage that starts, one load, one load that fails, a remark, the stage's end; told to views as they happen."""
    line = made.stages["draft"]
    line.status, line.started = "running", 1.0
    made.changed()
    made.swaps.append(Swap("load", "here", "small:1b", "gpu0", 2.0, 0.5, 300))
    made.changed()
    made.swaps.append(Swap("load", "big", "large:2b", "gpu0", 2.0, 0.5, 0, ok=False, why="no room"))
    made.changed()
    made.say("draft: halfway")
    line.status, line.ended = "done", 3.0
    line.tally = Tally(models=("small:1b",), calls=2, output_tokens=40)
    made.changed()
    made.changed()


def test_plain_lines_tell_each_thing_once() -> None:
    made, out = board(), io.StringIO()
    with PlainView(made, out):
        swap_and_end(made)
    assert out.getvalue().splitlines() == [
        "> draft (coder)",
        "  load small:1b on here, 0.5 s, 300 MiB",
        "  ! load large:2b on big, 0.5 s: no room",
        "draft: halfway",
        "+ draft 2.0 s  small:1b  2 calls, 40 tokens",
    ]
    assert (made.watchers, made.on_line) == ((), [])


@pytest.mark.parametrize("live", [False, True])
def test_no_view_lets_a_model_s_text_command_the_terminal(live: bool) -> None:
    made, out = board(), io.StringIO()
    view = LiveView(made, Console(file=out, force_terminal=True, width=200)) if live else PlainView(made, out)
    with view:
        made.stages["draft"].status, made.stages["draft"].note = "running", "note \x1b]0;title\x07"
        made.say("said \x1b[2J \x9b2J \u202e")
    assert "said \\x1b[2J \\x9b2J \\x202e" in out.getvalue()
    assert [one for one in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\x07") if one in out.getvalue()] == []


def test_stages_that_fail_or_are_stopped_are_told() -> None:
    made, out = board(), io.StringIO()
    with PlainView(made, out):
        made.stages["draft"].status = "failed"
        made.stages["checked"].status = "stopped"
        made.changed()
    assert [line[:9] for line in out.getvalue().splitlines()] == ["x draft 0", "- checked"]


def test_a_reader_that_has_left_does_not_end_the_run() -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    made = board()
    with PlainView(made, Closed()):
        swap_and_end(made)


def test_quiet_shows_nothing_and_what_is_no_terminal_gets_no_control_codes() -> None:
    made, out = board(), io.StringIO()
    with open_view(made, quiet=True, stream=out):
        swap_and_end(made)
    assert out.getvalue() == ""
    with open_view(made, stream=out):
        made.say("a line")
    assert "\x1b" not in out.getvalue()
    assert "a line\n" in out.getvalue()


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=100, height=30, _environ={"TERM": "xterm"}), out


def test_the_live_view_shows_stages_waits_calls_and_the_budget() -> None:
    made = board()
    console, out = terminal()
    line = made.stages["draft"]
    line.status, line.started = "running", 1.0
    answering, reading = (CallLine("coder", "small:1b", None, lambda: 2.0) for _ in range(2))
    for _ in range(12):
        answering(Chunk("a"))
    line.in_flight = [answering, reading]
    made.queue, made.waits = {7: "draft"}, lambda request: f"request {request} waits for a slot"
    with LiveView(made, console) as view:
        view._live.refresh()
        swap_and_end(made)
    text = out.getvalue()
    for said in (
        "coder on small:1b: 12 tokens",
        "request 7 waits for a slot",
        "after draft",
        "300/1000 MiB",
        "halfway",
    ):
        assert said in text


def test_nothing_is_drawn_over_the_answer_of_who_is_asked_at_the_terminal() -> None:
    made = board()
    console, _out = terminal()
    with LiveView(made, console) as view:
        drawn = []
        for made.prompting in (False, True, True, False):
            made.changed()
            drawn.append(view._live.is_started)
    assert drawn == [True, False, False, True]
    assert not view._live.is_started


def test_how_a_stage_came_to_its_end_is_said_in_a_line() -> None:
    made, out = board(), io.StringIO()
    line = made.stages["draft"]
    with PlainView(made, out):
        for line.status, line.note in (("kept", ""), ("cached", "from run r1"), ("fallback", "no"), ("skipped", "bad")):
            made.changed()
    assert out.getvalue().splitlines() == [
        "= draft kept: done before",
        "= draft cached: from run r1",
        "~ draft fallback: no",
        "- draft skipped: bad",
    ]


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    made = board()
    console, out = terminal()
    line = made.stages["draft"]
    line.status, line.started, line.note = "running", 1.0, "see [/red] in list[int]"
    with LiveView(made, console) as view:
        view._live.refresh()
        made.say("said [/bold] too")
    assert "see [/red] in list[int]" in out.getvalue()
    assert "said [/bold] too" in out.getvalue()


def test_a_board_that_changes_while_it_is_painted_leaves_the_last_picture() -> None:
    class Changing(dict[int, str]):
        def items(self) -> Any:
            raise RuntimeError("dictionary changed size during iteration")

    made = board()
    made.stages["draft"].status = "running"
    console, _out = terminal()
    view = LiveView(made, console)
    painted = view._paint()
    made.queue = Changing()
    assert view._paint() is painted


def test_a_pull_is_told_in_tenths() -> None:
    made, out = board(), io.StringIO()
    with PlainView(made, out):
        view = PullView(made)
        for part in range(0, 1001, 5):
            view.show(Progress("pulling", part * 1_000_000, 1_000_000_000))
        view.show(Progress("success"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[5:6] == ["  pulling: 500 of 1000 MB (50%)"]
