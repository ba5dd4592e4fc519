"""Whole runs over a server that is only started when one of them is promoted to it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from server_processes import SERVER, free_port, nothing_left_in, record, server_pid, until
from two_models import MODELS

from vwt_agents.app import App, Job, open_world
from vwt_agents.app.checks import check_all
from vwt_agents.board import Board
from vwt_agents.config import load_settings
from vwt_agents.deployments import deployment_of
from vwt_agents.deployments.folder import ServerFolder
from vwt_agents.deployments.kept import KeptServer
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import EndpointAsleep, EndpointUnavailable
from vwt_agents.testing import OllamaServer

CONFIG = """
[budget]
cpu = "4 GiB"
[endpoints.small]
kind = "ollama"
url = "{small}"
device = "cpu"
[endpoints.large]
kind = "ollama"
url = "{large}"
device = "cpu"
parallel = 1
start = {{ command = {command}, timeout = "20s" }}
idle_stop = "300ms"
[tiers.small]
endpoint = "small"
models = ["small:1b"]
[tiers.large]
endpoint = "large"
models = ["large:2b"]
[agents.coder]
"""

WAITS = """
from pathlib import Path
import anyio
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("{name}")


@pipeline.stage(importance="{importance}")
async def first(coder: Agent) -> str:
    answer = await coder.ask("first")
    while not Path("{folder}/{name}.go").exists():
        await anyio.sleep(0.01)
    return answer


@pipeline.stage(importance="{importance}")
async def second(coder: Agent, first: str) -> str:
    return await coder.ask("second")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with nothing_left_in(tmp_path):
        yield tmp_path


@pytest.fixture
async def small() -> AsyncIterator[OllamaServer]:
    """The endpoint of the small tier, which knows the large tier's model, too."""
    async with OllamaServer(MODELS, "an answer") as running:
        yield running


def job(folder: Path, small: OllamaServer, name: str, *, importance: str = "high", **more: Any) -> Job:
    """A run of two stages; the first waits, once it has its answer, until the file NAME.go is there."""
    config = folder / "agents.toml"
    if not config.exists():
        large = f"http://127.0.0.1:{free_port()}"
        command = list(more.get("command", SERVER))
        config.write_text(CONFIG.format(small=small.url, large=large, command=command))
    file = folder / f"{name}.py"
    file.write_text(WAITS.format(name=name, importance=importance, folder=folder))
    return Job(file, out=folder / f"out-{name}")


def kept(folder: Path) -> KeptServer:
    deployment = deployment_of(load_settings(folder / "agents.toml", pipeline=None, cwd=folder).endpoints["large"])
    assert deployment is not None
    probe = OllamaEndpoint("large", deployment.url).probe

    async def answers() -> bool:
        return (await probe()).ok

    return KeptServer(deployment, ServerFolder(folder / "state/servers" / deployment.key), answers)


async def test_started_by_the_first_promoted_run_shared_by_the_second_and_gone_after_idle_stop(
    folder: Path, small: OllamaServer
) -> None:
    jobs = [job(folder, small, "one"), job(folder, small, "two")]
    server = kept(folder)
    results = []

    async def run(one: Job) -> None:
        results.append(await App().run(one))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, jobs[0])
        await until(lambda: server.standing().ours and record(server).server and server.standing().users)
        pid = server_pid(server)
        tasks.start_soon(run, jobs[1])
        await until(lambda: len(server.standing().users) == 2)
        (folder / "one.go").touch()
        await until(lambda: len(results) == 1)
        await anyio.sleep(0.5)  # longer than idle_stop: the second run still has its model there
        assert server_pid(server) == pid
        assert server.standing().kept
        (folder / "two.go").touch()
    assert [(one.status, one.promoted, {stage.endpoint for stage in one.stages}) for one in results] == [
        ("good", True, {"large"}),
        ("good", True, {"large"}),
    ]
    await until(lambda: not server.folder.kept())
    assert record(server).said == "nobody used it for 0.3 s"
    assert server.folder.log.read_text().count("listening on") == 1
    assert small.loads == []


async def test_a_run_that_is_not_promoted_does_not_start_it(folder: Path, small: OllamaServer) -> None:
    (folder / "one.go").touch()
    result = await App().run(job(folder, small, "one", importance="normal"))
    assert (result.status, result.promoted) == ("good", False)
    assert kept(folder).standing().record is None


async def test_a_plan_starts_nothing_and_takes_its_models_from_an_endpoint_that_has_them_too(
    folder: Path, small: OllamaServer
) -> None:
    async with App().planned(job(folder, small, "one")) as planned:
        [route] = {(route.endpoint, route.model) for route in planned.plan.routes.values()}
        [note] = planned.plan.notes
    assert route == ("large", "large:2b")
    assert note.startswith("endpoint large is not running; `")
    assert note.endswith("large:2b is as small describes it")
    assert kept(folder).standing().record is None


async def test_what_nobody_knows_a_plan_says_and_a_run_starts_the_server_to_ask(
    folder: Path, small: OllamaServer
) -> None:
    del small.models["large:2b"]
    (folder / "one.go").touch()
    asked = job(folder, small, "one")
    with pytest.raises(EndpointAsleep, match="nothing is known yet of large:2b on large, which is not running"):
        async with App().planned(asked):
            raise AssertionError
    assert kept(folder).standing().record is None
    board = Board()
    said: list[str] = []
    board.on_line.append(said.append)
    result = await App(board).run(asked)
    assert (result.status, {stage.endpoint for stage in result.stages}) == ("good", {"large"})
    assert [line for line in said if line.startswith("starting endpoint large (http://127.0.0.1:")]
    await until(lambda: not kept(folder).folder.kept())
    async with App().planned(asked) as planned:  # now it is remembered
        assert {route.model for route in planned.plan.routes.values()} == {"large:2b"}
    assert not kept(folder).standing().ours


async def test_doctor_says_what_is_started_on_demand_and_what_is_not_known_of_it(
    folder: Path, small: OllamaServer, caplog: pytest.LogCaptureFixture
) -> None:
    del small.models["large:2b"]
    config = job(folder, small, "one").pipeline.with_name("agents.toml")
    async with open_world(load_settings(config, pipeline=None, cwd=folder), everything=True) as world:
        findings, looks = await check_all(world)
    found = {finding.what: finding for finding in findings}
    assert not {"version of large", "slots of large"} & found.keys(), "said of a server that is not running"
    assert "endpoint.lost" not in caplog.text
    assert [look.endpoint for look in looks if look.answers] == ["small"]
    assert found["endpoint large"].level == "ok"
    assert found["endpoint large"].detail.startswith("not running; `")
    unknown = found["models of tier large"]
    assert (unknown.level, unknown.fix) == ("note", "python -m vwt_agents endpoints up large")
    assert unknown.detail == "endpoint large is not running, and nothing is known yet of its large:2b"
    assert kept(folder).standing().record is None


async def test_a_server_that_cannot_be_started_ends_the_run_with_its_words(folder: Path, small: OllamaServer) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no driver')")
    result = await App().run(job(folder, small, "one", command=command))
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "no driver" in (result.error or "")
    del small.models["large:2b"]
    with pytest.raises(EndpointUnavailable, match="no driver"):
        await App().run(job(folder, small, "one"))
