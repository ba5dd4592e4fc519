"""What a task asks of a folder is known before a model is asked, and what a model is asked for is one function or file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vwt_agents.code_profiles import CodeProfile
from vwt_agents.errors import UsageError
from vwt_agents.folder_task import FolderTask
from vwt_agents.folder_trial import Baseline
from vwt_agents.sandbox.judge import Failure
from vwt_agents.workspace import Suspect, Workspace

ROOM = Workspace(
    {
        "shop/__init__.py": "",
        "shop/cart.py": 'class Cart:\n    """Things."""\n\n    def total(self, prices):\n        """Their sum."""\n'
        "        # all of them\n        return sum(prices[1:])\n\n    def one(self): return 1\n\n\n"
        "def free(a,\n         b):\n    return a\n",
        "tests/test_cart.py": "from shop.cart import Cart\n\n\ndef test_total():\n    assert Cart().total([1, 2]) == 3\n",
    },
    name="repo",
)
FAILS = Failure(
    "tests/test_cart.py::test_total", "AssertionError", "x\nE   assert 2 == 3\nE    +  where 2 = total([1, 2])\n"
)
TASK = FolderTask(
    "`total` leaves out a price",
    ROOM,
    Baseline(failing=(FAILS,)),
    targets=(FAILS.test,),
    suspects=(Suspect("shop/cart.py", "Cart.total", 9), Suspect("shop/cart.py", "free", 4)),
)
COMPLETES = CodeProfile(completes=True)
BLANKS = CodeProfile(completes=True, blanks=True)


def test_the_likeliest_function_is_asked_for_first_with_the_file_the_task_and_the_failing_test() -> None:
    first, free, second, *_ = TASK.asks(2000)
    assert (first.path, first.within) == ("shop/cart.py", "Cart")
    assert first.stub == 'def total(self, prices):\n    """Their sum."""'
    assert "method `total` of `Cart` in `shop/cart.py`" in first.prompt
    shown, task, told = first.given
    assert ROOM.files["shop/cart.py"].strip() in shown
    assert task == TASK.task
    assert "assert Cart().total([1, 2]) == 3" in told
    assert "assert 2 == 3" in told
    assert (free.path, free.stub) == (None, None)
    assert second.stub == "def free(a,\n         b):"


def test_a_model_that_copies_does_not_see_the_body_it_is_to_write_anew() -> None:
    turns = TASK.turns(BLANKS, 2000, samples=2)
    assert [(turn.ask.blank is not None, turn.greedy, turn.answers) for turn in turns] == [
        (True, True, 1),  # `total`, alone, with what the test shows in its docstring
        (True, False, 1),
        (True, True, 1),  # `free`, which no test shows, with the task
        (True, True, 1),  # `total`, with file, task and failing test
        (True, False, 1),
        (True, False, 1),
        (True, True, 1),
        (True, False, 1),
        (False, True, 1),  # any files
    ]
    alone, told = turns[0].ask, turns[3].ask
    assert (alone.given, told.given[1]) == ((), TASK.task)
    opening = alone.opening(BLANKS)
    assert opening.endswith('>>> Cart().total([1, 2])\n        3\n        """\n       ')
    assert "prices[1:]" not in opening + "".join(told.given)
    assert "assert 2 == 3" in told.given[-1]
    assert "\n    def " in alone.stops(BLANKS)


def test_without_samples_there_is_one_greedy_answer_for_each_suspect_and_a_free_one() -> None:
    assert [turn.greedy for turn in TASK.turns(BLANKS, 2000, samples=0)] == [True, True, True]


def test_a_model_that_repairs_sees_the_code_and_the_likeliest_way_has_every_other_turn() -> None:
    likeliest, free, second, *_ = TASK.asks(2000)
    turns = TASK.turns(COMPLETES, 2000, samples=3)
    assert [turn.ask for turn in turns] == [likeliest, free, likeliest, second]
    assert [turn.greedy for turn in turns] == [True, False, False, False]


def test_the_body_a_model_writes_goes_into_its_place() -> None:
    wrong = "        # all of them\n        return sum(prices[1:])"
    right = ROOM.files["shop/cart.py"].replace(wrong, "        return sum(prices)")
    for ask, ways in ((TASK.asks(2000)[0], COMPLETES), (TASK.turns(BLANKS, 2000, samples=0)[0].ask, BLANKS)):
        assert ask.read(" return sum(prices)\n", ask.opening(ways)).files == {"shop/cart.py": right}


@pytest.mark.parametrize("body", [" return sum(prices[1:])\n", " return sum( prices[1:] ) # better\n"])
def test_a_function_that_does_what_it_did_is_no_change(body: str) -> None:
    for ask, ways in ((TASK.asks(2000)[0], COMPLETES), (TASK.turns(BLANKS, 2000, samples=0)[0].ask, BLANKS)):
        assert "as it was" in ask.read(body, ask.opening(ways)).faults[0]


def test_a_whole_answer_with_words_around_it_is_read_too() -> None:
    first, free, *_ = TASK.asks(2000)
    blank = TASK.turns(BLANKS, 2000, samples=0)[0].ask
    answer = "Sure:\n```python\ndef total(self, prices):\n    return sum(prices)\n```\nDone."
    for ask in (first, blank):
        assert "return sum(prices)" in ask.read(answer, ask.opening(BLANKS)).files["shop/cart.py"]
    assert (free.opening(COMPLETES), free.stops(COMPLETES)) == ("", ())
    assert "sum(prices)" in free.read(answer, "").files["shop/cart.py"]


def test_a_function_that_is_not_there_is_the_only_suspect_and_comes_with_what_the_task_says_of_it() -> None:
    missing = Suspect("shop/cart.py", "Cart.last", 32, "def last(self, prices):")
    task = replace(TASK, task="Write `last(prices)` for carts: the last price.", suspects=(missing, *TASK.suspects))
    turn, *_, free = task.turns(BLANKS, 2000, samples=0)
    assert free.ask.path is None
    new = turn.ask.read(" return prices[-1]\n", turn.ask.opening(BLANKS)).files["shop/cart.py"]
    assert '    def last(self, prices):\n        """The last price."""\n        return prices[-1]\n' in new
    assert "return sum(prices[1:])" in new


def test_a_repair_asks_for_what_fails_now_in_the_code_there_is_now() -> None:
    now = {"shop/cart.py": ROOM.files["shop/cart.py"].replace("[1:]", "[2:]")}
    failure = Failure(
        "tests/test_cart.py::test_total", "AssertionError", "shop/cart.py:7: in total\nE   assert 0 == 3\n"
    )
    first = TASK.asks(2000, now=now, failure=failure)[0]
    assert "prices[2:]" in first.given[0]
    assert "assert 0 == 3" in first.given[-1]
    assert first.within == "Cart"


def test_new_files_are_asked_for_one_by_one_with_those_there_are() -> None:
    task = FolderTask("Write `store.py` and `cli.py`.", Workspace(), Baseline(), files=("store.py", "cli.py"))
    first = task.ask_for("store.py", 2000, now={})
    assert first.given == (task.task,)
    assert "`cli.py` will be written after it" in first.prompt
    second = task.ask_for("cli.py", 2000, now={"store.py": "X = 1\n"})
    assert "X = 1" in second.given[1]
    assert second.given[0] == first.given[0]
    assert second.read("import store\n", "```python\n").files == {"cli.py": "import store\n"}


def test_new_tests_get_a_name_that_is_free_and_import_what_they_are_about() -> None:
    assert (TASK.module, TASK.test_file()) == ("shop.cart", "tests/test_cart_new.py")
    assert TASK.imports(["free", "unknown"]) == ("from shop.cart import free",)
    both = FolderTask("", Workspace(), Baseline(), files=("store.py", "app/cli.py"))
    assert (both.test_file(), both.imports([])) == ("test_store.py", ("from app.cli import *",))


async def test_a_folder_with_nothing_to_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test(): pass\n")
    with pytest.raises(UsageError, match="no Python file that may be changed"):
        await FolderTask.open("Make it better", None, str(tmp_path))  # type: ignore[arg-type]
