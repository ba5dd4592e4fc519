"""Only tests that truly ran and truly passed make a verdict good."""

from __future__ import annotations

import socket

import anyio
import pytest

from vwt_agents.errors import UsageError
from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.service import Sandbox
from vwt_agents.sandbox.suite_files import declared_tests
from vwt_agents.sandbox.trial import _listen, _Said

TESTS = {
    "test_m.py": "import pytest\nfrom m import f\n\n\ndef test_one():\n    assert f(1) == 2\n\n\n"
    "@pytest.mark.parametrize('x', [1, 2])\ndef test_more(x):\n    assert f(x) == x + 1\n"
}
GOOD = "def f(x):\n    return x + 1\n"
WRONG = "def f(x):\n    return 0\n"

FORGERIES = {
    "leaves with exit code 0": "import os; os._exit(0)",
    "leaves from inside the function": "import os\ndef f(x): os._exit(0)",
    "exits while it is imported": "import sys; sys.exit(0)",
    "exits with a fake summary": "import os\nprint('2 passed in 0.01s', flush=True); os._exit(0)",
    "patches every report to passed": """
import _pytest.reports as r
old = r.TestReport.from_item_and_call
def patched(item, call):
    call.excinfo = None
    report = old(item, call); report.outcome = "passed"; report.longrepr = None; return report
r.TestReport.from_item_and_call = staticmethod(patched)
""",
    "patches how a test is called": "import _pytest.python as p\np.Function.runtest = lambda self: None",
    "patches pytest's main": "import pytest\npytest.main = lambda *a, **k: 0",
    "ends the run before the sentinels": """
import _pytest.python as p, pytest
def runtest(self):
    if "test_good" in self.name or "test_bad" in self.name: pytest.exit("enough")
p.Function.runtest = runtest
def f(x): return 0
""",
    "turns failures into skips": "import builtins, pytest\nbuiltins.AssertionError = pytest.skip.Exception",
    "skips the tests": "import pytest\ndef f(x): pytest.skip('no')",
    "expects its failure": "import pytest\ndef f(x): pytest.xfail('no')",
    "deselects the tests": "import _pytest.main as m\nm.Session.perform_collect = lambda self, *a, **k: []",
    "raises a summary": "raise SystemExit('3 passed')",
    "loops for ever": "def f(x):\n    while True: pass",
    "recurses for ever": "def f(x): return f(x)",
    "writes into the report": """
import os
for fd in range(3, 64):
    try: os.write(fd, b'["[0, {}]", "00"]\\n')
    except OSError: pass
def f(x): return 0
""",
    "closes the report": "import os; os.closerange(3, 256)\ndef f(x): return 0",
    "passes descriptors into the report": """
import os, socket
for fd in range(3, 64):
    try: socket.send_fds(socket.socket(fileno=os.dup(fd)), [b"x"], [0] * 200)
    except OSError: pass
def f(x): return 0
""",
    "shuts the report": """
import os, socket
for fd in range(3, 64):
    try: socket.socket(fileno=os.dup(fd)).shutdown(2)
    except OSError: pass
def f(x): return 0
""",
    "ends well by an alarm": """
import os, signal
signal.signal(signal.SIGALRM, lambda *_: os._exit(0)); signal.setitimer(signal.ITIMER_REAL, 0.01)
def f(x):
    while True: pass
""",
    "ends by a timer of faulthandler": "import faulthandler\nfaulthandler.dump_traceback_later(0.01, exit=True)",
    "ends well when its last object does": """
import os
class Last:
    def __del__(self): os._exit(0)
last = Last()
def f(x): return 0
""",
    "kills the driver's parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)\ndef f(x): return 0",
    "rewrites the tests": """
for place in ("/tests/test_m.py", "/src/m.py"):
    try: open(place, "w").write("def test_one(): pass")
    except OSError: pass
def f(x): return 0
""",
}


@pytest.fixture
async def judged(best):
    return await Sandbox.open(best, limits=Limits(wall_s=30))


async def test_honest_code_passes(sandbox):
    verdict = await sandbox.test({"m.py": GOOD}, TESTS)
    assert (verdict.passed, verdict.reason) == (True, "all 3 tests passed")
    assert (verdict.tests_run, verdict.tests_passed, verdict.tests_failed, verdict.failures) == (3, 3, 0, ())
    assert (verdict.level, verdict.integrity, verdict.backend) == ("full", "isolated", sandbox.backend.name)


async def test_wrong_code_fails_with_the_lines_that_say_why(sandbox):
    verdict = await sandbox.test({"m.py": WRONG}, TESTS)
    assert (verdict.passed, verdict.tests_run, verdict.tests_failed) == (False, 3, 3)
    first = verdict.failures[0]
    assert (first.test, first.kind) == ("test_m.py::test_one", "AssertionError")
    assert "assert 0 == 2" in first.message
    assert len(first.message.splitlines()) <= 15


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_results_never_pass(judged, forgery):
    code = FORGERIES[forgery]
    code = code if "def f" in code else f"{code}\n{WRONG}"
    limits = Limits(wall_s=0.9) if "loops" in forgery else None
    verdict = await judged.test({"m.py": code}, TESTS, limits=limits, integrity="same-process")
    assert not verdict.passed
    assert verdict.reason


@pytest.mark.parametrize("name", ["conftest.py", "pytest.py", "sitecustomize.py", "json.py", "_pytest/__init__.py"])
async def test_configuration_and_shadows_in_the_code_folder_are_never_loaded(judged, name):
    verdict = await judged.test(
        {"m.py": WRONG, name: "import os; os._exit(0)", "pytest.ini": "[pytest]\naddopts=--co"}, TESTS
    )
    assert (verdict.passed, verdict.tests_failed) == (False, 3)


SHADOWS = (
    "usercustomize.py",
    "a.pth",
    "__init__.py",
    "pdb.py",
    "pygments.py",
    "unittest/__init__.py",
    "driver.py",
    "wire.py",
)


@pytest.mark.parametrize("integrity", ["isolated", "same-process"])
async def test_nor_is_anything_else_that_is_looked_for_by_name(judged, integrity):
    settings = {
        "tox.ini": "[pytest]\n",
        "setup.cfg": "[tool:pytest]\n",
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }
    files = {"m.py": WRONG, **dict.fromkeys(SHADOWS, "import os; os._exit(0)")}
    files |= {name: f"{head}addopts = '--co'\n" for name, head in settings.items()}
    verdict = await judged.test(files, TESTS, integrity=integrity)
    assert (verdict.passed, verdict.tests_failed, verdict.integrity) == (False, 3, integrity)


async def test_a_flood_of_records_leaves_others_their_turns():
    """Thirty processes that write to the judge's socket held the whole event loop, so that no limit was looked at for 8 s."""

    class Flooded(socket.socket):
        pieces, begun = 0, anyio.Event()

        def recv(self, *_):
            self.pieces += 1
            assert self.pieces < 1000, "nobody else had a turn"
            self.begun.set()
            return b"x"

    ours, theirs = socket.socketpair()
    with theirs, Flooded(fileno=ours.detach()) as flooded:
        theirs.send(b"x")
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, flooded, _Said(b""))
            await Flooded.begun.wait()
            group.cancel_scope.cancel()


async def test_a_hanging_test_is_named(judged):
    tests = {"test_m.py": "from m import f\ndef test_hangs(): f(1)"}
    verdict = await judged.test({"m.py": FORGERIES["loops for ever"]}, tests, limits=Limits(wall_s=2))
    assert (verdict.stopped, verdict.failures[0].test, verdict.failures[0].kind) == (
        "timeout",
        "test_m.py::test_hangs",
        "timeout",
    )


@pytest.mark.parametrize("tests", [{}, {"test_m.py": ""}, {"helper.py": "def test_x(): pass"}, {"test_m.py": "x = 1"}])
async def test_no_tests_prove_nothing(judged, tests):
    verdict = await judged.test({"m.py": GOOD}, tests)
    assert (verdict.passed, verdict.reason) == (False, "there are no tests, and nothing proves nothing")


async def test_a_declared_test_that_did_not_run_is_a_failure(judged):
    tests = {"test_m.py": "def test_a(): pass\ndef test_b(): pass\ndel test_b"}
    verdict = await judged.test({"m.py": GOOD}, tests)
    assert not verdict.passed
    assert [(one.test, one.kind) for one in verdict.failures] == [("test_m.py::test_b", "not run")]


async def test_an_import_error_is_reported_with_its_lines(judged):
    verdict = await judged.test({"other.py": ""}, TESTS)
    assert not verdict.passed
    assert "No module named 'm'" in verdict.failures[0].message


async def test_code_that_does_not_parse_is_reported_with_its_lines(judged):
    verdict = await judged.test({"m.py": "def f(:"}, TESTS)
    assert "SyntaxError" in verdict.failures[0].message


async def test_fixtures_classes_unittest_and_helpers_count(judged):
    tests = {
        "conftest.py": "import pytest\n@pytest.fixture\ndef two(): return 2",
        "helper.py": "ONE = 1",
        "test_m.py": "import unittest, helper\nfrom m import f\nclass TestA:\n    def test_a(self, two): assert f(helper.ONE) == two\n"  # noqa: E501
        "class B(unittest.TestCase):\n    def test_b(self): self.assertEqual(f(1), 2)\n",
    }
    verdict = await judged.test({"m.py": GOOD}, tests)
    assert (verdict.passed, verdict.tests_passed) == (True, 2)


async def test_a_failing_teardown_is_no_clean_pass(judged):
    tests = {"test_m.py": "import pytest\n@pytest.fixture\ndef x():\n    yield\n    assert 0\ndef test_a(x): pass"}
    assert not (await judged.test({"m.py": GOOD}, tests)).passed


def test_declared_tests_are_those_pytest_would_collect():
    text = "def test_a(): ...\nasync def test_b(): ...\nclass TestC:\n    def test_d(self): ...\n    def help(self): ...\nclass D:\n    def test_x(self): ..."  # noqa: E501
    names = declared_tests({"test_m.py": text, "sub/m_test.py": "def test_e(): ...", "m.py": "def test_f(): ..."})
    assert names == {"test_m.py::test_a", "test_m.py::test_b", "test_m.py::TestC::test_d", "sub/m_test.py::test_e"}


async def test_a_test_file_may_not_leave_its_folder(judged):
    with pytest.raises(UsageError):
        await judged.test({"m.py": GOOD}, {"../test_m.py": "def test_a(): pass"})
