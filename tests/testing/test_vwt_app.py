"""Promises of runs in a user's test: recorded once, given again anywhere, and a change is seen before it is believed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from two_models import CONFIG, MODELS

from vwt_agents.errors import RecordingStale, UsageError
from vwt_agents.testing import OllamaServer, VwtApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    from vwt_agents.messages import Request

PIPELINE = """
from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("talk", defaults={"topic": "rivers"})


@pipeline.stage
async def one(coder: Agent, topic: str) -> str:
    return await coder.ask("Say something short of it.\\nIn one line.", given=[topic])


@pipeline.stage
async def two(reviewer: Agent, topic: str) -> list[str]:
    return await reviewer.sample("Name one.", n=3, given=[topic])


@pipeline.stage
async def told(run: Run, one: str, two: list[str]) -> str:
    await run.deliver({"told.txt": " ".join([one, *two])})
    return one
"""


LEAVING = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("talk")


@pipeline.stage
async def one(coder: Agent) -> str:
    async with coder.stream("Count.") as pieces:
        async for piece in pieces:
            return piece
    return ""
"""


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with OllamaServer(MODELS, counting()) as running:
        yield running


def counting() -> Callable[..., str]:
    """Answers that are all different."""
    said = 0

    def answer(*_asked: object) -> str:
        nonlocal said
        said += 1
        return f"answer {said}"

    return answer


@pytest.fixture
def file(tmp_path: Path, server: OllamaServer) -> Path:
    (tmp_path / "agents.toml").write_text(CONFIG.format(url=server.url, budget="4000 MiB"))
    path = tmp_path / "talk.py"
    path.write_text(PIPELINE)
    return path


def app(folder: Path, name: str, *, record: bool = False) -> VwtApp:
    (folder / name).mkdir()
    return VwtApp(folder / name, root=folder, here=folder, record=record, command="pytest x --vwt-record")


@pytest.fixture
async def recorded(file: Path, server: OllamaServer) -> Path:
    """A run that was recorded, and its server gone."""
    result = await app(file.parent, "recorded", record=True).run("talk.py", recording="talk")
    assert result.status == "good"
    await server.refuse()
    return file


def write(file: Path, text: str) -> None:
    file.write_text(text)


def change(file: Path, before: str, now: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, now))


async def stale(file: Path, **how: Any) -> str:
    with pytest.raises(RecordingStale) as raised:
        await app(file.parent, "stale").run("talk.py", recording="talk", **how)
    return str(raised.value)


async def test_a_recorded_run_ends_the_same_without_any_server(recorded: Path) -> None:
    replayed = app(recorded.parent, "replayed")
    result = await replayed.run("talk.py", recording="talk")
    assert (result.status, result.error) == ("good", None)
    was = (recorded.parent / "recorded/out/told.txt").read_text()
    assert (replayed.out / "told.txt").read_text() == was
    assert len(replayed.calls) == 4
    assert sorted(was.split("answer")[1:]) == sorted({*was.split("answer")[1:]}), "no answer was given twice"


async def test_a_second_run_of_one_test_has_all_the_answers_again(recorded: Path) -> None:
    replayed = app(recorded.parent, "replayed")
    first = await replayed.run("talk.py", recording="talk")
    second = await replayed.run("talk.py", recording="talk")
    assert first.outputs == second.outputs
    assert replayed.out.name == "out2"


async def test_answers_drawn_from_other_seeds_are_given_in_the_order_of_the_recording(recorded: Path) -> None:
    replayed = app(recorded.parent, "replayed")
    await replayed.run("talk.py", recording="talk", seed=7)
    assert (replayed.out / "told.txt").read_text() == (recorded.parent / "recorded/out/told.txt").read_text()


async def test_another_endpoint_or_context_is_no_drift(recorded: Path) -> None:
    change(recorded.parent / "agents.toml", "num_ctx = 2048", "num_ctx = 1024")
    assert (await app(recorded.parent, "replayed").run("talk.py", recording="talk")).status == "good"


async def test_a_changed_prompt_fails_with_its_diff_and_the_command_that_records_anew(recorded: Path) -> None:
    change(recorded, "something short", "something long")
    said = await stale(recorded)
    assert said.startswith(
        "the recording recordings/talk.toml is stale: agent 'coder' of stage 'one' asks something else"
    )
    assert "message 1 (user):" in said
    assert "  -Say something short of it." in said
    assert "  +Say something long of it." in said
    assert "   In one line." in said
    assert said.endswith("record it anew: pytest x --vwt-record")


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ('"Name one.", n=3', '"Name one.", n=3, temperature=0.5', "option temperature: none was recorded, now 0.5"),
        (
            '"Name one.", n=3',
            '"Name one.", n=4',
            "agent 'reviewer' of stage 'two' asks once more what was recorded 3 times",
        ),
        ('"Name one.", n=3', '"Name one.", int, n=3', "+{"),
        ('"Name one.", n=3', '"Name one.", n=3, prefill="A "', "message 2 (none was recorded, now assistant):"),
        ("async def two(reviewer: Agent", "async def two(coder: Agent", "asks something else"),
        (
            '"Name one.", n=3',
            '"Name one.", n=2',
            "1 call was recorded and not made this time:\n  agent 'reviewer' of stage 'two'",
        ),
    ],
)
async def test_whatever_is_asked_otherwise_is_told(recorded: Path, before: str, now: str, why: str) -> None:
    change(recorded, before, now)
    if "coder: Agent" in now:
        change(recorded, "reviewer.sample", "coder.sample")
    assert why in await stale(recorded)


async def test_a_pipeline_that_swallows_the_error_does_not_hide_the_drift(recorded: Path) -> None:
    change(recorded, "    return await coder.ask(", "    try:\n        return await coder.ask(")
    change(
        recorded,
        "given=[topic])\n\n\n@pipeline.stage\nasync def two",
        "given=['x'])\n    except Exception:\n        return ''\n\n\n@pipeline.stage\nasync def two",
    )
    assert "+x" in await stale(recorded)


async def test_another_model_is_drift(recorded: Path) -> None:
    change(recorded.parent / "agents.toml", '[agents.coder]\ntask = "code"', '[agents.coder]\ntier = "large"')
    assert "model: 'small:1b' was recorded, now 'large:2b'" in await stale(recorded)


async def test_a_stage_that_is_new_is_told_with_those_that_were_recorded(recorded: Path) -> None:
    change(recorded, "async def one(", "async def uno(")
    change(recorded, "one: str", "uno: str")
    change(recorded, "one, *two", "uno, *two")
    change(recorded, "return one\n", "return uno\n")
    said = await stale(recorded)
    assert "agent 'coder' of stage 'uno' asks something, and nothing of it was recorded" in said
    assert "recorded were agent 'coder' of stage 'one', agent 'reviewer' of stage 'two'" in said


async def test_what_is_not_asked_any_more_is_a_warning_where_that_was_wanted(recorded: Path) -> None:
    change(recorded, "n=3", "n=2")
    with pytest.warns(UserWarning, match="talk.toml is stale: 1 call was recorded and not made"):
        result = await app(recorded.parent, "replayed").run("talk.py", recording="talk", strict=False)
    assert result.status == "good"


async def test_recording_twice_what_has_not_changed_changes_nothing_but_what_the_machine_says(
    file: Path, server: OllamaServer
) -> None:
    text = file.parent / "recordings/talk.toml"
    server._script = lambda *_: "the same"
    kept = []
    for name in ("once", "again"):
        await app(file.parent, name, record=True).run("talk.py", recording="talk")
        kept.append([line for line in text.read_text().splitlines() if not line.startswith("used_mib")])
    assert kept[0] == kept[1]
    order = [line for line in kept[0] if line.startswith("stage = ")]
    assert order == ['stage = "one"', *['stage = "two"'] * 3]


async def test_secrets_are_not_written_and_do_not_stop_the_replay(file: Path, server: OllamaServer) -> None:
    secret, inputs = "sk-abcdefghijklmnopqrstuvwx", {"topic": "ada@example.com of Acme, sk-abcdefghijklmnopqrstuvwx"}

    def clean(text: str) -> str:
        return text.replace("Acme", "<customer>")

    how: dict[str, Any] = {"inputs": inputs, "recording": "talk", "redact": clean}
    await app(file.parent, "recorded", record=True).run("talk.py", **how)
    text = (file.parent / "recordings/talk.toml").read_text()
    assert "<email> of <customer>, <key>" in text
    assert not [word for word in (secret, "ada@", "Acme", str(file.parent)) if word in text]
    await server.refuse()
    assert (await app(file.parent, "replayed").run("talk.py", **how)).status == "good"


async def test_a_stream_left_early_is_left_early_again(file: Path, server: OllamaServer) -> None:
    write(file, LEAVING)
    server._script = lambda *_: "one two three"
    first = await app(file.parent, "recorded", record=True).run("talk.py", recording="talk")
    await server.refuse()
    again = await app(file.parent, "replayed").run("talk.py", recording="talk")
    assert (again.status, again.outputs) == ("good", first.outputs)


async def test_a_run_that_failed_is_not_recorded(file: Path, server: OllamaServer) -> None:
    await server.refuse()
    with pytest.raises(Exception, match="not recorded|endpoint|answer"):
        await app(file.parent, "recorded", record=True).run("talk.py", recording="talk")
    assert not (file.parent / "recordings").exists()


async def test_one_test_cannot_record_two_runs_into_one_file(file: Path) -> None:
    recording = app(file.parent, "recorded", record=True)
    await recording.run("talk.py", recording="talk")
    with pytest.raises(UsageError, match="has recorded talk.toml already"):
        await recording.run("talk.py", recording="talk")


# -- answers that the test gives -----------------------------------------------------------------------------------------


async def test_answers_by_stage_or_agent_need_no_endpoint_and_no_memory(vwt_app: VwtApp, recorded: Path) -> None:
    change(recorded.parent / "agents.toml", 'device = "cpu"', 'device = "gpu0"')
    result = await vwt_app.run(recorded, answers={"coder": "Ebro", "two": ["a", "b", "c"]})
    assert result.outputs == {"told": "Ebro"}
    assert (vwt_app.out / "told.txt").read_text() == "Ebro a b c"
    assert {request.labels["agent"] for request in vwt_app.calls} == {"coder", "reviewer"}


async def test_answers_may_be_a_function_of_the_request(vwt_app: VwtApp, recorded: Path) -> None:
    def answer(request: Request) -> str:
        return request.messages[-1].content.splitlines()[-1]

    assert (await vwt_app.run(recorded, answers=answer)).outputs == {"told": "In one line."}


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"coder": "x", "tow": "y"}, "no answer for agent 'reviewer' of stage 'two'"),
        ({"coder": "x", "two": ["a"]}, "'two' gives only 1"),
    ],
)
async def test_a_call_without_an_answer_is_named(vwt_app: VwtApp, recorded: Path, answers: Any, why: str) -> None:
    result = await vwt_app.run(recorded, answers=answers)
    assert why in str(result.error)


async def test_a_run_needs_answers_of_one_kind(vwt_app: VwtApp) -> None:
    for how in ({}, {"recording": "x", "answers": "y"}):
        with pytest.raises(UsageError, match="either a `recording` or `answers`"):
            await vwt_app.run("talk.py", **how)


async def test_the_state_of_a_run_is_the_tests_own(vwt_app: VwtApp, recorded: Path) -> None:
    await vwt_app.run(recorded, answers="x")
    assert str(vwt_app.folder) in os.environ["VWT_STATE"]
    assert str(vwt_app.folder) in os.environ["VWT_LEDGER"]
    assert list((vwt_app.folder / "state").iterdir())
