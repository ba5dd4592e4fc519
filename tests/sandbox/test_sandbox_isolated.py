"""With the code in another sandbox than its tests, honest code passes and no forged result does."""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest
from forgeries import FORGERIES
from honest import FILES, TESTS

from vwt_agents.errors import SandboxUnavailable, UsageError
from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.outputs import OutputCase
from vwt_agents.sandbox.service import Sandbox
from vwt_agents.sandbox.suspicions import suspicions
from vwt_agents.sandbox.ties import why_not_isolated

F = "from m import f\n\n\ndef test_f():\n    assert f(1) == 2\n"
GOOD = {"m.py": "def f(x):\n    return x + 1\n"}


@pytest.fixture
async def judged(best):
    return await Sandbox.open(best, limits=Limits(wall_s=60))


async def test_honest_code_of_every_kind_passes_apart_from_its_tests(judged):
    verdict = await judged.test(FILES, TESTS)
    assert verdict.failures == ()
    assert (verdict.passed, verdict.integrity, verdict.tests_passed) == (True, "isolated", 32)


async def _verdicts(sandbox, names, integrity):
    found = {}

    async def one(name):
        forgery = FORGERIES[name]
        found[name] = await sandbox.test({"m.py": forgery.code}, {"test_m.py": forgery.tests}, integrity=integrity)

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(one, name)
    return found


SOME = list(FORGERIES)[::9]  # for every run; the slow lane tries them all


async def test_no_forgery_passes_isolated(judged):
    verdicts = await _verdicts(judged, SOME, "isolated")
    assert [name for name, verdict in verdicts.items() if verdict.passed] == []
    assert {verdict.integrity for verdict in verdicts.values()} == {"isolated"}


@pytest.mark.slow
async def test_no_forgery_of_all_passes_isolated(judged):
    verdicts = await _verdicts(judged, FORGERIES, "isolated")
    assert [name for name, verdict in verdicts.items() if verdict.passed] == []
    assert len(verdicts) >= 40


@pytest.mark.slow
async def test_no_forgery_passes_by_the_way_the_judge_chooses(judged):
    verdicts = await _verdicts(judged, FORGERIES, "auto")
    assert [name for name, verdict in verdicts.items() if verdict.passed] == []


@pytest.mark.slow
async def test_in_the_same_process_those_pass_that_are_known_to(judged):
    """The gap is written down, and closes or opens only with this list."""
    verdicts = await _verdicts(judged, FORGERIES, "same-process")
    passed = {name for name, verdict in verdicts.items() if verdict.passed}
    assert passed == {name for name, forgery in FORGERIES.items() if not forgery.same_process}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, forgery in FORGERIES.items() if forgery.fools_pytest])
def test_a_plain_run_of_pytest_is_fooled(name, tmp_path):
    (tmp_path / "m.py").write_text(FORGERIES[name].code)
    (tmp_path / "test_m.py").write_text(FORGERIES[name].tests)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
        str(tmp_path),
    ]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=120, check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name, forgery in FORGERIES.items() if forgery.fools_pytest])
def test_what_fools_pytest_is_suspected_where_it_can_be(name):
    """The scan alone; those it overlooks pass in the same process, and only there."""
    forgery = FORGERIES[name]
    assert bool(suspicions({"m.py": forgery.code}, {"test_m.py": forgery.tests})) is forgery.same_process


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("def f(xs):\n    xs.clear()\n    return xs\n", "f(xs)"),
        (
            "class f:\n    def __init__(self, xs): self.xs = xs\n    def done(self):\n        self.xs.clear(); return []\n",
            "f(xs).done()",
        ),
    ],
)
async def test_what_the_code_does_to_the_arguments_that_a_test_goes_by_is_said(judged, code, asked):
    """No judge can tell it from what a method is for, so it passes: with a word about it."""
    tests = f"from m import f\n\n\ndef test_f():\n    xs = [3, 1]\n    assert {asked} == sorted(xs)\n"
    verdict = await judged.test({"m.py": code}, {"test_m.py": tests})
    assert verdict.integrity == "isolated"
    assert [one.startswith("changes a list that a test handed over") for one in verdict.suspicions] == [True]


async def test_the_failure_shows_the_lines_of_the_code(judged):
    code = {"m.py": "def f(x):\n    return g(x)\n\n\ndef g(x):\n    return x.nothing\n"}
    verdict = await judged.test(code, {"test_m.py": F})
    failure = verdict.failures[0]
    assert (failure.test, failure.kind, verdict.integrity) == ("test_m.py::test_f", "AttributeError", "isolated")
    assert "m.py:6: in g" in failure.message
    assert "return x.nothing" in failure.message
    assert "stand_in" not in failure.message


async def test_tests_that_hand_over_their_own_functions_are_run_in_the_same_process(judged):
    """Found by reading (a lambda) or, where reading overlooks it, by running."""
    code = {"m.py": "def apply(g, x):\n    return g(x)\n"}
    read = "from m import apply\n\n\ndef test_apply():\n    assert apply(lambda x: x + 1, 1) == 2\n"
    run = "import m\n\n\ndef test_apply():\n    kinds = [lambda x: x + 1]\n    assert m.apply(kinds[0], 1) == 2\n"
    first, second = [await judged.test(code, {"test_m.py": tests}) for tests in (read, run)]
    assert (first.passed, first.integrity) == (second.passed, second.integrity) == (True, "same-process")
    assert first.reason == "all 1 tests passed; not isolated, because test_m.py hands functions of its own to the code"
    assert second.reason == "all 1 tests passed; not isolated, because the tests hand the function <lambda> to the code"
    insisted = await judged.test(code, {"test_m.py": run}, integrity="isolated")
    assert (insisted.passed, insisted.integrity) == (False, "isolated")
    assert insisted.reason == "it cannot be judged isolated, because the tests hand the function <lambda> to the code"


async def test_suspicious_code_cannot_pass_in_the_same_process_unless_it_is_accepted(judged):
    code = {"m.py": "import gc\n\n\ndef f(x):\n    return x + 1\n"}
    what = "imports gc, which finds any object of the process (m.py)"
    same = await judged.test(code, {"test_m.py": F}, integrity="same-process")
    assert (same.passed, same.tests_passed, same.suspicions) == (False, 1, (what,))
    assert same.reason.startswith("the tests passed, but in the process of code that imports gc")
    accepted = await judged.test(code, {"test_m.py": F}, integrity="same-process", accepted=[what])
    assert (accepted.passed, accepted.suspicions) == (True, ())
    apart = await judged.test(code, {"test_m.py": F})
    assert (apart.passed, apart.integrity, apart.suspicions) == (True, "isolated", (what,))


async def test_code_never_chooses_the_weaker_judge(judged):
    """Whatever it answers: only what the tests do can make them run in its process."""
    code = {
        "m.py": "class A:\n    def __eq__(self, o): return o is not None\n    def __sub__(self, o): return 0\n"
        "def f(x): return A()\n"
    }
    tests = {"test_m.py": F + "\n\ndef test_g():\n    assert f(1) - 2 == 0\n"}
    verdict = await judged.test(code, tests)
    assert (verdict.passed, verdict.integrity) == (False, "isolated")
    assert {failure.kind for failure in verdict.failures} == {"AssertionError", "NotBelieved"}
    assert verdict.suspicions == (
        "`sub` of an object of the code and a value of the tests gave plain data: it could be made to fit",
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("bytearray(3_000_000_000)", "MemoryError"),
        ("__import__('os')._exit(0)", "CodeLost"),
        ("f(x)", "RecursionError"),
    ],
)
async def test_code_that_hogs_leaves_or_recurses_fails_the_test_that_asked(judged, body, kind):
    verdict = await judged.test({"m.py": f"def f(x):\n    return {body}\n"}, {"test_m.py": F})
    assert (verdict.passed, verdict.integrity) == (False, "isolated")
    assert [(failure.test, failure.kind) for failure in verdict.failures] == [("test_m.py::test_f", kind)]


async def test_the_tests_cannot_be_read_by_the_code(judged):
    code = {
        "m.py": "import os\n\n\ndef f(x):\n    return [n for n in ('/tests', '/trusted') if os.path.exists(n)], "
        "sorted(n for n in os.listdir('/box'))\n"
    }
    tests = {"test_m.py": "from m import f\n\n\ndef test_f():\n    assert f(1) == ([], ['m.py'])\n"}
    assert (await judged.test(code, tests)).passed


async def test_nothing_is_left_of_either_sandbox(judged, left_behind):
    await judged.test(
        {"m.py": "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\n" + GOOD["m.py"]},
        {"test_m.py": F},
    )
    assert left_behind()[0] == set()


async def test_without_a_sandbox_nothing_is_called_isolated():
    unsafe = await Sandbox.open("unsafe", allow_unsafe=True)
    with pytest.raises(SandboxUnavailable, match="does not keep two programs apart"):
        await unsafe.test(GOOD, {"test_m.py": F}, integrity="isolated")
    verdict = await unsafe.test(GOOD, {"test_m.py": F})
    assert (verdict.passed, verdict.integrity, verdict.level) == (True, "same-process", "none")
    assert verdict.reason.endswith("not isolated, because unsafe does not keep two programs apart")
    with pytest.raises(UsageError):
        await unsafe.test(GOOD, {"test_m.py": F}, integrity="perfect")


async def test_tests_that_pass_against_a_stub_are_named(judged):
    tests = "from m import f\n\n\ndef test_f():\n    assert f(1) == 2\n\n\ndef test_nothing():\n    f(1)\n"
    assert await judged.green({"m.py": "def f(*a):\n    return NotImplemented\n"}, {"test_m.py": tests}) == (
        "test_m.py::test_nothing",
    )


async def test_programs_are_judged_by_what_they_print(judged):
    code = {"main.py": "n = int(input())\nif n < 0: raise SystemExit('negative')\nprint(n * 2, '')\n"}
    good, wrong, ended = OutputCase("2\n", "4\n"), OutputCase("3\n", "7\n", "odd"), OutputCase("-1\n", "", "below")
    verdict = await judged.test_output(code, "main.py", [good, wrong, ended])
    assert (verdict.passed, verdict.reason, verdict.integrity) == (False, "1 of 3 cases passed", "isolated")
    assert [(one.test, one.kind) for one in verdict.failures] == [("odd", "output"), ("below", "exit")]
    assert verdict.failures[0].message == "line 1 is '6', expected '7'"
    assert (await judged.test_output(code, "main.py", [good])).passed
    assert not (await judged.test_output(code, "main.py", [])).passed
    with pytest.raises(UsageError):
        await judged.test_output(code, "other.py", [good])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("def test_f(tmp_path): f(tmp_path)", "uses tmp_path"),
        ("def test_f(monkeypatch): f(1)", "uses monkeypatch"),
        ("from unittest.mock import patch", "uses unittest.mock"),
        ("from unittest import mock", "uses unittest.mock"),
        ("import asyncio", "uses asyncio"),
        ("async def test_f(): f(1)", "has async functions"),
        ("class G(m.F): pass", "derives G from a class of the code"),
        ("def test_f(): f(lambda: 1)", "hands functions of its own to the code"),
        ("def test_f(): open('x')", "calls open()"),
        ("import os\ndef test_f(): os.environ['A'] = '1'", "uses os.environ"),
        ("import random\ndef test_f(): random.seed(1)", "seeds the code's randomness"),
        (
            "from pathlib import Path\ndef test_f():\n    p = Path('o')\n    f(p)\n    p.read_text()",
            "reads or writes files",
        ),
        ("import pathlib\ndef test_f(): assert list(pathlib.Path('.').iterdir())", "reads or writes files"),
        ("from os import environ", "uses os.environ"),
        ("from os.path import exists, join", "uses os.path.exists"),
        ("import decimal\ndef test_f(): decimal.getcontext().prec = 3", "uses getcontext() of decimal"),
        ("import zipfile", "uses zipfile"),
        ("import gzip\ndef test_f(): gzip.open('x')", "reads or writes files"),
        ("from io import open", "uses io.open"),
        ("import configparser\ndef test_f(): c = configparser.ConfigParser(); c.read('x')", "reads or writes files"),
        ("import xml.etree.ElementTree as ET\ndef test_f(): ET.parse('x')", "reads or writes files"),
        ("import csv\ndef test_f(): csv.reader(open('x'))", "calls open()"),
        ("import shelve", "uses shelve"),
        ("import sqlite3", "uses sqlite3"),
        ("def test_f():\n    import types\n    assert isinstance(f(), types.GeneratorType)", "uses types"),
    ],
)
def test_what_ties_tests_to_the_code_is_read_from_their_text(line, why):
    assert why_not_isolated({"test_m.py": f"import m\nfrom m import f\n{line}\n"}, {"m"}) == f"test_m.py {why}"


@pytest.mark.parametrize(
    "line",
    [
        "def test_f(capsys): f(1); capsys.readouterr()",
        "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))",
        "def test_f(): assert sorted([1], key=lambda x: x) == f(1)",
        "import random\ndef test_f(): f(random.random())",
        "class TestF:\n    def test_f(self): f(len)",
        "from m import S, LIMIT\ndef test_f():\n    s = S()\n    s.pop()\n    assert f(1) == LIMIT",
        "from m import ALL, Kind\ndef test_f(): assert ALL == [1]\ndef test_g(): assert f(1) == Kind['A']",
        "class TestF:\n    def setup_method(self): self.s = m.S()\n    def test_f(self): self.s.append(1)",
        "from pathlib import Path\ndef test_f(): assert f(1) == Path('a') / 'b'",
        "from os.path import join\nfrom os import path\ndef test_f(): assert f(1) == join('a')",
        "def test_f():\n    got = []\n    got.append(f(1))\n    got[0] = 2",
        "def test_f(): assert m.stack.pop() == 1",
        "def test_f():\n    s = f()\n    s.items.append(1)\n    s.d['a'] = 1",
        "from m import SEEN\ndef setup_function(): SEEN.clear()\ndef test_f():\n    f(1)\n    assert SEEN == [1]",
        "import gzip, json\ndef test_f(): assert gzip.decompress(f(1)) == json.dumps(1)",
        "def test_f():\n    store = f()\n    store.open('x')\n    store.read('x')",
    ],
)
def test_what_does_not_tie_them_is_left_alone(line):
    assert why_not_isolated({"test_m.py": f"import m\nfrom m import f\n{line}\n"}, {"m"}) is None
