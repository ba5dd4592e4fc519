"""An agent turns prompts into complete requests and texts into values; it asks once more, and then says what is wrong."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from vwt_agents.agents import Agent
from vwt_agents.config import AgentSettings
from vwt_agents.errors import AnswerInvalid, CallFailed
from vwt_agents.messages import Chunk, OnChunk, Options, Request, Response
from vwt_agents.routing import Route
from vwt_agents.stage_scope import StageScope

LARGE = Route("s", "coder", "large", "big", "large:2b", "gpu0", 2048, 1, 600, "", "escalated")
SMALL = Route("s", "coder", "small", "here", "small:1b", "gpu0", 2048, 4, 300, "", "small", escalated=LARGE)


class Choice(BaseModel):
    best: int


class Recorder:
    """A caller that keeps the requests and answers from a list, the last one again and again."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if on_chunk is not None:
            for piece in answer.split(" "):
                on_chunk(Chunk(piece))
        return Response(answer, request.model, request.endpoint)


def agent(
    *answers: str | Exception, seed: int = 0, stage: str = "s", **settings: Any
) -> tuple[Agent, Recorder, StageScope]:
    recorder, scope = Recorder(*answers), StageScope("run", stage, seed)
    said = AgentSettings("coder", system="Be exact.", options=Options(temperature=0.2), **settings)
    return Agent(said, SMALL, caller=recorder, scope=scope), recorder, scope


async def test_a_request_is_complete_and_shared_text_comes_first() -> None:
    coder, recorder, _ = agent("yes")
    assert await coder.ask("Do it.", given=["The task."], stop=["\n"], num_predict=9) == "yes"
    (request,) = recorder.requests
    assert [(m.role, m.content) for m in request.messages] == [("system", "Be exact."), ("user", "The task.\n\nDo it.")]
    assert (request.endpoint, request.model, request.num_ctx) == ("here", "small:1b", 2048)
    assert (request.options.temperature, request.options.stop, request.options.num_predict) == (0.2, ("\n",), 9)
    assert request.labels["agent"] == "coder"


async def test_a_prefill_is_the_last_message_and_the_answer_is_what_follows() -> None:
    coder, recorder, _ = agent(" return 1")
    assert await coder.ask("Write.", prefill="def f():\n   ") == " return 1"
    assert recorder.requests[0].prefill == "def f():\n   "


async def test_an_answer_that_does_not_fit_is_asked_for_once_more_with_the_reason() -> None:
    coder, recorder, _ = agent("none", '{"best": 2}')
    assert await coder.ask("Choose.", Choice) == Choice(best=2)
    again = recorder.requests[1].messages
    assert (again[-2].role, again[-2].content) == ("assistant", "none")
    assert "fit the schema" in again[-1].content
    assert recorder.requests[1].format == Choice.model_json_schema()


async def test_after_two_bad_answers_the_error_names_agent_model_and_answer() -> None:
    coder, _, _ = agent("none")
    with pytest.raises(AnswerInvalid, match=r"'coder' \(small:1b\).*twice") as caught:
        await coder.ask("Choose.", Choice)
    assert caught.value.hint is not None
    assert "'none'" in caught.value.hint


async def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    coder, _, _ = agent("yes")
    with pytest.raises(TypeError, match="temperatur; did you mean 'temperature'"):
        await coder.ask("Do it.", temperatur=1)


async def test_one_text_where_several_belong_is_not_taken_for_its_characters() -> None:
    coder, recorder, _ = agent("yes")
    with pytest.raises(TypeError, match=r"'coder': given are several texts: write \[text\] for one"):
        await coder.ask("Do it.", given="the task")
    with pytest.raises(TypeError, match="prompts are several texts"):
        await coder.map("Do it.")
    assert recorder.requests == []


async def test_a_prompt_that_is_no_text_is_said() -> None:
    coder, _, _ = agent("yes")
    nothing: Any = None
    with pytest.raises(TypeError, match="'coder': a prompt, what is given, and a prefill are text, not NoneType"):
        await coder.ask(nothing)
    with pytest.raises(TypeError, match="are text, not NoneType"):
        await coder.ask("Do it.", given=["task", nothing])
    with pytest.raises(TypeError, match="are text, not NoneType"):
        await coder.ask("Do it.", prefill=nothing)


async def test_a_misspelt_priority_or_deadline_is_named_too() -> None:
    coder, _, _ = agent("yes")
    with pytest.raises(TypeError, match="prioirty; did you mean 'priority'"):
        await coder.ask("Do it.", prioirty="batch")
    with pytest.raises(TypeError, match="known: deadline, min_p"):
        await coder.map(["Do it."], whenever="1s")


async def test_calls_have_the_class_and_the_deadline_of_their_agent_or_their_own() -> None:
    coder, recorder, _ = agent("yes", priority="interactive", deadline=30.0)
    await coder.ask("x")
    await coder.ask("x", priority="batch", deadline="2m")
    await coder.sample("x", n=1, priority="batch", deadline=5)
    await coder.map(["x"], priority="batch", deadline="250ms")
    async with coder.stream("x", priority="batch", deadline="1h") as pieces:
        assert [piece async for piece in pieces] == ["yes"]
    assert [(request.priority, request.deadline) for request in recorder.requests] == [
        ("interactive", 30),
        ("batch", 120),
        ("batch", 5),
        ("batch", 0.25),
        ("batch", 3600),
    ]


async def test_where_nobody_says_a_call_has_the_runs_class_and_no_deadline() -> None:
    coder, recorder, _ = agent("yes")
    await coder.ask("x")
    assert (recorder.requests[0].priority, recorder.requests[0].deadline) == (None, None)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"priority": "interactiv"}, "'interactiv' is no priority; did you mean 'interactive'?"),
        ({"priority": "urgent"}, "'urgent' is no priority; possible: batch, interactive"),
        ({"deadline": "soon"}, "'soon' is not a duration; write a number above 0 and a unit"),
        ({"deadline": 0}, "0 is not a duration; write a number above 0"),
        ({"deadline": float("inf")}, "inf is not a duration"),
    ],
)
async def test_a_class_or_a_deadline_that_is_none_is_refused_before_the_call(terms: Any, said: str) -> None:
    coder, recorder, _ = agent("yes")
    with pytest.raises(ValueError, match=re.escape(said)):
        await coder.ask("x", **terms)
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": "hot"}, "agent 'coder': temperature: 'hot' is not a number"),
        ({"temperature": "0.5"}, "temperature: '0.5' is not a number (without quotes: temperature = 0.5)"),
        ({"temperature": 20}, "temperature: 20 should be at most 10"),
        ({"top_p": 7}, "top_p: 7 should be at most 1"),
        ({"top_p": float("nan")}, "top_p: nan should be"),
        ({"seed": 1 << 80}, f"seed: {1 << 80} should be at most {2**32 - 2}"),
        ({"num_predict": "many"}, "num_predict: 'many' is not a whole number"),
        ({"num_predict": 0}, "num_predict: 0 should be at least 1"),
        ({"stop": [1, 2]}, 'stop.0: 1 is not a text (in quotes: "1"); stop.1: 2 is not a text'),
        ({"stop": 5}, "stop: 5 is not a list"),
        ({"stop": [""]}, "stop.0: an empty text says nothing"),
        ({"think": "deep"}, "think: 'deep' is not true, false, 'low', 'medium' or 'high'"),
        ({"top_k": True}, "top_k: true is not a whole number"),
    ],
)
async def test_an_option_that_no_engine_would_take_is_refused_before_the_call(options: Any, said: str) -> None:
    coder, recorder, _ = agent("yes")
    with pytest.raises(ValueError, match=re.escape(said)):
        await coder.ask("x", **options)
    assert recorder.requests == []


async def test_options_of_a_call_may_be_unset_again_and_stops_are_given_as_any_series_of_texts() -> None:
    coder, recorder, _ = agent("yes")
    await coder.ask("x", temperature=None, stop=None)
    await coder.ask("x", stop=("a", "b"), temperature=1)
    await coder.ask("x", stop="a")
    said = [(request.options.temperature, request.options.stop) for request in recorder.requests]
    assert said == [(None, ()), (1, ("a", "b")), (0.2, ("a",))]


async def test_prompts_that_begin_with_the_same_text_share_a_prefix() -> None:
    coder, recorder, _ = agent("yes")
    bare = Agent(AgentSettings("bare"), SMALL, caller=recorder, scope=StageScope("run", "s", 0))
    await coder.ask("one", given=["The task.\n"])
    await coder.ask("two", given=["The task."], temperature=1.0)
    await coder.ask("one", given=["The ", "task."])
    await coder.ask("one")
    await bare.ask("one", given=["The task."])
    await bare.ask("one")
    first, second, other, system, given, nothing = (request.prefix for request in recorder.requests)
    assert first == second
    assert len({first, other, system, given, nothing}) == 5
    assert nothing == ""
    assert len(first) <= 16


async def test_seeds_differ_from_call_to_call_and_are_the_same_in_the_next_run() -> None:
    async def seeds(**named: Any) -> list[int | None]:
        coder, recorder, _ = agent("yes", **named)
        await coder.sample("x", n=3)
        return [request.options.seed for request in recorder.requests]

    first = await seeds()
    assert len(set(first)) == 3
    assert await seeds() == first
    assert not set(await seeds(seed=1)) & set(first)
    assert not set(await seeds(stage="t")) & set(first)


async def test_samples_that_do_not_fit_are_left_out() -> None:
    coder, _, _ = agent('{"best": 1}', "none", '{"best": 3}')
    assert await coder.sample("x", Choice, n=3) == [Choice(best=1), Choice(best=3)]


async def test_map_answers_in_order_and_an_error_comes_out_as_itself() -> None:
    coder, _, _ = agent("a", "b")
    assert await coder.map(["1", "2"]) == ["a", "b"]
    broken, _, _ = agent(CallFailed("gone"))
    with pytest.raises(CallFailed, match="gone"):
        await broken.map(["1", "2"])


async def test_a_stream_gives_the_pieces_and_ends() -> None:
    coder, _, _ = agent("one two three")
    async with coder.stream("x") as pieces:
        assert [piece async for piece in pieces] == ["one", "two", "three"]


async def test_leaving_a_stream_early_ends_the_call() -> None:
    ended = anyio.Event()

    class Endless(Recorder):
        async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
            assert on_chunk is not None
            on_chunk(Chunk("first"))
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
            raise AssertionError

    coder, _, scope = agent("x")
    endless = Agent(coder.settings, SMALL, caller=Endless(""), scope=scope)
    async with endless.stream("x") as pieces:
        async for _piece in pieces:
            break
    assert ended.is_set()


async def test_an_escalated_stage_sends_its_calls_to_the_large_tier() -> None:
    coder, recorder, scope = agent("yes")
    await coder.ask("x")
    scope.escalated = True
    await coder.ask("x")
    assert [request.model for request in recorder.requests] == ["small:1b", "large:2b"]
    assert coder.model == "large:2b"


@pytest.mark.parametrize("own", [True, False])
async def test_an_error_in_or_under_a_stream_comes_out_as_itself(own: bool) -> None:
    error = CallFailed("the engine died")
    coder, _, _ = agent("one two" if own else error)

    async def read() -> None:
        async with coder.stream("go") as pieces:
            async for _piece in pieces:
                raise error

    with pytest.raises(CallFailed) as caught:
        await read()
    assert caught.value is error


async def test_a_repeated_question_has_a_seed_that_depends_on_no_other_call() -> None:
    coder, recorder, _ = agent("no", '{"best":1}')
    await coder.ask("a", Choice)
    other, late, _ = agent("no", '{"best":1}', '{"best":1}', '{"best":1}')
    await other.map(["a", "b", "c"], Choice)
    first, again = (request.options.seed for request in recorder.requests)
    assert first != again
    assert [request.options.seed for request in late.requests].count(again) == 1
    assert late.requests[0].options.seed == first


async def test_samples_differ_also_where_the_agent_has_a_seed_of_its_own() -> None:
    coder, recorder, _ = agent("text")
    await coder.sample("go", n=3, seed=5)
    seeds = [request.options.seed for request in recorder.requests]
    assert (seeds[0], len(set(seeds))) == (5, 3)
    assert await coder.sample("go", n=0) == []


async def test_one_stop_text_is_not_taken_for_its_letters() -> None:
    coder, recorder, _ = agent("text")
    await coder.ask("go", stop="end")
    await coder.ask("go", stop=["a", "b"])
    assert [request.options.stop for request in recorder.requests] == [("end",), ("a", "b")]


async def test_a_type_no_schema_describes_is_refused_before_the_call() -> None:
    coder, recorder, _ = agent("text")
    with pytest.raises(TypeError, match="a model cannot answer with .*Recorder.*possible: str, Code"):
        await coder.ask("go", Recorder)
    assert recorder.requests == []
