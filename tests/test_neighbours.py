"""A run among others: what is loaded already is taken over, what others have is left to them, and nobody waits in vain."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from two_models import CONFIG, MODELS

from vwt_agents.app import App, Job
from vwt_agents.app.neighbours import open_neighbours
from vwt_agents.board import Board
from vwt_agents.core import Occupied, Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.ollama import OllamaClient
from vwt_agents.ledger import Ledger, Resource
from vwt_agents.testing import OllamaServer, ServedModel
from vwt_agents.testing.replies import digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ONE_FITS = 1000
ASK = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("ask")


@pipeline.stage
async def answer({agent}: Agent) -> str:
    return await {agent}.ask("well?")
"""
JUDGE = '\n[agents.judge]\ntier = "large"\n'
FOREIGN = "somebody:70b"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vwt_agents.app.neighbours.INTERVAL", 0.02)
    monkeypatch.setattr("vwt_agents.app.neighbours.UNUSED_S", 0.0)


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with OllamaServer({**MODELS, FOREIGN: ServedModel(300)}, "an answer") as running:
        yield running


def job(folder: Path, server: OllamaServer, agent: str, *, budget: int = ONE_FITS, more: str = "") -> Job:
    place = folder / agent
    place.mkdir(exist_ok=True)
    (place / "ask.py").write_text(ASK.format(agent=agent))
    (place / "agents.toml").write_text(CONFIG.format(url=server.url, budget=f"{budget} MiB") + JUDGE + more)
    return Job(place / "ask.py", config=place / "agents.toml", out=place / "out")


async def loaded(server: OllamaServer, model: str, num_ctx: int) -> None:
    """As a client would that is in no ledger."""
    async with OllamaClient(server.url) as client:
        await client.preload(model, num_ctx, on_cpu=True)


async def killed_in_its_call(asked: Job, server: OllamaServer) -> None:
    """A run as a process of its own, killed while the server holds its first call."""
    argv = [sys.executable, "-m", "vwt_agents", "run", str(asked.pipeline), "--quiet"]
    async with await anyio.open_process(argv, cwd=asked.pipeline.parent) as process:
        try:
            await until(lambda: any(path == "/api/chat" for path, _ in server.requests))
        finally:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def until(fact: Any) -> None:
    with anyio.fail_after(20):
        while not fact():  # noqa: ASYNC110 - a run looks around by itself: there is no event
            await anyio.sleep(0.01)


async def test_a_model_that_is_there_as_the_run_would_load_it_is_taken_over(
    tmp_path: Path, server: OllamaServer
) -> None:
    await loaded(server, "small:1b", 2048)
    result = await App().run(job(tmp_path, server, "reviewer"))
    assert (result.status, server.loads) == ("good", [("small:1b", 2048)])
    assert not server.resident


async def test_a_model_of_agents_toml_that_nobody_uses_makes_way_once_it_is_in_the_way(
    tmp_path: Path, server: OllamaServer
) -> None:
    await loaded(server, "small:1b", 1024)
    result = await App().run(job(tmp_path, server, "judge"))
    assert (result.status, [model for model, _ in server.loads]) == ("good", ["small:1b", "large:2b"])
    assert server.memory.unloads[0] == "small:1b"


@pytest.mark.parametrize("stay", [None, -1], ids=["some minutes", "for ever"])
@pytest.mark.parametrize(("unused_s", "status", "resident"), [(60.0, "failed", ["small:1b"]), (0.05, "good", [])])
async def test_a_model_of_agents_toml_that_another_client_uses_makes_way_only_when_it_was_not_used_for_a_while(
    tmp_path: Path,
    server: OllamaServer,
    monkeypatch: pytest.MonkeyPatch,
    unused_s: float,
    status: str,
    resident: list[str],
    stay: int | None,
) -> None:
    """As `ollama run` loads it: to stay for so long after each call."""
    monkeypatch.setattr("vwt_agents.app.neighbours.UNUSED_S", unused_s)
    async with OllamaClient(server.url) as client:
        await client._generate("small:1b", 1024, options={"num_gpu": 0}, keep_alive=stay)
    result = await App().run(job(tmp_path, server, "judge", more='[scheduler]\npatience = "2s"\n'))
    assert (result.status, list(server.resident)) == (status, resident)


async def test_what_somebody_else_has_loaded_counts_against_the_budget_and_is_left_alone(
    tmp_path: Path, server: OllamaServer
) -> None:
    await loaded(server, FOREIGN, 4096)
    board, results = Board(), []

    async def run() -> None:
        results.append(await App(board).run(job(tmp_path, server, "judge")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(lambda: board.queue and "others take 300 MiB" in board.waits(next(iter(board.queue))))
        assert server.loads == [(FOREIGN, 4096)]
        server.evict(FOREIGN)
    assert results[0].status == "good"


TWO_NAMES = """
[budget]
cpu = "1400 MiB"
[endpoints.here]
kind = "ollama"
url = "{url}"
device = "cpu"
[endpoints.alias]
kind = "ollama"
url = "{url}"
device = "cpu"
[tiers.small]
endpoint = "here"
models = ["small:1b"]
num_ctx = 2048
[tiers.large]
endpoint = "alias"
models = ["large:2b"]
num_ctx = 2048
[agents.reviewer]
tier = "small"
[agents.judge]
tier = "large"
[scheduler]
patience = "100ms"
"""
THEN = """

@pipeline.stage
async def again({agent}: Agent, answer: str) -> str:
    return await {agent}.ask("and now?")
"""


async def test_what_somebody_else_has_loaded_counts_once_though_two_endpoints_show_it(
    tmp_path: Path, server: OllamaServer
) -> None:
    await loaded(server, FOREIGN, 4096)
    asked = job(tmp_path, server, "reviewer")
    asked.pipeline.write_text(ASK.format(agent="reviewer") + THEN.format(agent="judge"))
    (tmp_path / "reviewer" / "agents.toml").write_text(TWO_NAMES.format(url=server.url))
    result = await App().run(asked)
    assert (result.status, result.error) == ("good", None)
    assert list(server.resident) == [FOREIGN]


async def test_a_server_written_as_localhost_is_the_same_server_in_the_ledger(
    tmp_path: Path, server: OllamaServer
) -> None:
    """Another process shares the model, which is neither counted twice nor unloaded under it."""
    with await anyio.to_thread.run_sync(Ledger.open, "other") as other:
        asked = job(tmp_path, server, "reviewer", budget=600, more='[scheduler]\npatience = "1s"\n')
        file = tmp_path / "reviewer" / "agents.toml"
        file.write_text(file.read_text().replace("127.0.0.1", "localhost"))
        await loaded(server, "small:1b", 2048)
        small = Resource(digest("small:1b"), server.url)
        assert other.claim("cpu", small, 328, 600, name="small:1b", terms="num_ctx 2048 on the CPU") is None
        result = await App().run(asked)
        assert (result.status, result.error) == ("good", None)
        assert (list(server.resident), server.loads) == (["small:1b"], [("small:1b", 2048)])


async def test_a_server_that_does_not_say_what_it_has_loaded_is_not_waited_for(
    tmp_path: Path, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = job(tmp_path, server, "reviewer")
    async with App().planned(asked) as planned:  # what a plan asks of it comes before
        monkeypatch.setattr("vwt_agents.app.execute.open_world", lambda *_, **__: nullcontext(planned.world))
        monkeypatch.setattr("vwt_agents.app.neighbours.ANSWER_S", 0.05)
        server.fail("/api/ps", "hang")
        with anyio.fail_after(20):
            result = await App().run(asked)
    assert result.status == "good"


async def test_a_driver_that_does_not_answer_holds_up_no_load(
    tmp_path: Path, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("vwt_agents.app.neighbours.ANSWER_S", 0.05)
    async with App().planned(job(tmp_path, server, "reviewer")) as planned:
        world = planned.world
        made = open_neighbours(world, planned.plan, lambda name, _used: world.endpoints[name], "a run")
        monkeypatch.setattr("vwt_agents.devices.Reader.read", lambda _self: answers.wait(3))
        async with made as neighbours:
            try:
                assert await neighbours._used("gpu0") is None
            finally:
                answers.set()


async def test_what_another_process_has_just_given_back_is_not_taken_for_somebodys_outside_the_ledger(
    tmp_path: Path, server: OllamaServer
) -> None:
    scheduler = Scheduler(max_agents=1, max_wait={"interactive": 15.0, "batch": 120.0})
    with Ledger.open("another") as another:
        async with App().planned(job(tmp_path, server, "reviewer")) as planned:
            world = planned.world
            made = open_neighbours(world, planned.plan, lambda name, _used: world.endpoints[name], "a run")
            async with made as neighbours, Dispatcher(scheduler, neighbours.endpoints) as dispatcher:
                another.claim("cpu", Resource("other", "http://elsewhere"), 300, ONE_FITS)
                dispatcher.set_budget("cpu", ONE_FITS)
                async with neighbours.beside(dispatcher):
                    await until(lambda: dispatcher.state.occupied("cpu") == 300)
                    another.drop(Resource("other", "http://elsewhere"))
                    neighbours._shares.look(another.snapshot(), {"cpu": None})
                    dispatcher.post(Occupied("cpu", 300))  # a driver shows it a while longer
                    assert neighbours._shares.ceiling("cpu") == ONE_FITS


async def test_what_another_client_made_of_a_model_nobody_asks_for_counts_as_somebody_elses(
    tmp_path: Path, server: OllamaServer
) -> None:
    asked = job(tmp_path, server, "reviewer", budget=3000)
    asked.pipeline.write_text(ASK.format(agent="reviewer") + THEN.format(agent="judge"))
    results = []

    async def run() -> None:
        results.append((await App().run(asked)).status)

    def claims() -> tuple[str, ...]:
        with Ledger.open("watching") as ledger:
            return tuple(holder.name for holder in ledger.snapshot().holders)

    first = server.hold("/api/chat")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await server.reached("/api/chat")
        first.set()
        gate = server.hold("/api/chat")
        await until(lambda: len(server.loads) == 2)
        await server.reached("/api/chat")
        await until(lambda: set(claims()) == {"small:1b", "large:2b"})
        looks = len(server.requests)
        await until(lambda: [path for path, _ in server.requests[looks:]].count("/api/ps") > 3)
        server.evict("small:1b")
        await loaded(server, "small:1b", 4096)
        await until(lambda: claims() == ("large:2b",))
        gate.set()
    assert results == ["good"]
    assert server.resident == {"small:1b": 4096}


async def test_a_run_does_not_wait_for_ever_for_memory_that_somebody_else_keeps(
    tmp_path: Path, server: OllamaServer
) -> None:
    await loaded(server, FOREIGN, 4096)
    result = await App().run(job(tmp_path, server, "judge", more='[scheduler]\npatience = "100ms"\n'))
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "needs 881 MiB" in (result.error or "")
    assert "others take 300 MiB" in (result.error or "")
    assert "doctor` shows who holds what" in (result.error or "")


HOLDER = """
import sys
from vwt_agents.ledger import Ledger, Resource
with Ledger.open("holder") as ledger:
    assert ledger.claim("cpu", Resource("model"), 600, 1000, name="model") is None
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_a_run_does_not_wait_for_ever_for_a_process_that_was_stopped(
    tmp_path: Path, server: OllamaServer
) -> None:
    async with await anyio.open_process([sys.executable, "-c", HOLDER]) as holder:
        assert holder.stdout is not None
        assert (await holder.stdout.receive()).startswith(b"held")
        holder.send_signal(signal.SIGSTOP)
        try:
            result = await App().run(job(tmp_path, server, "judge", more='[scheduler]\npatience = "300ms"\n'))
        finally:
            holder.kill()
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "needs 881 MiB" in (result.error or "")
    assert server.loads == []


async def test_a_run_does_not_wait_for_ever_for_a_process_that_was_stopped_with_the_ledgers_lock(
    tmp_path: Path, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vwt_agents.ledger.own_page.WAIT_S", 0.05)
    with Ledger.open("stopped") as stopped:
        asked = job(tmp_path, server, "judge", more='[scheduler]\npatience = "300ms"\n')
        async with App().planned(asked):
            pass
        with stopped._own._shelf.locked(1.0) as locked:
            assert locked
            result = await App().run(asked)
    assert (result.status, result.exit_code) == ("failed", 3)
    assert f"process {os.getpid()} has held the ledger" in (result.error or "")
    assert server.loads == []


async def test_a_run_that_others_keep_waiting_says_so_once_also_in_a_log(
    tmp_path: Path, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vwt_agents.app.neighbours.TELL_S", 0.05)
    await loaded(server, FOREIGN, 4096)
    board, said = Board(), list[str]()
    board.on_line.append(said.append)
    await App(board).run(job(tmp_path, server, "judge", more='[scheduler]\npatience = "400ms"\n'))
    waits = [line for line in said if "waits for 881 MiB on cpu, for at most 0.4 s: others take 300 MiB of it" in line]
    assert len(waits) == 1


@pytest.mark.parametrize(("setting", "notes"), [("/proc/no/such/folder", 1), ("off", 0)])
async def test_a_run_whose_ledger_cannot_be_used_says_so(
    tmp_path: Path, server: OllamaServer, monkeypatch: pytest.MonkeyPatch, setting: str, notes: int
) -> None:
    asked = job(tmp_path, server, "reviewer")
    monkeypatch.setenv("VWT_LEDGER", setting)
    board, said = Board(), list[str]()
    board.on_line.append(said.append)
    await App(board).run(asked)
    notes_of_it = [line for line in said if "memory is shared with no other process" in line]
    assert len(notes_of_it) == notes
    assert all("each takes the whole budget" in line and "VWT_LEDGER=FOLDER" in line for line in notes_of_it)


async def test_a_model_that_another_client_evicted_is_loaded_again_before_the_next_call(
    tmp_path: Path, server: OllamaServer
) -> None:
    two = ASK.format(agent="reviewer") + "\n\n@pipeline.stage\nasync def again(reviewer: Agent, answer: str) -> str:\n"
    asked = job(tmp_path, server, "reviewer")
    asked.pipeline.write_text(two + "    return await reviewer.ask('and now?')\n")
    board, lines, results = Board(), [], []
    board.on_line.append(lines.append)
    gate = server.hold("/api/chat")

    async def run() -> None:
        results.append(await App(board).run(asked))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await server.reached("/api/chat")
        server.evict("small:1b")
        await until(lambda: any("no longer in memory" in line for line in lines))
        gate.set()
    assert results[0].status == "good"


async def test_two_runs_that_do_not_fit_side_by_side_take_turns(tmp_path: Path, server: OllamaServer) -> None:
    results = []

    async def run(agent: str) -> None:
        results.append((await App().run(job(tmp_path, server, agent))).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "judge")
        tasks.start_soon(run, "reviewer")
    assert results == ["good", "good"]
    assert sorted(server.loads) == [("large:2b", 2048), ("small:1b", 2048)]
    assert not server.resident


async def test_two_runs_of_one_model_share_it_and_the_last_one_unloads_it(tmp_path: Path, server: OllamaServer) -> None:
    gate, results = server.hold("/api/chat"), []

    async def run(name: str) -> None:
        (tmp_path / name).mkdir()
        results.append((await App().run(job(tmp_path / name, server, "reviewer"))).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "one")
        tasks.start_soon(run, "two")
        await until(lambda: [path for path, _ in server.requests].count("/api/chat") == 2)
        gate.set()
    assert (results, server.loads) == (["good", "good"], [("small:1b", 2048)])
    assert not server.resident


async def test_what_a_killed_run_has_left_in_memory_makes_way_for_the_next(
    tmp_path: Path, server: OllamaServer
) -> None:
    gate = server.hold("/api/chat")
    asked = job(tmp_path, server, "reviewer")
    await killed_in_its_call(asked, server)
    await until(lambda: not server.memory.runners["small:1b"].users)
    gate.set()
    result = await App().run(job(tmp_path, server, "judge"))
    assert (result.status, server.memory.unloads[0]) == ("good", "small:1b")


async def test_what_a_killed_run_has_left_on_a_server_that_ended_as_well_is_in_nobodys_way(
    tmp_path: Path, server: OllamaServer
) -> None:
    async with OllamaServer(MODELS, "an answer") as other:
        gate = other.hold("/api/chat")
        asked = job(tmp_path, other, "reviewer")
        await killed_in_its_call(asked, other)
        gate.set()
    result = await App().run(job(tmp_path, server, "judge", more='[scheduler]\npatience = "2s"\n'))
    assert (result.status, result.error) == ("good", None)


async def test_what_a_killed_run_left_on_a_server_that_has_gone_since_is_in_nobodys_way(
    tmp_path: Path, server: OllamaServer
) -> None:
    async with OllamaServer(MODELS) as gone:
        url = gone.url
    with Ledger.open("killed") as killed:
        killed.claim("cpu", Resource("other", url), 300, ONE_FITS, name="other:1b")
    result = await App().run(job(tmp_path, server, "judge"))
    assert (result.status, result.error) == ("good", None)


async def test_a_run_goes_on_looking_though_a_model_that_nobody_uses_does_not_leave(
    tmp_path: Path, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vwt_agents.app.neighbours.ANSWER_S", 0.1)
    await loaded(server, "small:1b", 1024)
    gate, results = server.hold("unload"), []

    async def run() -> None:
        results.append((await App().run(job(tmp_path, server, "judge"))).status)

    def wanted() -> bool:
        with Ledger.open("watching") as ledger:
            return any(want.renewed > want.since + 0.5 for want in ledger.snapshot().wants)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(wanted)
        gate.set()
    assert results == ["good"]


LATER = """
import asyncio
from pathlib import Path

from vwt_agents import Agent, Pipeline

pipeline = Pipeline("later")


@pipeline.stage
async def answer(reviewer: Agent) -> str:
    return await reviewer.ask("well?")


@pipeline.stage
async def other_things(answer: str) -> str:
    while not Path({file!r}).exists():
        await asyncio.sleep(0.01)
    return answer


@pipeline.stage
async def again(reviewer: Agent, other_things: str) -> str:
    return await reviewer.ask("and now?")
"""


@pytest.mark.parametrize(("theirs", "loads"), [(4096, [2048, 4096, 2048]), (1024, [2048])])
async def test_a_model_that_an_idle_run_holds_with_another_context_is_not_waited_for(
    tmp_path: Path, server: OllamaServer, theirs: int, loads: list[int]
) -> None:
    """It makes way for a longer context, and serves who needs a shorter one."""
    first = job(tmp_path, server, "reviewer", budget=3000)
    first.pipeline.write_text(LATER.format(file=str(tmp_path / "done")))
    (tmp_path / "other").mkdir()
    second = job(tmp_path / "other", server, "reviewer", budget=3000, more='[scheduler]\npatience = "15s"\n')
    config = tmp_path / "other" / "reviewer" / "agents.toml"
    config.write_text(config.read_text().replace("num_ctx = 2048", f"num_ctx = {theirs}", 1))
    results = []

    async def run(asked: Job) -> None:
        results.append((await App().run(asked)).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, first)
        await until(lambda: len(server.calls) == 1)
        await server.idle()
        await run(second)
        (tmp_path / "done").touch()
    assert results == ["good", "good"]
    assert [num_ctx for _, num_ctx in server.loads] == loads
    assert not server.resident
