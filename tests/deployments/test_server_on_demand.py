"""A server on demand, with real processes: one start for all, stopped when idle, and found again whoever was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from server_processes import SERVER, again, record, server, server_pid, until

from vwt_agents.deployments.job import Job
from vwt_agents.deployments.keeper import Keeper
from vwt_agents.deployments.kept import KeptServer
from vwt_agents.endpoints.ollama import OllamaClient, OllamaEndpoint
from vwt_agents.errors import EndpointUnavailable
from vwt_agents.processes import ProcessMark
from vwt_agents.testing import OllamaServer, ServedModel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

HANGS = (sys.executable, "-c", "import time; print('warming up', flush=True); time.sleep(600)")
USER = """
import sys, anyio
sys.path.insert(0, {tests!r})
from pathlib import Path
from server_processes import server, server_pid

async def main():
    kept = server(Path({folder!r}), port={port}, idle_stop=0.3)
    await kept.up()
    print(server_pid(kept), flush=True)
    await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


async def answers(kept: KeptServer) -> bool:
    return (await OllamaEndpoint("x", kept.deployment.url).probe()).ok


async def gone(kept: KeptServer) -> None:
    """Return once neither the server nor its keeper is there."""
    await until(lambda: not kept.folder.kept())
    assert record(kept).state in {"stopped", "failed"}
    assert record(kept).server is None or record(kept).server.gone()
    assert not await answers(kept)


def another(kept: KeptServer, stack: ExitStack) -> subprocess.Popen[str]:
    """Another process that wants the server up and uses it until it is told to end, or is killed."""
    port = int(kept.deployment.url.rpartition(":")[2])
    text = USER.format(tests=str(Path(__file__).parents[1]), folder=str(kept.folder.path), port=port)
    process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(process.communicate)
    stack.callback(process.kill)
    return process


# -- started, shared, stopped -----------------------------------------------------------------------------------------


async def test_it_is_started_for_the_first_shared_by_the_second_and_gone_when_both_have_been_idle(folder: Path) -> None:
    first = server(folder, idle_stop=0.2)
    second = again(first)
    one = await first.up()
    pid = server_pid(first)
    two = await second.up()
    assert server_pid(second) == pid
    assert first.standing().users == (os.getpid(), os.getpid())
    one.end()
    await anyio.sleep(0.4)  # longer than idle_stop: the second still uses it
    assert await answers(second)
    assert second.standing().kept
    two.end()
    await gone(first)
    assert (record(first).state, record(first).said) == ("stopped", "nobody used it for 0.2 s")


async def test_four_processes_at_once_start_it_once_and_it_survives_the_one_that_did(folder: Path) -> None:
    kept = server(folder, idle_stop=0.3)
    with ExitStack() as stack:
        users = [another(kept, stack) for _ in range(4)]
        pids = {await anyio.to_thread.run_sync(user.stdout.readline) for user in users if user.stdout}
        assert pids == {f"{server_pid(kept)}\n"}
        assert len(kept.standing().users) == 4
        for user in users[:3]:
            user.kill()
        await until(lambda: kept.standing().users == (users[3].pid,))
        await anyio.sleep(0.5)
        assert await answers(kept)
        users[3].kill()
        await gone(kept)
    assert kept.folder.log.read_text().count("listening on") == 1
    assert kept.standing().users == ()


async def test_a_server_that_answers_and_is_not_ours_is_used_and_never_stopped(folder: Path) -> None:
    async with OllamaServer({}) as theirs:
        kept = server(folder, port=int(theirs.url.rpartition(":")[2]), idle_stop=0.05)
        use = await kept.up()
        assert not kept.standing().ours
        assert not kept.standing().kept
        use.end()
        assert await kept.down() == "it was not started by vwt_agents"
        assert await answers(kept)


async def test_what_others_do_with_its_models_counts_as_use_and_what_they_leave_there_does_not(folder: Path) -> None:
    async with OllamaServer({"small:1b": ServedModel(300)}) as served, OllamaClient(served.url) as other:
        kept = server(folder, port=int(served.url.rpartition(":")[2]))
        keeper = Keeper(Job(folder, kept.deployment))
        kept.folder.make()

        async def used() -> bool:
            keeper._used = 0.0
            await anyio.to_thread.run_sync(keeper._look_for_use)
            return keeper._used > 0

        assert not await used()  # it is only seen for the first time
        await other.preload("small:1b", 2048)
        assert await used()
        assert not await used()
        await other.preload("small:1b", 4096)
        assert await used()
        use = kept.folder.register()
        assert use is not None
        assert await used()
        use.end()
        assert not await used()


async def test_a_log_that_has_grown_large_begins_anew(folder: Path) -> None:
    async with OllamaServer({}) as served:
        kept = server(folder, port=int(served.url.rpartition(":")[2]))
        kept.folder.make()
        with kept.folder.log.open("wb") as log:
            log.truncate(17 << 20)
        await anyio.to_thread.run_sync(Keeper(Job(folder, kept.deployment))._look_for_use)
        assert kept.folder.log.stat().st_size == 0


async def test_one_who_comes_while_it_stops_gets_a_new_one(folder: Path, tmp_path: Path) -> None:
    text = (
        "import os, pathlib, runpy, signal, sys, time\n"
        f"go = pathlib.Path({str(tmp_path / 'go')!r})\n"
        "import vwt_agents.testing.__main__ as served\n"
        "before = served._serve\n"
        "async def slow(server):\n"
        "    await before(server)\n"
        "    while not go.exists(): time.sleep(0.01)\n"
        "served._serve = slow\n"
        "served.main(['--model', 'small:1b'])\n"
    )
    first = server(folder, command=(sys.executable, "-c", text), idle_stop=0.1)
    (await first.up()).end()
    old = server_pid(first)
    await until(lambda: record(first).state == "stopping")
    second = server(folder, port=int(first.deployment.url.rpartition(":")[2]), idle_stop=60.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second.up)
        await until(lambda: second.standing().users)
        assert server_pid(second) == old
        (tmp_path / "go").touch()
    assert server_pid(second) != old
    assert await answers(second)


async def test_down_stops_it_at_once_and_says_when_there_is_nothing_to_stop(folder: Path) -> None:
    kept = server(folder)
    assert await kept.down() == "it is not running"
    (await kept.up()).end()
    assert await kept.down() is None
    await gone(kept)
    assert record(kept).said == "it was told to"


# -- starts that fail, or are given up --------------------------------------------------------------------------------


async def test_a_failed_start_says_the_servers_own_last_words_and_what_to_do(folder: Path) -> None:
    kept = server(folder, command=(sys.executable, "-c", "print('no kernel image for this GPU'); raise SystemExit(3)"))
    with pytest.raises(EndpointUnavailable) as caught:
        await kept.up()
    assert "could not be started by" in caught.value.message
    assert "it ended with exit status 3; the end of what it said:\nno kernel image for this GPU" in caught.value.message
    assert "endpoints up large --dry-run" in (caught.value.hint or "")
    assert not kept.folder.kept()


async def test_a_program_that_is_not_there_is_said_so(folder: Path) -> None:
    kept = server(folder, command=("/no/such/ollama", "serve"))
    assert kept.startable() == "there is no program '/no/such/ollama' here"
    with pytest.raises(EndpointUnavailable, match="could not be started: No such file or directory"):
        await kept.up()


async def test_a_port_that_something_else_has_taken_is_in_the_servers_own_words(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))  # it is bound and does not listen: connections are refused
        kept = server(folder, port=other.getsockname()[1])
        with pytest.raises(EndpointUnavailable, match="address already in use"):
            await kept.up()


async def test_many_who_wait_for_a_start_that_fails_all_hear_of_it_after_one_try(folder: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    text = (
        f"import os, sys, time; open({str(tmp_path / 'tries')!r}, 'a').write('x')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\nsys.exit('broken')"
    )
    first = server(folder, command=(sys.executable, "-c", text))
    said: list[str] = []

    async def want(kept: KeptServer) -> None:
        with pytest.raises(EndpointUnavailable) as caught:
            await kept.up()
        said.append(caught.value.message)

    async with anyio.create_task_group() as tasks:
        for kept in (first, again(first), again(first)):
            tasks.start_soon(want, kept)
        with anyio.fail_after(20):
            while len(first.standing().users) < 3:  # noqa: ASYNC110 - locks of the kernel: there is no event
                await anyio.sleep(0.01)
        go.touch()
    assert len(said) == 3
    assert all("broken" in one for one in said)
    assert (tmp_path / "tries").read_text() == "x"


async def test_a_start_that_takes_too_long_ends_with_its_words_and_nothing_is_left(folder: Path) -> None:
    kept = server(folder, command=HANGS, timeout=1.0)
    with pytest.raises(EndpointUnavailable) as caught:
        await kept.up()
    assert "did not answer within 1 s" in caught.value.message
    assert caught.value.message.endswith("the end of what it said:\nwarming up")
    assert "start.timeout" in (caught.value.hint or "")
    await gone(kept)


async def test_a_start_that_is_interrupted_leaves_nothing(folder: Path) -> None:
    kept = server(folder, command=HANGS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept.up)
        await until(lambda: kept.folder.tail() == "warming up")
        tasks.cancel_scope.cancel()
    await gone(kept)
    assert record(kept).said == "nobody waited for it any longer"
    assert kept.standing().users == ()


async def test_a_start_that_one_gives_up_goes_on_for_another_who_waits(folder: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    text = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
    text += "from vwt_agents.testing.__main__ import main\nmain([])"
    first = server(folder, command=(sys.executable, "-c", text))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again(first).up)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as others:
                others.start_soon(first.up)
                await until(lambda: len(first.standing().users) == 2 and first.folder.kept() and first.folder.record())
                await until(lambda: record(first).server)
                scope.cancel()
        pid = server_pid(first)
        assert first.standing().users == (os.getpid(),)
        go.touch()
    assert server_pid(first) == pid
    assert await answers(first)


# -- whoever is killed ------------------------------------------------------------------------------------------------


async def test_a_server_that_was_killed_takes_its_keeper_along_and_is_started_anew(folder: Path) -> None:
    kept = server(folder)
    await kept.up()
    pid = server_pid(kept)
    os.kill(pid, signal.SIGKILL)
    await gone(kept)
    assert record(kept).said.startswith("it was ended by SIGKILL")
    await kept.up()
    assert server_pid(kept) != pid


async def test_what_a_killed_server_had_started_does_not_outlive_it(folder: Path, tmp_path: Path) -> None:
    text = "import subprocess, sys\n"
    text += "runner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    text += f"open({str(tmp_path / 'runner')!r}, 'w').write(str(runner.pid))\n"
    text += "from vwt_agents.testing.__main__ import main\nmain([])"
    kept = server(folder, command=(sys.executable, "-c", text))
    await kept.up()
    runner = ProcessMark.of(int((tmp_path / "runner").read_text()))
    os.kill(server_pid(kept), signal.SIGKILL)
    await gone(kept)
    await until(runner.gone)


async def test_a_keeper_that_was_killed_leaves_its_server_to_the_next(folder: Path) -> None:
    kept = server(folder, idle_stop=0.2)
    use = await kept.up()
    pid = server_pid(kept)
    os.kill(record(kept).keeper.pid, signal.SIGKILL)
    await until(lambda: not kept.folder.kept())
    assert kept.standing().ours
    assert await answers(kept)
    use.end()
    use = await again(kept).up()
    assert server_pid(kept) == pid
    assert kept.standing().kept
    use.end()
    await gone(kept)


async def test_down_finds_a_server_whose_keeper_was_killed(folder: Path) -> None:
    kept = server(folder)
    await kept.up()
    os.kill(record(kept).keeper.pid, signal.SIGKILL)
    await until(lambda: not kept.folder.kept())
    assert await kept.down() is None
    await gone(kept)


async def test_a_pid_that_is_somebody_elses_by_now_is_not_taken_for_the_server(folder: Path) -> None:
    kept = server(folder)
    await kept.up()
    os.kill(record(kept).keeper.pid, signal.SIGKILL)
    os.kill(server_pid(kept), signal.SIGKILL)
    await until(lambda: not kept.folder.kept() and record(kept).server.gone())
    us = ProcessMark.here()
    data = kept.folder.read("record.json")
    data["server"] = {"pid": us.pid, "started": us.started + 1, "boot": us.boot, "host": us.host}
    kept.folder.write("record.json", data)
    assert not kept.standing().ours
    assert await kept.down() == "it is not running"


async def test_what_a_later_version_wrote_is_passed_over(folder: Path) -> None:
    kept = server(folder)
    kept.folder.make()
    kept.folder.write("record.json", {"state": "floating"})
    assert kept.standing().record is None
    await kept.up()
    assert kept.standing().ours


async def test_files_are_for_their_owner_only(folder: Path) -> None:
    kept = server(folder, env={"OLLAMA_API_KEY": "secret"})
    await kept.up()
    assert [path.stat().st_mode & 0o077 for path in (kept.folder.path, kept.folder.path / "record.json")] == [0, 0]


async def test_a_state_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EndpointUnavailable, match="cannot be made: Not a directory"):
        await server(tmp_path / "file" / "server").up()


def test_the_scripted_server_as_a_process_says_who_has_its_port() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        env: dict[str, Any] = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{other.getsockname()[1]}"}
        done = subprocess.run(SERVER, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: listen tcp {env['OLLAMA_HOST']}: address already in use\n"
