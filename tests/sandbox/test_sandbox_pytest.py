"""Where no tests can be run because pytest is missing, that is said: what is missing, and the command that fixes it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from vwt_agents.cli.sandbox import sandbox as command
from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import python
from vwt_agents.sandbox.records import read_records
from vwt_agents.sandbox.service import Sandbox

CODE, TESTS = "def f():\n    return 1\n", "import solution\n\n\ndef test_f():\n    assert solution.f() == 1\n"
DOCTOR = (
    "import anyio\nfrom vwt_agents.app import open_world\nfrom vwt_agents.app.checks import check_all\n"
    "from vwt_agents.config import load_settings\nfrom pathlib import Path\n"
    "settings = load_settings(None, pipeline=None, cwd=Path.cwd())\n"
    "async def go():\n    async with open_world(settings, everything=True) as world:\n"
    "        return (await check_all(world))[0]\n"
    "print([(one.level, one.detail, one.fix) for one in anyio.run(go) if one.what == 'pytest'])\n"
)


@pytest.fixture
def without_pytest(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "vwt_agents.sandbox.pytest_inside.find_spec", lambda name: None if name == "pytest" else find(name)
    )


@pytest.fixture
def broken(tmp_path):
    """Runs this Python's own code in a Python whose pytest lacks a module."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    settings = f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n"
    (tmp_path / "venv/pyvenv.cfg").write_text(settings)
    (tmp_path / "venv/bin/python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "packages/pytest").mkdir(parents=True)
    (tmp_path / "packages/pytest/__init__.py").write_text("import pluggy_that_is_not_there\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/solution.py").write_text(CODE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_solution.py").write_text(TESTS)
    places = [str(tmp_path / "packages"), str(Path(__file__).parents[2]), sysconfig.get_path("purelib")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "XDG_STATE_HOME": str(tmp_path)}

    def run(*arguments):
        argv = [str(tmp_path / "venv/bin/python"), *arguments]
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    run.fix = f"{tmp_path}/venv/bin/python -m pip install --force-reinstall pytest"
    run.why = "in the sandbox: ModuleNotFoundError: No module named 'pluggy_that_is_not_there'"
    return run


@pytest.mark.parametrize("integrity", ["isolated", "same-process"])
async def test_no_pytest_at_all_is_said_with_the_command_that_fixes_it(best, without_pytest, integrity):
    with pytest.raises(SandboxUnavailable, match=f"which {python()} does not have") as caught:
        await (await Sandbox.open(best)).test(CODE, TESTS, integrity=integrity)
    assert caught.value.hint == f"{python()} -m pip install pytest"


@pytest.mark.parametrize("integrity", ["isolated", "same-process"])
def test_a_pytest_that_cannot_be_imported_is_said_with_what_it_lacks(best, broken, integrity):
    done = broken("-m", "vwt_agents", "sandbox", "test", "code", "tests", "--integrity", integrity, "--backend", best)
    assert done.returncode == 3
    assert broken.why in done.stderr
    assert broken.fix in done.stderr


def test_check_and_doctor_say_it(best, broken):
    done = broken("-m", "vwt_agents", "sandbox", "check")
    assert (done.returncode, broken.why in done.stdout, f"fix: {broken.fix}" in done.stdout) == (0, True, True)
    [(level, text, fix)] = eval(broken("-c", DOCTOR).stdout)
    assert (level, fix) == ("missing", broken.fix)
    assert broken.why in text


def test_check_says_which_pytest_there_is(best):
    said = json.loads(CliRunner().invoke(command, ["check", "--json"]).stdout)["pytest"]
    assert said == {"works": True, "reason": f"pytest {pytest.__version__}", "fix": None}


def test_check_says_that_there_is_none(best, without_pytest):
    said = json.loads(CliRunner().invoke(command, ["check", "--json"]).stdout)["pytest"]
    assert (said["works"], said["fix"]) == (False, f"{python()} -m pip install pytest")


def test_only_who_has_the_key_can_say_that_there_is_none():
    line = json.dumps([json.dumps([0, {"kind": "no pytest", "text": "x"}]), "00"]).encode()
    report = read_records(line, b"key")
    assert (report.no_pytest, report.forged) == (None, True)
