"""A run that is interrupted ends soon, leaves no process and no half file, and says how to go on with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from serving import Served

from vwt_agents.cli import run_cli
from vwt_agents.cli.options import _Interrupts

REAL = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("real")


@pipeline.stage
async def talk(general: Agent) -> str:
    return await general.ask("Tell a very long story.", num_predict=900)
"""

REAL_CONFIG = """
[endpoints.here]
kind = "embedded"
[tiers.small]
endpoint = "here"
models = ["smollm2:135m"]
num_ctx = 1024
[agents.general]
"""


@contextmanager
def started(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, as a shell starts it; whatever is left of it goes with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vwt_agents", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], within: float) -> tuple[int, str, str]:
    began = time.monotonic()
    out, err = process.communicate(timeout=within + 20)
    assert time.monotonic() - began < within, err
    return process.returncode, out, err


def children_of(parent: int) -> dict[int, str]:
    """The processes a process has started, by pid, and the command line of each."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def half_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".partial" in path.name]


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)],
    ids=["interrupt", "terminate", "twice"],
)
def test_a_run_in_a_model_call_ends_within_two_seconds_and_can_be_resumed(
    here: Served, capsys: pytest.CaptureFixture[str], signals: tuple[signal.Signals, ...]
) -> None:
    gate = here.hold("/api/chat")
    with started("run", "two.py", "--out", "made") as process:
        here.reached("/api/chat")
        for number in signals:
            process.send_signal(number)
            time.sleep(0.05)
        code, out, err = ended(process, 2)
    here.open(gate)
    assert (code, out) == (130, "")
    assert half_files(Path("made")) == []
    assert "Traceback" not in err
    assert run_cli(["runs", "list", "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)
    assert (run["status"], run["exit_code"]) == ("interrupted", 130)
    assert f"interrupted; go on with it: python -m vwt_agents runs resume {run['id']}" in err
    assert Path("made/report.md").read_text().startswith("# two: interrupted")
    assert run_cli(["runs", "resume", run["id"], "--quiet"]) == 0
    assert Path("made/answer.txt").read_text() == "an answer"


def test_what_was_answered_before_the_interrupt_is_not_asked_again(
    here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    here.server._script = lambda body: "one" if "first" in json.dumps(body) else "two"
    gate = here.hold("/api/chat")
    with started("run", "two.py", "--quiet") as process:
        here.reached("/api/chat")
        here.open(gate)
        while len(here.server.calls) < 2 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        ended(process, 2)
    asked = len(here.server.calls)
    run_cli(["runs", "resume", "last", "--quiet", "--json"])
    capsys.readouterr()
    assert len(here.server.calls) - asked <= 1


async def test_further_interrupts_are_impatience_for_three_seconds_and_then_force_the_end() -> None:
    now = [0.0]
    interrupts = _Interrupts(clock=lambda: now[0])
    interrupts.scope, interrupts.wake = anyio.CancelScope(), lambda: None
    interrupts(signal.SIGINT, None)
    assert interrupts.scope.cancel_called
    now[0] = 3.0
    interrupts(signal.SIGINT, None)
    now[0] = 3.1
    with pytest.raises(KeyboardInterrupt):
        interrupts(signal.SIGINT, None)


def test_an_interrupt_before_anything_could_be_cancelled_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        _Interrupts()(signal.SIGINT, None)


def test_a_command_that_only_looks_says_interrupted(here: Served) -> None:
    gate = here.hold("/api/version")
    with started("plan", "two.py") as process:
        here.reached("/api/version")
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process, 2)
    here.open(gate)
    assert (code, out, err.strip()) == (130, "", "interrupted")


def test_a_reader_that_leaves_is_no_error(here: Served) -> None:
    command = f"{sys.executable} -m vwt_agents plan two.py --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{0\n", "")


def test_a_full_disk_is_told(here: Served) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vwt_agents", "plan", "two.py"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert done.stderr == "error: the output: No space left on device\n  make room where it is written to\n"


@pytest.mark.model
def test_no_worker_outlives_an_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real.py").write_text(REAL)
    (tmp_path / "agents.toml").write_text(REAL_CONFIG)
    monkeypatch.chdir(tmp_path)
    with started("run", "real.py") as process:
        assert process.stderr is not None
        while "load smollm2:135m" not in (line := process.stderr.readline()):
            assert line, "the run ended before its model was loaded"
        workers = children_of(process.pid)
        assert any("worker" in command for command in workers.values())
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
        code, _out, err = ended(process, 3)
    assert code == 130
    assert "runs resume" in err
    assert not [pid for pid in workers if alive(pid)]
