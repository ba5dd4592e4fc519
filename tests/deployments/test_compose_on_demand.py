"""A service of compose on demand. There is no Docker here: a small program in its place notes what it is told, and does it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest
from server_processes import SERVER, again, record, server, until

from vwt_agents.deployments.kept import KeptServer
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import EndpointUnavailable, UnloadFailed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script as a program")

DOCKER = """#!{python}
import json, os, pathlib, signal, subprocess, sys, time, urllib.request

here, words = pathlib.Path({here!r}), sys.argv[1:]
with (here / "told").open("a") as told:
    told.write(json.dumps(words) + "\\n")
pid = here / "container"
if "up" in words:
    if (here / "broken").exists():
        sys.exit("no space left on device")
    while (here / "pulling").exists():
        print("ollama Pulling", flush=True)
        time.sleep(0.05)
    with (here / "container.log").open("ab") as log:
        process = subprocess.Popen({server!r}, stdout=log, stderr=log, start_new_session=True)
    pid.write_text(str(process.pid))
    while True:
        try:
            urllib.request.urlopen("http://" + os.environ["OLLAMA_HOST"] + "/api/version")
            break
        except OSError:
            time.sleep(0.01)
elif "stop" in words and (here / "stuck").exists():
    sys.exit("permission denied")
elif "stop" in words and pid.exists():
    os.kill(int(pid.read_text()), signal.SIGTERM)
    pid.unlink()
"""
FILE = "docker-compose.yml"
UP, STOP = ["up", "-d", "--wait", "ollama"], ["stop", "ollama"]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the program notes what it was told."""
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(python=sys.executable, here=str(tmp_path), server=SERVER))
    program.chmod(0o755)
    (tmp_path / FILE).write_text("services: {}\n")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


def service(folder: Path, docker: Path, **more: float) -> KeptServer:
    return server(folder, command=(), compose=(str(docker / FILE),), service="ollama", folder=str(docker), **more)


def told(docker: Path) -> list[list[str]]:
    """What compose was told, after the words that name the file."""
    file = docker / "told"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    assert all(line[:3] == ["compose", "-f", str(docker / FILE)] for line in lines)
    return [line[3:] for line in lines]


async def answers(kept: KeptServer) -> bool:
    return (await OllamaEndpoint("x", kept.deployment.url).probe()).ok


async def gone(kept: KeptServer) -> None:
    await until(lambda: not kept.folder.kept())
    assert not await answers(kept)


async def test_a_service_is_brought_up_once_and_stopped_when_idle(folder: Path, docker: Path) -> None:
    kept = service(folder, docker, idle_stop=0.2)
    uses = [await kept.up(), await again(kept).up()]
    await until(lambda: record(kept).state == "running")
    for use in uses:
        use.end()
    await gone(kept)
    assert told(docker) == [UP, STOP]
    assert (record(kept).state, record(kept).said) == ("stopped", "nobody used it for 0.2 s")


async def test_a_failed_up_says_composes_own_words_and_stops_what_may_have_come_up(folder: Path, docker: Path) -> None:
    (docker / "broken").touch()
    kept = service(folder, docker)
    with pytest.raises(EndpointUnavailable) as caught:
        await kept.up()
    assert "it ended with exit status 1; the end of what it said:\nno space left on device" in caught.value.message
    assert "docker info" in (caught.value.hint or "")
    await gone(kept)
    assert told(docker) == [UP, STOP]


async def test_an_interrupted_up_is_ended_and_the_service_stopped(folder: Path, docker: Path) -> None:
    (docker / "pulling").touch()
    kept = service(folder, docker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept.up)
        await until(lambda: "Pulling" in kept.folder.tail())
        assert record(kept).state == "starting"
        tasks.cancel_scope.cancel()
    await gone(kept)
    assert told(docker) == [UP, STOP]


async def test_a_service_that_somebody_else_stopped_is_brought_up_again(folder: Path, docker: Path) -> None:
    kept = service(folder, docker, idle_stop=0.3)
    use = await kept.up()
    await until(lambda: record(kept).state == "running")
    os.kill(int((docker / "container").read_text()), signal.SIGKILL)
    await gone(kept)
    assert record(kept).said == "it no longer answered: somebody else stopped it"
    use.end()
    use = await kept.up()
    assert await answers(kept)
    use.end()
    await gone(kept)
    assert told(docker) == [UP, UP, STOP]


async def test_a_service_whose_keeper_was_killed_is_not_brought_up_twice_and_is_stopped(
    folder: Path, docker: Path
) -> None:
    kept = service(folder, docker)
    (await kept.up()).end()
    await until(lambda: record(kept).state == "running")
    os.kill(record(kept).keeper.pid, signal.SIGKILL)
    await until(lambda: not kept.folder.kept())
    (await kept.up()).end()
    assert kept.standing().kept
    assert await kept.down() is None
    await gone(kept)
    assert told(docker) == [UP, STOP]


async def test_what_is_missing_for_a_start_is_known_without_trying(folder: Path, docker: Path) -> None:
    here = service(folder, docker)
    lost = server(folder, command=(), compose=(str(docker / "lost.yml"),), service="ollama")
    assert lost.startable() == f"there is no file {docker / 'lost.yml'}"
    (docker / "bin/docker").unlink()
    assert here.startable() == "there is no program 'docker' here"
    assert told(docker) == []


async def test_a_service_that_compose_cannot_stop_is_said_so_and_still_ours(folder: Path, docker: Path) -> None:
    kept = service(folder, docker)
    (await kept.up()).end()
    (docker / "stuck").touch()
    with pytest.raises(
        UnloadFailed, match="compose could not stop it: it ended with exit status 1.*\n.*permission denied"
    ):
        await kept.down()
    assert kept.standing().ours
    (docker / "stuck").unlink()
    assert await kept.down() is None
    await gone(kept)
    assert told(docker) == [UP, STOP, STOP]
