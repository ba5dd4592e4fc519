"""`runs report`, `trace`, `top` and `show`: what a run did, while it goes on, when it has ended, and after it was killed."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from serving import Served

from vwt_agents.cli import run_cli
from vwt_agents.cli.run_pages import write

Capture = pytest.CaptureFixture[str]


def called(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    code = run_cli(argv)
    out, err = capsys.readouterr()
    return code, out, err


class Going:
    """A run in a process of its own that has come to its first call, which does not end until the gate is opened."""

    def __init__(self, here: Served) -> None:
        self.here = here
        self.gate = here.hold("/api/chat")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vwt_agents", "run", "two.py", "--quiet"], stdout=subprocess.DEVNULL
        )

    def __enter__(self) -> Going:
        try:
            self._reached()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _reached(self) -> None:
        """Return once its call has come; a busy machine may take its time to start a process."""
        for _ in range(6):
            assert self.process.poll() is None, "the run ended before its first call"
            try:
                return self.here.reached("/api/chat")
            except TimeoutError:
                continue
        raise AssertionError("the run never came to its first call")

    def __exit__(self, *exc: object) -> None:
        self.here.open(self.gate)
        self.process.kill()
        self.process.wait()

    def wait_for(self, capsys: Capture, what: str) -> list[dict[str, Any]]:
        """What `runs top` says, once there is something in this part of it: it is told a second later."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            code, out, err = called(capsys, "runs", "top", "--json")
            assert code == 0, err
            seen: list[dict[str, Any]] = json.loads(out)
            if seen and seen[0][what]:
                return seen
        raise AssertionError(f"nothing {what}: {seen}")


def test_every_run_leaves_its_page_and_it_can_be_made_again(here: Served, capsys: Capture) -> None:
    code, out, err = called(capsys, "run", "two.py", "--out", "made", "--quiet")
    assert code == 0, err
    assert "made/report.html" in out
    left = Path("made/report.html").read_text()
    assert "two: good" in left
    code, out, _err = called(capsys, "runs", "report", "last", "--html", "again.html")
    assert (code, out.strip()) == (0, str(Path("again.html").absolute()))
    assert "two: good" in Path("again.html").read_text()
    code, out, _err = called(capsys, "runs", "report", "last", "--html", "-")
    assert (code, out.startswith("<!doctype html>")) == (0, True)
    assert json.loads(Path("made/result.json").read_text())["artifacts"][-1].endswith("report.html")


def test_a_pipeline_cannot_deliver_a_file_in_place_of_the_page(here: Served, capsys: Capture) -> None:
    Path("two.py").write_text(Path("two.py").read_text().replace('"answer.txt"', '"report.html"'))
    code, out, _err = called(capsys, "run", "two.py", "--quiet")
    assert code != 0
    assert "cannot deliver 'report.html'" in out


def test_a_run_that_is_going_on_can_be_watched_from_elsewhere_and_reported_on(here: Served, capsys: Capture) -> None:
    with Going(here) as going:
        (seen,) = going.wait_for(capsys, "running")
        assert (seen["status"], seen["pipeline"]) == ("running", "two")
        assert [(call["stage"], call["model"]) for call in seen["running"]] == [("first", "small:1b")]
        assert [(stage["name"], stage["status"]) for stage in seen["stages"]] == [
            ("first", "running"),
            ("second", "waiting"),
        ]
        (device,) = [one for one in seen["devices"] if one["models"]]
        assert (device["models"][0]["phase"], device["budget_mib"]) == ("resident", 4096)
        code, out, _err = called(capsys, "runs", "top")
        assert code == 0
        assert "second  waiting" in out
        code, out, _err = called(capsys, "runs", "report", "last", "--html", "now.html")
        assert (code, "two: running" in Path("now.html").read_text()) == (0, True)
        going.process.send_signal(signal.SIGKILL)
        going.process.wait()
        assert json.loads(called(capsys, "runs", "top", "--json")[1]) == []
        assert "no run is going on" in called(capsys, "runs", "top")[1]
        code, out, err = called(capsys, "runs", "report", "last")
        assert code == 2
        assert "--html" in err
        called(capsys, "runs", "report", "last", "--html", "killed.html")
        assert "two: interrupted" in Path("killed.html").read_text()
        code, out, _err = called(capsys, "runs", "show", "last")
        assert code == 0
        assert "stopped" in out
        assert "runs resume" in out


@pytest.mark.parametrize("way", ["q", *(pytest.param(way, marks=pytest.mark.slow) for way in ("ctrl-c", "end"))])
def test_the_live_view_leaves_on_q_on_ctrl_c_and_when_the_run_has_ended(
    here: Served, capsys: Capture, way: str
) -> None:
    with Going(here) as going:
        going.wait_for(capsys, "running")
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "vwt_agents", "runs", "top"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        view = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        try:
            seen = _read_until(ours, b"small:1b resident 1/2")
            assert b"\x1b[?1049h" in seen  # a screen of its own, which leaves the terminal as it was
            if way == "q":
                os.write(ours, b"q")
            elif way == "ctrl-c":
                view.send_signal(signal.SIGINT)
            else:
                here.open(going.gate)
            seen = _read_until(ours, b"\x1b[?1049l")
            _drain(ours, view)
            assert view.returncode == 0
        finally:
            view.kill()
            view.wait()
            os.close(ours)


def _read_until(terminal: int, mark: bytes) -> bytes:
    seen, until = b"", time.monotonic() + 60
    while mark not in seen:
        left = until - time.monotonic()
        assert left > 0, seen[-2000:]
        assert select.select([terminal], [], [], left)[0], seen[-2000:]
        seen += os.read(terminal, 65536)
    return seen


def _drain(terminal: int, process: subprocess.Popen[bytes]) -> None:
    """Read on until the process has ended: one that nobody reads cannot write its last words."""
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                os.read(terminal, 65536)
            except OSError:  # nobody has the other end open any more
                break
    process.wait(10)


def test_a_trace_is_written_whole_to_a_file_or_to_stdout(here: Served, capsys: Capture) -> None:
    called(capsys, "run", "two.py", "--quiet")
    code, out, _err = called(capsys, "runs", "trace", "last")
    assert code == 0
    on_stdout = json.loads(out)
    code, out, _err = called(capsys, "runs", "trace", "last", "--out", "trace.json")
    assert (code, out.strip()) == (0, str(Path("trace.json").absolute()))
    assert json.loads(Path("trace.json").read_text()) == on_stdout
    assert {"first", "second"} <= {event["name"] for event in on_stdout["traceEvents"]}


def test_show_sums_up_stages_waits_and_tokens_and_lists_entries_when_asked(here: Served, capsys: Capture) -> None:
    called(capsys, "run", "two.py", "--quiet")
    code, out, _err = called(capsys, "runs", "show", "last")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines() if line.startswith(("first", "second"))] == [
        ["first", "done", "small:1b"],
        ["second", "done", "small:1b"],
    ]
    assert "2 calls, 0 failed" in out
    assert "of 4096 MiB" in out
    code, out, _err = called(capsys, "runs", "show", "last", "--entries")
    assert (code, [line.split()[1] for line in out.splitlines()[3:]].count("call")) == (0, 2)


def test_a_resumed_run_is_one_report_of_two_sessions(here: Served, capsys: Capture) -> None:
    here.server.fail("/api/chat", "oom", times=20)
    called(capsys, "run", "two.py", "--quiet")
    here.server._faults.clear()
    code, _out, err = called(capsys, "runs", "resume", "last", "--quiet")
    assert code == 0, err
    code, out, _err = called(capsys, "runs", "show", "last")
    assert "in 2 sessions" in out
    assert "good" in out


@pytest.mark.parametrize("command", [("report", "--html", "x.html"), ("trace",), ("top",), ("show",)])
def test_a_run_that_is_not_there_is_said_so(here: Served, capsys: Capture, command: tuple[str, ...]) -> None:
    code, out, err = called(capsys, "runs", command[0], "nope", *command[1:])
    assert (code, out) == (2, "")
    assert "there is no run 'nope'" in err
    assert not Path("x.html").exists()


def test_a_file_that_cannot_be_written_is_said_so(here: Served, capsys: Capture) -> None:
    called(capsys, "run", "two.py", "--quiet")
    Path("taken").mkdir()
    for command in (("report", "last", "--html"), ("trace", "last", "--out")):
        code, _out, err = called(capsys, "runs", *command, "taken")
        assert code == 2
        assert "cannot write" in err


def test_a_page_goes_where_a_link_leads_and_into_a_pipe_and_takes_the_place_of_neither(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "there" / "page.html", tmp_path / "link.html", tmp_path / "pipe"
    file.parent.mkdir()
    file.write_text("old")
    link.symlink_to(file)
    assert write(link, "new") == file
    assert (link.is_symlink(), file.read_text()) == (True, "new")
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(pipe, "new")
        assert os.read(reading, 10) == b"new"
    finally:
        os.close(reading)
    assert pipe.is_fifo()
