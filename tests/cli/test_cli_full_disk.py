"""A process whose files may grow no further, as on a full disk: exit code 3, and nothing that was done is done twice."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from serving import Served

from vwt_agents.cli import run_cli

MANY = """
from hashlib import sha256

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("many", defaults={"numbers": list(range(30))})


def long(text: str) -> str:
    return "".join(sha256(f"{text}/{part}".encode()).hexdigest() for part in range(40))


@pipeline.stage(each={"number": "numbers"})
async def answers(coder: Agent, number: int) -> str:
    return long(await coder.ask(f"{number}: " + long(str(number))[:900]))


@pipeline.stage
async def delivered(answers: list[str], run: Run) -> int:
    await run.deliver({f"{number}.txt": text for number, text in enumerate(answers)} | {"all.txt": "\\n".join(answers)})
    return len(answers)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 60, 70, 90, 110, 130])
def test_a_run_that_finds_no_room_says_so_and_is_resumed_without_asking_twice(
    here: Served, capsys: pytest.CaptureFixture[str], kilobytes: int
) -> None:
    Path("many.py").write_text(MANY)
    most = kilobytes * 1000
    process = subprocess.run(
        [sys.executable, "-m", "vwt_agents", "run", "many.py", "--out", "made", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)),
    )
    assert process.returncode == 3, process.stderr
    assert "Traceback" not in process.stderr
    assert ".partial" not in " ".join(path.name for path in Path("made").rglob("*"))
    assert run_cli(["runs", "list", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)
    if not runs:  # not even its beginning could be written down
        assert here.server.calls == []
        return
    assert runs[0]["status"] in {"interrupted", "failed"}
    assert run_cli(["runs", "show", "last", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    kept = sum((entry["kind"], entry["status"]) == ("call", "done") for entry in entries)
    asked = len(here.server.calls)
    assert run_cli(["runs", "resume", "last", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == {"delivered": 30}
    assert len(here.server.calls) - asked == 30 - kept
    assert len(list(Path("made").glob("*.txt"))) == 31
