"""The command line: results to stdout, everything else to stderr, exit codes as promised."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from vwt_agents.cli.sandbox import sandbox
from vwt_agents.errors import SandboxUnavailable


@pytest.fixture
def folders(tmp_path, best):
    code, tests = tmp_path / "code", tmp_path / "tests"
    code.mkdir()
    tests.mkdir()
    (code / "m.py").write_text("x = 1\n")
    (tests / "test_m.py").write_text("import m\ndef test_x(): assert m.x == 1\n")
    return code, tests


def call(*args):
    return CliRunner().invoke(sandbox, [str(arg) for arg in args])


def test_check_names_what_runs_use(best):
    result = call("check", "--json")
    assert (result.exit_code, json.loads(result.stdout)["backend"]) == (0, best)


def test_run_passes_output_and_exit_code_through(folders):
    (folders[0] / "a.py").write_text(
        "import sys; sys.stdout.buffer.write(b'\\xff\\x1b[1m'); sys.stderr.write('err'); sys.exit(7)"
    )
    result = call("run", folders[0], "a.py")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (7, b"\xff\x1b[1m", "err")


def test_run_says_which_limit_stopped_it(folders):
    (folders[0] / "a.py").write_text("print('begun', flush=True)\nwhile True: pass")
    result = call("run", folders[0], "a.py", "--timeout", "600ms")
    assert (result.exit_code, result.stdout) == (124, "begun\n")
    assert "stopped by the timeout limit" in result.stderr


def test_test_exits_by_the_verdict(folders):
    code, tests = folders
    good = call("test", code, tests)
    (code / "m.py").write_text("x = '\\x1b[2J'\n")
    bad = call("test", code, tests)
    assert (good.exit_code, good.stdout) == (0, "passed: all 1 tests passed\n")
    assert bad.exit_code == 1
    assert "test_m.py::test_x  AssertionError" in bad.stdout
    assert "\x1b" not in bad.stdout


def test_test_prints_one_object_for_machines(folders):
    verdict = json.loads(call("test", *folders, "--json").stdout)
    assert (verdict["passed"], verdict["level"], verdict["integrity"]) == (True, "full", "isolated")


def test_test_says_how_it_is_known_and_what_is_suspicious(folders):
    (folders[0] / "m.py").write_text("import gc\nx = 1\n")
    good, bad = call("test", *folders), call("test", *folders, "--integrity", "same-process")
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "suspicious: the code imports gc" in good.stderr
    assert "(isolated, level full" in good.stderr
    assert "(same-process, level full" in bad.stderr


def test_a_suspicion_named_by_the_user_does_not_count(folders):
    (folders[0] / "m.py").write_text("import gc\nx = 1\n")
    arguments = ("test", *folders, "--integrity", "same-process")
    what = "imports gc, which finds any object of the process (m.py)"
    assert f"--accept`, or for a pipeline -i accept='[\"{what}\"]'" in call(*arguments).stdout
    assert call(*arguments, "--accept", "imports gc").exit_code == 1
    assert call(*arguments, "--accept", what).exit_code == 0


def test_usage_faults_exit_with_2(folders, tmp_path):
    code, tests = folders
    assert call("test", code, tmp_path / "none").exit_code == 2
    assert call("test", code, code).exit_code == 2
    assert call("run", code, "none.py").exit_code == 2
    assert call("test", code, tests, "--timeout", "soon").exit_code == 2


def test_no_sandbox_exits_with_3(folders, monkeypatch):
    monkeypatch.setenv("VWT_BWRAP", "/bin/false")
    error = call("test", *folders, "--backend", "bubblewrap").exception
    assert isinstance(error, SandboxUnavailable)
    assert error.exit_code == 3
    assert "no sandbox works here: bubblewrap" in str(error)
    assert isinstance(call("test", *folders, "--backend", "firejail").exception, SandboxUnavailable)
