"""Promises of the plugin: costs nothing until it is used, works with whatever runs async tests, and says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TEST = """
import pytest
from pathlib import Path

{mark}
async def test_it(vwt_app):
    result = await vwt_app.run({pipeline!r}, answers={{"analyst": "x", "planner": "y", "judge": "z", "general": "w"}})
    assert result.pipeline
"""
PIPELINE = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("short")


@pipeline.stage
async def one(general: Agent) -> str:
    return await general.ask("Say x.")
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    pytester.makepyfile(short=PIPELINE)

    def running(test: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=test)
        quiet = () if "no:asyncio" in arguments else ("-o", "asyncio_default_fixture_loop_scope=function")
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *quiet, *arguments)

    return running


def test_importing_the_plugin_imports_nothing_else_of_the_package() -> None:
    code = "import sys, pytest; old = {*sys.modules}; import vwt_agents.pytest_plugin; print(*sorted({*sys.modules} - old))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in said if name.startswith("vwt_agents")] == ["vwt_agents", "vwt_agents.pytest_plugin"]
    assert not {"anyio", "asyncio", "pydantic", "httpx", "ollama", "structlog"} & set(said)


@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        ("", ["-o", "asyncio_mode=auto"]),
        ("@pytest.mark.asyncio", ["-o", "asyncio_mode=strict"]),
        ("@pytest.mark.anyio\n@pytest.mark.parametrize('anyio_backend', ['asyncio'])", ["-p", "no:asyncio"]),
    ],
)
def test_whoever_runs_async_tests_runs_those_with_the_fixture(run, mark: str, arguments: list[str]) -> None:
    run(TEST.format(mark=mark, pipeline="short.py"), *arguments).assert_outcomes(passed=1)


def test_a_test_that_is_not_async_needs_no_plugin(run) -> None:
    test = "def test_it(vwt_app):\n    assert vwt_app.run_sync('short.py', answers='x').outputs == {'one': 'x'}\n"
    run(test, "-p", "no:asyncio").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-p", "no:asyncio"], "*nothing here runs async tests: pip install pytest-asyncio*run_sync*"),
        (["-o", "asyncio_mode=strict"], "*mark it @pytest.mark.asyncio*"),
    ],
)
def test_an_async_test_that_nobody_runs_says_so(run, arguments: list[str], why: str) -> None:
    result = run(TEST.format(mark="", pipeline="short.py"), *arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([why])


def test_a_recording_that_is_not_there_is_told_with_the_command_that_makes_it(run) -> None:
    test = "def test_it(vwt_app):\n    vwt_app.run_sync('short.py', recording='none')\n"
    result = run(test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*there is no recording *none.toml*", "*record it: python -m pytest test_it.py::test_it --vwt-record*"]
    )


def test_the_plugin_is_found_by_pytest_and_not_by_the_sandboxs_judge() -> None:
    judge = (Path(__file__).parents[2] / "vwt_agents/sandbox/trial.py").read_text()
    assert '"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"' in judge
