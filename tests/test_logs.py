"""Promises of the log: one path for every event, quiet on the console, complete lines in the run's folder."""

from __future__ import annotations

import ast
import json
import logging
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

import vwt_agents
from vwt_agents.eventlog import bound, bound_keys, get_logger
from vwt_agents.logs import EVENTS, configure, run_log

PACKAGE = Path(vwt_agents.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception"}
log = get_logger("vwt_agents.tested")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def events_in(source: str) -> set[str]:
    """The literal event names given to a log: `log.info("model.loaded")`, `self._log.bind(...).warning("call.retried")`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS
        if re.search(r"log(ger)?\b", ast.unparse(call.func.value))
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def test_every_event_logged_is_in_the_list_and_every_event_of_the_list_is_logged():
    logged = {event: path.name for path in PACKAGE.rglob("*.py") for event in events_in(path.read_text())}
    assert {event: where for event, where in logged.items() if event not in EVENTS} == {}
    assert EVENTS - logged.keys() == set()


def test_events_are_found_however_the_log_is_held():
    source = 'log.info(\n "a.b", x=1)\nself._log.bind(y=2).warning("c.d")\nlogger.exception("e.f")\nother.info("g.h")'
    assert events_in(source) == {"a.b", "c.d", "e.f"}


def test_events_are_named_noun_verbed():
    assert [event for event in EVENTS if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", event)] == []


def test_structlog_is_imported_in_one_place_and_only_when_a_line_is_written(tmp_path):
    """An unconfigured structlog prints to stdout, where results go."""
    importing = re.compile(r"^\s*(import|from) structlog\b", re.MULTILINE)
    assert {path.name for path in PACKAGE.rglob("*.py") if importing.search(path.read_text())} == {"logs.py"}
    script = (
        "import sys; from vwt_agents.logs import configure; from vwt_agents.eventlog import get_logger\n"
        "with configure(): get_logger('vwt_agents.x').info('a.b'); print('structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_line_is_json_with_utc_time_level_event_and_flat_keys(tmp_path):
    with configure(run_dir=tmp_path, console="off"), bound(run="r1", stage="draft"):
        log.bind(endpoint="small").info("model.loaded", mib=4096, path=tmp_path, text="ä \ud83d\n", event="mine")
    (line,) = lines(tmp_path / "log.jsonl")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "event": "model.loaded",
        "logger": "vwt_agents.tested",
        "run": "r1",
        "stage": "draft",
        "endpoint": "small",
        "mib": 4096,
        "path": str(tmp_path),
        "text": "ä \ud83d\n",
        "event_": "mine",
    }


def test_a_binding_that_is_undone_leaves_what_was_bound_before_it() -> None:
    with bound(run="r1", stage="draft"):
        call = bound(agent="coder", call=1)
        assert dict(bound_keys()) == {"run": "r1", "stage": "draft", "agent": "coder", "call": 1}
        call.undo()
        assert dict(bound_keys()) == {"run": "r1", "stage": "draft"}


async def test_each_task_carries_its_own_keys(tmp_path):
    async def work(stage: str) -> None:
        with bound(stage=stage):
            await anyio.lowlevel.checkpoint()
            log.info("stage.started")

    with configure(run_dir=tmp_path, console="off"), bound(run="r1"):
        async with anyio.create_task_group() as tasks:
            for stage in "abc":
                tasks.start_soon(work, stage)
    assert sorted((line["run"], line["stage"]) for line in lines(tmp_path / "log.jsonl")) == [
        ("r1", "a"),
        ("r1", "b"),
        ("r1", "c"),
    ]


def test_a_foreign_library_s_line_carries_the_keys_of_the_task_that_called_it(tmp_path):
    with configure(run_dir=tmp_path, console="off"), bound(run="r1"):
        logging.getLogger("httpx").info('HTTP Request: %s "%d"', "POST", 200)
        logging.getLogger("httpcore").debug("every byte")
    (line,) = lines(tmp_path / "log.jsonl")
    assert (line["event"], line["logger"], line["run"]) == ('HTTP Request: POST "200"', "httpx", "r1")


def test_the_console_is_quiet_below_warnings_and_writes_to_stderr_only(capsys):
    with configure():
        log.info("stage.started")
        log.warning("call.retried", model="m")
        logging.getLogger("httpx").warning("slow")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.sub(r"\d\d:\d\d:\d\d", "TIME", err).splitlines() == [
        "TIME [warning  ] call.retried model=m",
        "TIME [warning  ] slow [httpx]",
    ]


def test_the_verbose_console_shows_our_events_and_still_no_foreign_chatter(capsys):
    with configure(level="debug"):
        log.debug("stage.started")
        logging.getLogger("httpx").info("HTTP Request")
    assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == ["stage.started"]


@pytest.mark.parametrize(("console", "coloured"), [("auto", False), ("plain", False), ("colour", True)])
def test_only_a_terminal_gets_colours_unless_asked(capsys, console, coloured):
    with configure(console=console):
        log.warning("call.retried")
    assert ("\x1b[" in capsys.readouterr().err) is coloured


def test_the_console_can_be_json_or_off(capsys):
    with configure(console="json"):
        log.warning("call.retried", n=1)
    assert json.loads(capsys.readouterr().err)["n"] == 1
    with configure(console="off"):
        log.error("stage.failed")
    assert capsys.readouterr().err == ""


def test_an_exception_is_told_with_its_traceback(tmp_path, capsys):
    with configure(run_dir=tmp_path):
        try:
            divmod(1, 0)
        except ZeroDivisionError:
            log.exception("stage.failed", stage="draft")
    (line,) = lines(tmp_path / "log.jsonl")
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "ZeroDivisionError: " in capsys.readouterr().err


def test_what_a_program_says_does_not_command_the_console(capsys):
    with configure():
        log.error("stage.failed", stage="\x1b]0;t\x07", exc_info=ValueError("\x1b[2J\x9b"))
    err = capsys.readouterr().err
    assert "stage=\\x1b]0;t\\x07" in err
    assert "ValueError: \\x1b[2J\\x9b" in err
    assert not {"\x1b", "\x07", "\x9b"} & set(err)


def test_the_log_of_a_run_holds_that_run_s_events_only(tmp_path):
    with run_log(tmp_path / "a" / "log.jsonl", run="a"), run_log(tmp_path / "b" / "log.jsonl", run="b"):
        with bound(run="a"):
            log.info("run.started")
        with bound(run="b"):
            log.info("run.ended")
        log.info("model.loaded")
    assert [line["event"] for line in lines(tmp_path / "a" / "log.jsonl")] == ["run.started"]
    assert [line["event"] for line in lines(tmp_path / "b" / "log.jsonl")] == ["run.ended"]


def test_after_the_block_logging_is_as_it_was(tmp_path):
    root, ours = logging.getLogger(), logging.getLogger("vwt_agents")
    before = (root.level, ours.level, list(root.handlers))
    files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    with configure(run_dir=tmp_path), run_log(tmp_path / "other.jsonl"):
        log.info("run.started")
    log.info("run.ended")
    assert (root.level, ours.level, list(root.handlers)) == before
    assert [line["event"] for line in lines(tmp_path / "log.jsonl")] == ["run.started"]
    assert not files or len(list(Path("/proc/self/fd").iterdir())) == files


def test_a_resumed_run_goes_on_after_the_last_complete_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "run.started"}\n{"event": "half' + "x" * 100_000)
    with run_log(path):
        log.info("run.ended")
    assert [line["event"] for line in lines(path)] == ["run.started", "run.ended"]
    path.write_text("x" * 100_000)
    with run_log(path):
        log.info("run.ended")
    assert [line["event"] for line in lines(path)] == ["run.ended"]


@contextmanager
def room_for(size: int):
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_complete_lines_and_one_warning(tmp_path, capfd):
    path = tmp_path / "log.jsonl"
    with configure(run_dir=tmp_path, console="plain"):
        log.info("run.started")
        with room_for(path.stat().st_size + 50):
            log.info("stage.started", text="x" * 1000)
            log.info("stage.done")
    assert [line["event"] for line in lines(path)] == ["run.started"]
    (warning,) = capfd.readouterr().err.splitlines()
    assert "log.lost" in warning
    assert str(path) in warning


def test_a_program_that_configures_nothing_still_gets_warnings_with_their_keys_on_stderr():
    script = "from vwt_agents.eventlog import get_logger; l = get_logger('vwt_agents.x'); l.info('a.b'); l.warning('c.d', n=1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "c.d n=1\n")
