"""A process whose files may grow no further, as on a full disk: exit code 3, and nothing that was done is done twice."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from serving import Served

from vwt_agents.cli import cli, run_cli

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


IN_A_FULL_FOLDER = """
mount -t tmpfs -o size=64k tmpfs "$TMPDIR" || exit 77
dd if=/dev/zero of="$TMPDIR/fill" bs=1k count=$FILL status=none
exec "$@"
"""


@pytest.mark.parametrize("kilobytes", [0, 60])
def test_a_temporary_folder_without_room_is_named_with_what_to_do(tmp_path: Path, kilobytes: int) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (tmp_path / "prog.py").write_text("print('hello')\n")
    command = [sys.executable, "-m", "vwt_agents", "sandbox", "run", str(tmp_path), "prog.py"]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", IN_A_FULL_FOLDER, "sh", *command],
        env={**os.environ, "TMPDIR": str(full), "FILL": str(kilobytes)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 3, done.stderr
    assert f"in {full}: No space left on device" in done.stderr
    assert "TMPDIR" in done.stderr


def test_a_write_without_room_that_does_not_say_where_is_told_by_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(*_args: object, **_more: object) -> None:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr(cli, "main", fill)
    assert run_cli(["doctor"]) == 3
    said = capsys.readouterr().err
    assert f"a file, in fill ({__file__}:" in said
    assert "the output" not in said
