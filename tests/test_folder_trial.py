"""A change of a folder is good when what passed still passes and what the task is about passes now; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from vwt_agents.errors import WorldError
from vwt_agents.folder_trial import Baseline, FolderTrial, baseline, gets_further, verdict_of_change
from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.judge import Failure, Verdict
from vwt_agents.sandbox.service import Sandbox
from vwt_agents.workspace import Workspace

# A package in src with tests beside it and inside it, a helper and data only the tests have, and one test nobody can run.
SHOP = Workspace(
    {
        "pyproject.toml": "[project]\nname = 'shop'\n",
        "src/shop/__init__.py": "from shop.cart import total\n\nNAME = 'shop'\n",
        "src/shop/cart.py": "def total(prices):\n    return sum(prices[1:])\n\n\n"
        "def count(prices):\n    return len(prices)\n",
        "src/shop/tests/__init__.py": "",
        "src/shop/tests/test_inside.py": "from .. import NAME\nfrom ..cart import count\n\n\n"
        "def test_name():\n    assert NAME == 'shop'\n\n\ndef test_count():\n    assert count([1]) == 1\n",
        "tests/conftest.py": "import pytest\n\n\n@pytest.fixture\ndef prices():\n    return [1, 2]\n",
        "tests/helper.py": "from pathlib import Path\n\nEXPECTED = int(Path(__file__).with_name('sum.txt').read_text())\n",
        "tests/sum.txt": "3",
        "tests/test_cart.py": "import subprocess, sys\n\nimport pytest\nfrom helper import EXPECTED\n"
        "from shop import total\n\n\n"
        "def test_total(prices):\n    assert total(prices) == EXPECTED\n\n\n"
        "def test_as_program():\n    run = [sys.executable, '-c', 'import shop; print(shop.NAME)']\n"
        "    assert subprocess.run(run, capture_output=True, text=True).stdout == 'shop\\n'\n\n\n"
        "@pytest.mark.skip\ndef test_later():\n    assert 0\n\n\ndef test_other():\n    assert 1 == 2\n",
        "tests/test_plot.py": "import nothing_of_that_name\n\n\ndef test_plot():\n    assert 0\n",
    },
    name="shop",
)
FIXED = {"src/shop/cart.py": SHOP.files["src/shop/cart.py"].replace("[1:]", "")}
TOTAL = "tests/test_cart.py::test_total"


@pytest.fixture
async def sandbox() -> Sandbox:
    return await Sandbox.open(limits=Limits(wall_s=120))


async def test_a_bug_is_fixed_when_its_test_passes_and_all_others_do_as_before(sandbox: Sandbox) -> None:
    before = await baseline(sandbox, SHOP)
    assert before.passed == 3
    assert [one.test for one in before.failing] == [TOTAL, "tests/test_cart.py::test_other"]
    assert [one.test for one in before.blocked] == ["tests/test_plot.py", "tests/test_cart.py::test_later"]
    assert (before.missing, before.aside) == (("nothing_of_that_name",), ("tests/test_plot.py",))
    targets = before.targets("`total` leaves out the first price", SHOP)
    assert targets == (TOTAL,)

    trial = FolderTrial(sandbox, SHOP, before, targets=targets)
    good = await trial.test(
        FIXED, {"tests/test_new.py": "from shop import total\n\ndef test_new():\n    assert total([]) == 0\n"}
    )
    assert (good.passed, good.tests_passed, good.tests_failed) == (True, 5, 0)
    assert good.reason.startswith("all 5 tests that count passed; 2 fail or are skipped as before")

    breaks = {"src/shop/cart.py": FIXED["src/shop/cart.py"].replace("len(prices)", "0")}
    bad = await trial.test(breaks, {})
    assert not bad.passed
    assert bad.reason == "1 that passed before fail now: src/shop/tests/test_inside.py::test_count"


async def test_tests_that_vanish_with_the_change_are_missed(sandbox: Sandbox) -> None:
    room = Workspace(
        {
            "m.py": "CASES = [1, 2, 3]\n\n\ndef f(x):\n    return 0\n",
            "test_m.py": "import pytest\nfrom m import CASES, f\n\n\n@pytest.mark.parametrize('x', CASES)\n"
            "def test_each(x):\n    assert x\n\n\ndef test_f():\n    assert f(1) == 1\n",
        }
    )
    before = await baseline(sandbox, room)
    trial = FolderTrial(sandbox, room, before, targets=before.targets("make the tests pass", room))
    fewer = await trial.test({"m.py": "CASES = [1]\n\n\ndef f(x):\n    return 1\n"}, {})
    assert (fewer.passed, fewer.reason) == (False, "2 tests that passed before are not there any more")


async def test_a_change_cannot_reach_the_tests_nor_end_them_early(sandbox: Sandbox) -> None:
    room = Workspace(
        {"m.py": "def f():\n    return 0\n", "test_m.py": "from m import f\n\ndef test_f():\n    assert f()\n"}
    )
    trial = FolderTrial(
        sandbox, room, Baseline(failing=(Failure("test_m.py::test_f", "AssertionError", ""),)), targets=["test_m.py"]
    )
    for path in ("test_m.py", "conftest.py", "tests/x.py", "pytest.ini"):
        assert "belongs to the tests" in (await trial.test({path: ""}, {})).reason
    with pytest.raises(ValueError, match=r"folder's own: test_m\.py"):
        await trial.test({}, {"test_m.py": "def test_f(): pass\n"})
    early = "import _pytest.python as p, pytest\ndef f(): 0\n"
    early += "p.Function.runtest = lambda s: 'good' in s.name and pytest.exit('x')\n"
    assert not (await trial.test({"m.py": early}, {})).passed


async def test_suspicious_code_is_held_against_a_change_only_where_it_is_new(sandbox: Sandbox) -> None:
    room = Workspace(
        {
            "m.py": "import atexit\n\n\ndef f():\n    return 0\n",
            "test_m.py": "from m import f\n\n\ndef test_f(tmp_path):\n    assert f() == 1\n",
        }
    )
    trial = FolderTrial(
        sandbox, room, Baseline(failing=(Failure("test_m.py::test_f", "x", ""),)), targets=["test_m.py"]
    )
    good = await trial.test({"m.py": room.files["m.py"].replace("0", "1")}, {})
    assert (good.passed, good.integrity, good.suspicions) == (True, "same-process", ())
    always = "class A:\n    def __eq__(self, other):\n        return True\n\n\ndef f():\n    return A()\n"
    forged = await trial.test({"m.py": always}, {})
    assert (forged.passed, forged.tests_passed) == (False, 1)
    assert forged.reason.startswith(
        "the tests passed, but in the process of a change that has a class that equals anything"
    )


async def test_a_module_the_task_asks_for_is_no_missing_dependency(sandbox: Sandbox) -> None:
    room = Workspace(
        {"a.py": "", "test_store.py": "from store import get\n\n\ndef test_get():\n    assert get() == 1\n"}
    )
    lacks = await baseline(sandbox, room)
    assert lacks.missing == ("store",)
    with pytest.raises(WorldError, match="Python has no store") as caught:
        lacks.require_tests(room)
    assert "-m pip install" in (caught.value.hint or "")
    before = await baseline(sandbox, room, wanted={"store"})
    targets = before.targets("Write `store.py` with `get()`", room)
    assert (before.missing, targets) == ((), ("test_store.py",))
    verdict = await FolderTrial(sandbox, room, before, targets=targets).test(
        {"store.py": "def get():\n    return 1\n"}, {}
    )
    assert (verdict.passed, verdict.tests_passed) == (True, 1)


async def test_a_folder_without_tests_has_a_baseline_of_nothing() -> None:
    assert await baseline(None, Workspace({"a.py": "x = 1\n"})) == Baseline()  # type: ignore[arg-type]


def raw(passed: int, *failures: str, sound: bool = True, **more: Any) -> Verdict:
    found = tuple(Failure(test, "AssertionError", "") for test in failures)
    return Verdict(
        passed=not failures,
        reason="raw",
        tests_run=passed + len(found),
        tests_passed=passed,
        tests_failed=len(found),
        failures=found,
        sound=sound,
        **more,
    )


BEFORE = Baseline(
    passed=2, failing=(Failure("t.py::a", "x", ""), Failure("t.py::b", "x", ""), Failure("u.py", "not collected", ""))
)
ROOM = Workspace({"t.py": "def test_a(): ...\n", "u.py": ""})


@pytest.mark.parametrize(
    ("run", "targets", "good"),
    [
        (raw(3, "t.py::b", "u.py::x"), ["t.py::a"], True),
        (raw(3, "t.py::b", "u.py::x", sound=False), ["t.py::a"], False),
        (raw(3, "t.py::a"), ["t.py::a"], False),
        (raw(3, "t.py::a[1]"), ["t.py::a"], False),
        (raw(3, "t.py::c"), ["t.py::a"], False),
        (raw(2, "t.py::b"), ["t.py::a"], False),
        (raw(4, "u.py::x"), ["u.py"], False),
        (raw(9), [], False),
        (raw(0, "t.py"), ["t.py::a"], False),
    ],
)
def test_what_makes_a_change_good(run: Verdict, targets: list[str], good: bool) -> None:
    found = verdict_of_change(run, BEFORE, ROOM, targets, {})
    assert found.passed == good
    assert found.tests_run == found.tests_passed + found.tests_failed


def test_the_tests_a_task_is_about() -> None:
    room = Workspace(
        {
            "m.py": "def f(): ...\ndef g(): ...\n",
            "test_m.py": "def test_one():\n    f()\n\n\ndef test_two():\n    g()\n",
        }
    )
    before = Baseline(failing=(Failure("test_m.py::test_one", "x", ""), Failure("test_m.py::test_two", "x", "")))
    assert before.targets("Make the tests pass.", room) == ("test_m.py::test_one", "test_m.py::test_two")
    assert before.targets("f is wrong", room) == ("test_m.py::test_one",)
    assert before.targets("fix test_two", room) == ("test_m.py::test_two",)
    assert before.targets("add `h(x)` beside it", room) == ()


def _did(passed: int, *failed: str) -> Verdict:
    failures = tuple(Failure(one, "AssertionError", "") for one in failed)
    count = len(failed)
    return Verdict(
        passed=False, reason="", tests_run=passed + count, tests_passed=passed, tests_failed=count, failures=failures
    )


@pytest.mark.parametrize(
    ("now", "before", "further"),
    [
        (_did(3, "t.py::b"), _did(2, "t.py::a", "t.py::b"), True),
        (_did(3, "t.py::c"), _did(3, "t.py::a"), False),  # another one fails
        (_did(4, "t.py::c"), _did(2, "t.py::a", "t.py::b"), False),  # two more pass, and one that did fails
        (_did(2, "t.py::a"), _did(2, "t.py::a"), False),
        (_did(2, "t.py::a"), _did(0, "t.py"), True),  # the file could not be collected
        (_did(1, "t.py::a"), _did(0), True),  # nothing ran at all
    ],
)
def test_further_is_what_passes_more_and_breaks_nothing(now: Verdict, before: Verdict, further: bool) -> None:
    assert gets_further(now, before) is further
