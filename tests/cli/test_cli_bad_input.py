"""Bad input of every kind ends with the right exit code and words that say what, where and what to do; never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vwt_agents.cli import run_cli

PIPELINE = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("p")


@pipeline.stage
async def one(coder: Agent, count: int) -> str:
    return "x"
"""

CONFIG = """
[endpoints.here]
kind = "ollama"
url = "http://127.0.0.1:9"
device = "cpu"
[tiers.small]
endpoint = "here"
models = ["small:1b"]
[agents.coder]
task = "code"
"""

EMBEDDED = """
[budget]
cpu = "50 MiB"
[endpoints.here]
kind = "embedded"
[tiers.small]
endpoint = "here"
models = ["smollm2:135m"]
[agents.coder]
task = "code"
"""

CYCLE = """
from vwt_agents import Pipeline

pipeline = Pipeline("p")


@pipeline.stage
async def one(two: str) -> str:
    return two


@pipeline.stage
async def two(one: str) -> str:
    return one
"""


@dataclass(frozen=True)
class Case:
    """A command with its files, the exit code it must end with, and words its message must hold."""

    exit_code: int
    words: tuple[str, ...]
    argv: tuple[str, ...] = ("plan", "p.py")
    pipeline: str = PIPELINE
    config: str = CONFIG


CASES = {
    "broken TOML": Case(2, ("agents.toml:1:",), config="[agents.coder\n"),
    "unknown key": Case(
        2, ("agents.toml:", "temperatur", "did you mean"), config=CONFIG + "options = { temperatur = 1.0 }\n"
    ),
    "wrong type in agents.toml": Case(
        2, ("agents.toml:", "parallel"), config=CONFIG.replace("device", 'parallel = "x"\ndevice')
    ),
    "unknown tier": Case(2, ("agents.toml:", "tier"), config=CONFIG + 'tier = "smal"\n'),
    "unknown model": Case(2, ("agents.toml:", "smal:1b", "small:1b"), config=CONFIG + 'model = "smal:1b"\n'),
    "cycle": Case(2, ("p.py:", "one", "two"), pipeline=CYCLE),
    "unknown agent": Case(2, ("p.py:", "codr", "did you mean 'coder'"), pipeline=PIPELINE.replace("coder", "codr")),
    "missing stage": Case(
        2,
        ("draft", "missing"),
        ("run", "p.py", "-i", "count=1"),
        PIPELINE.replace("count: int", "count: int, draft: str"),
    ),
    "no annotation": Case(2, ("p.py:", "count"), pipeline=PIPELINE.replace("count: int", "count")),
    "wrong type of an input": Case(2, ("count", "'abc' is not a valid integer"), ("run", "p.py", "-i", "count=abc")),
    "input nobody takes": Case(2, ("cuont", "did you mean 'count'"), ("run", "p.py", "-i", "cuont=1")),
    "missing input": Case(2, ("count", "-i count=VALUE"), ("run", "p.py")),
    "missing input file": Case(2, ("nope.md", "cannot read"), ("run", "p.py", "-i", "count=@nope.md")),
    "broken JSON of inputs": Case(2, ("p.py", "is not JSON"), ("run", "p.py", "--inputs", "p.py")),
    "missing pipeline": Case(2, ("nope.py", "no such file", "p.py"), ("plan", "nope.py")),
    "syntax error in the pipeline": Case(2, ("p.py:", "syntax"), pipeline="def broken(:\n"),
    "no pipeline in the file": Case(2, ("p.py", "Pipeline"), pipeline="x = 1\n"),
    "error while the pipeline is imported": Case(2, ("p.py:1", "ZeroDivisionError"), pipeline="1 / 0\n"),
    "missing config": Case(2, ("nope.toml",), ("plan", "p.py", "--config", "nope.toml")),
    "a folder as config": Case(2, ("is a directory", "toml"), ("plan", "p.py", "--config", ".")),
    "an endless device as config": Case(2, ("no regular file",), ("plan", "p.py", "--config", "/dev/zero")),
    "an endless device as inputs": Case(2, ("longer than",), ("run", "p.py", "--inputs", "/dev/zero")),
    "an empty config": Case(2, ("agents.toml: is empty",), config=" \n"),
    "the same model twice": Case(
        2,
        ("agents.toml:8:23", "'small:1b' is listed twice", "'SMALL:1b' is listed twice, the same as"),
        config=CONFIG.replace('["small:1b"]', '["small:1b", "small:1b", "SMALL:1b"]'),
    ),
    "the same fallback twice": Case(
        2, ("agents.coder.fallback.1", "listed twice"), config=CONFIG + 'fallback = ["small:1b", "small:1b"]\n'
    ),
    "an endpoint without a name, and others": Case(
        2,
        ("'' is no name for an endpoint", "' '", "'a/b'", "'a\\nb'", "agents.toml:1:", "agents.toml:7:"),
        config="".join(f'[endpoints.{name}]\nkind = "ollama"\n' for name in ('""', '" "', '"a/b"', '"a\\nb"'))
        + CONFIG.lstrip(),
    ),
    "names of blanks and lines": Case(
        2,
        ("models.1: ' ' is not one line", r"models.2: 'a\nb' is not one line", "task"),
        config=CONFIG.replace('["small:1b"]', '["small:1b", " ", "a\\nb"]').replace('"code"', '" "'),
    ),
    "unreachable endpoint": Case(3, ("http://127.0.0.1:9", "no Ollama server answers")),
    "budget too small for any model": Case(3, ("MiB", "50"), config=EMBEDDED),
    "unknown run": Case(2, ("nope",), ("runs", "show", "nope")),
    "unknown command": Case(2, ("did you mean 'run'",), ("rum",)),
    "no such priority": Case(2, ("--priority", "'urgent'", "interactive"), ("run", "p.py", "--priority", "urgent")),
    "a deadline without its unit": Case(2, ("--deadline", "such as '15s'"), ("run", "p.py", "--deadline", "5")),
    "a deadline in the past": Case(
        2, ("--deadline", "'0s' is not a duration", "above 0"), ("run", "p.py", "--deadline", "0s")
    ),
    "a time limit of a sandbox without its unit": Case(
        2, ("--timeout", "such as '15s'"), ("sandbox", "run", ".", "p.py", "--timeout", "5")
    ),
    "an age from before all calendars": Case(
        2, ("--older-than", "no calendar"), ("runs", "gc", "--older-than", "999999999d")
    ),
    "no calls at all": Case(2, ("--max-calls", "x>=1"), ("run", "p.py", "--max-calls", "0")),
    "unknown option": Case(2, ("--jsn",), ("plan", "p.py", "--jsn")),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_told_and_ends_with_its_exit_code(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.py").write_text(case.pipeline)
    (tmp_path / "agents.toml").write_text(case.config)
    monkeypatch.chdir(tmp_path)
    code = run_cli(list(case.argv))
    out, err = capsys.readouterr()
    assert (code, out) == (case.exit_code, "")
    assert "Traceback" not in err
    for words in case.words:
        assert words.lower() in err.lower(), err


BAD_FILES = {
    "a pipe": (os.mkfifo, "it is no regular file"),
    "a binary": (lambda path: path.write_bytes(b"\x00\xff\xfe"), "is not UTF-8 text: byte 1 is 0xff"),
    "a huge file": (lambda path: (path.touch(), os.truncate(path, 2**33)), "longer than 4 MiB"),
    "a folder": (lambda path: path.mkdir(), "is a directory"),
}


@pytest.mark.parametrize(("make", "words"), BAD_FILES.values(), ids=BAD_FILES.keys())
@pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
def test_a_config_that_is_no_text_is_told_and_not_waited_for(
    make: Callable[[Path], object],
    words: str,
    named: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "p.py").write_text(PIPELINE)
    make(tmp_path / "agents.toml")
    monkeypatch.chdir(tmp_path)
    code = run_cli(["plan", "p.py", *(["--config", "agents.toml"] if named else [])])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("error: agents.toml: ")
    assert words.lower() in err.lower()
    assert "a TOML text is wanted" in err


def test_a_sandbox_that_cannot_be_had_ends_the_run_with_reason_and_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_a():\n    assert True\n")
    monkeypatch.setenv("VWT_BWRAP", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    code = run_cli(["sandbox", "test", "code", "tests", "--backend", "bubblewrap"])
    _out, err = capsys.readouterr()
    assert code == 3
    assert "bubblewrap" in err
    assert "Traceback" not in err


def test_help_and_import_cost_next_to_nothing() -> None:
    """Neither pulls in what a run needs: pydantic, HTTP, rich, structlog, the event loop."""
    import subprocess
    import sys

    heavy = ["pydantic", "httpx", "ollama", "structlog", "rich", "anyio", "sqlite3", "vwt_agents.app", "pynvml"]
    script = (
        "import sys, vwt_agents\n"
        "from vwt_agents.cli import run_cli\n"
        "run_cli(['--help'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Commands:" in done.stdout


@pytest.mark.parametrize("group", ["endpoints", "models", "runs", "sandbox"])
def test_the_help_of_a_group_cuts_no_sentence_off(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([group, "--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:")[2]
    assert commands
    assert "..." not in commands
