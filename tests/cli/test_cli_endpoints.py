"""`endpoints`: what would be run is shown exactly, servers come up and go, and every refusal says what to do."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_processes import SERVER, free_port, nothing_left_in

from vwt_agents.cli import run_cli
from vwt_agents.deployments.folder import ServerFolder

CONFIG = """
[endpoints.small]
kind = "ollama"
url = "http://127.0.0.1:9"
[endpoints.large]
kind = "ollama"
url = "http://127.0.0.1:{port}"
device = "cpu"
parallel = 1
start = {{ command = {command}, env = {{ EXTRA = "two words" }} }}
[endpoints.composed]
kind = "ollama"
url = "http://127.0.0.1:9"
start = {{ compose = ["compose/a.yml", "compose/b.yml"], service = "ollama-large", env = {{ TAG = "1" }} }}
[tiers.small]
endpoint = "small"
models = ["small:1b"]
"""


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of the server that agents.toml says how to start."""
    port = free_port()
    (tmp_path / "agents.toml").write_text(CONFIG.format(port=port, command=list(SERVER)))
    monkeypatch.chdir(tmp_path)
    with nothing_left_in(tmp_path):
        yield port


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = run_cli(["endpoints", *argv])
    return code, *capsys.readouterr()


def test_dry_run_shows_the_exact_environment_and_commands_one_a_line(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = f"-f {tmp_path}/compose/a.yml -f {tmp_path}/compose/b.yml"
    code, out, _ = said(capsys, "up", "--dry-run")
    assert code == 0
    assert out.splitlines() == [
        "# endpoints.large",
        f"OLLAMA_HOST=127.0.0.1:{port}",
        "OLLAMA_NUM_PARALLEL=1",
        "OLLAMA_MAX_LOADED_MODELS=16",
        "OLLAMA_KEEP_ALIVE=-1",
        "LLAMA_ARG_CACHE_RAM=1024",
        "EXTRA='two words'",
        shlex.join(SERVER),
        "# endpoints.composed",
        "TAG=1",
        f"docker compose {files} up -d --wait ollama-large",
    ]
    stop, ask = (said(capsys, verb, "--dry-run", "composed")[1].splitlines()[-1] for verb in ("down", "status"))
    assert stop == f"docker compose {files} stop ollama-large"
    assert ask == f"docker compose {files} ps --format json ollama-large"
    assert said(capsys, "down", "--dry-run", "large")[1] == "# endpoints.large\n# nothing to stop\n"
    assert said(capsys, "status", "--dry-run", "large")[1].endswith(f"# GET http://127.0.0.1:{port}/api/version\n")


def test_dry_run_as_json_has_the_arguments_one_by_one(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    [large] = json.loads(said(capsys, "up", "--dry-run", "--json", "large")[1])
    assert large["argv"] == list(SERVER)
    assert large["env"]["OLLAMA_HOST"] == f"127.0.0.1:{port}"
    [stop] = json.loads(said(capsys, "down", "--dry-run", "--json", "large")[1])
    assert (stop["argv"], stop["instead"]) == (None, "nothing to stop")


def test_up_status_down(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "up", "large")
    assert (code, out) == (
        0,
        f"large: Ollama 0.33.0 at http://127.0.0.1:{port}; stops after 600 s without use\n",
    )
    assert err.startswith(f"starting endpoint large (http://127.0.0.1:{port}): ")
    [status] = json.loads(said(capsys, "status", "--json", "large")[1])
    assert {name: status[name] for name in ("answers", "version", "started_by_us", "kept", "users", "resident")} == {
        "answers": True,
        "version": "0.33.0",
        "started_by_us": True,
        "kept": True,
        "users": [],
        "resident": [],
    }
    assert 0 <= status["idle"] < 60 < status["idle_stop"]
    assert json.loads(said(capsys, "up", "large", "--json")[1])[0]["started_by_us"]
    assert said(capsys, "down", "--dry-run", "large")[1].splitlines()[1].startswith("# SIGTERM to process ")
    assert said(capsys, "down", "large")[:2] == (0, "large: stopped\n")
    assert (
        said(capsys, "down", "large", "--json")[1]
        == json.dumps([{"endpoint": "large", "stopped": False, "detail": "it is not running"}], indent=2) + "\n"
    )


def test_status_is_a_line_for_every_endpoint_and_a_note_on_what_is_not_as_it_should_be(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "up", "large")[0] == 0
    folder = ServerFolder(tmp_path / f"state/servers/127.0.0.1-{port}")
    found = folder.record()
    assert found is not None
    os.kill(found.keeper.pid, signal.SIGKILL)
    while folder.kept():
        pass
    code, out, _ = said(capsys, "status")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == [
        "endpoint",
        "url",
        "answers",
        "version",
        "started",
        "by",
        "us",
        "users",
        "idle",
        "resident",
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["small", "large", "composed"]
    assert (
        "note: large runs without its keeper, so nothing stops it when idle: python -m vwt_agents endpoints up large"
        in lines
    )
    assert any(line.startswith("note: composed: ") and "cannot start one" in line for line in lines)
    assert said(capsys, "down", "large")[0] == 0
    assert "note: large, the last time: stopped: it was told to" in said(capsys, "status", "large")[1]


def test_down_refuses_what_others_use_unless_it_is_forced(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "up", "large")
    use = ServerFolder(tmp_path / f"state/servers/127.0.0.1-{port}").register()
    assert use is not None
    code, _, err = said(capsys, "down", "large")
    assert code == 3
    assert err.startswith(f"error: endpoint large is in use by process {os.getpid()}\n")
    assert said(capsys, "down", "large", "--force")[0] == 0
    use.end()


def test_what_somebody_else_started_is_left_alone_and_said_so(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    env = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{port}"}
    with subprocess.Popen(SERVER, env=env, stderr=subprocess.PIPE, text=True) as theirs:
        assert theirs.stderr is not None
        theirs.stderr.readline()
        assert said(capsys, "up", "large")[1].endswith("; not started by vwt_agents\n")
        code, _, err = said(capsys, "down", "large")
        assert (code, theirs.poll()) == (3, None)
        assert "answers, but it was not started by vwt_agents" in err
        theirs.terminate()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["up", "larg"], "agents.toml has no endpoint 'larg'\n  did you mean 'large'?"),
        (["up", "small"], "agents.toml does not say how endpoint 'small' is started\n  [endpoints.small] start = "),
        (["status", "x"], "agents.toml has no endpoint 'x'"),
    ],
)
def test_a_wrong_name_is_a_usage_error(
    port: int, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    code, out, err = said(capsys, *argv)
    assert (code, out) == (2, "")
    assert words in err


def test_a_file_that_starts_nothing_says_what_to_write(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("agents.toml").read_text()
    Path("agents.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("start")))
    code, _, err = said(capsys, "up")
    assert code == 2
    assert 'start = { command = ["ollama", "serve"] }' in err


def test_a_start_that_fails_ends_with_3_and_its_own_words(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no driver')"]
    Path("agents.toml").write_text(CONFIG.format(port=port, command=command))
    code, out, err = said(capsys, "up", "large")
    assert (code, out) == (3, "")
    assert "it ended with exit status 1; the end of what it said:\nno driver" in err
    assert "failed: it ended with exit status 1" in said(capsys, "status", "large")[1]


def test_an_interrupt_during_a_start_ends_with_130_and_leaves_no_server(port: int, tmp_path: Path) -> None:
    hangs = [sys.executable, "-c", "import time; print('warming up', flush=True); time.sleep(600)"]
    Path("agents.toml").write_text(CONFIG.format(port=port, command=hangs))
    folder = ServerFolder(tmp_path / f"state/servers/127.0.0.1-{port}")
    command = [sys.executable, "-m", "vwt_agents", "endpoints", "up", "large"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while folder.tail() != "warming up":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    while folder.kept():
        pass
    found = folder.record()
    assert found is not None
    assert found.server is not None
    assert found.server.gone()


def test_help_names_the_three_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["endpoints", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in ("up", "down", "status"))
    for name in ("up", "down", "status"):
        assert run_cli(["endpoints", name, "--help"]) == 0
        assert "--dry-run" in capsys.readouterr().out
