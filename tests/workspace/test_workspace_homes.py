"""A function goes into the file the task names before it, and into no other."""

from __future__ import annotations

from vwt_agents.workspace import Workspace, absent, at_home, homes

TASK = (
    "Write `store.py` with a class Store, and `cli.py` with `count(n: int) -> int` and `show(n: int) -> str`.\n\n"
    "count(1) => 1\n"
)
HOMES = {"Store": "store.py", "count": "cli.py", "show": "cli.py"}


def test_what_a_task_asks_for_is_at_home_in_the_file_named_last_before_it() -> None:
    assert homes(TASK, ["store.py", "cli.py"]) == HOMES
    assert homes("`count(n: int)` in cli.py", ["cli.py"]) == {}


def test_what_another_file_has_is_imported_from_there_and_not_written_twice() -> None:
    text = "import os\n\n\nclass Store:\n    pass\n\n\ndef count(n: int) -> int:\n    return len(Store().all) + n\n"
    assert at_home(text, "cli.py", HOMES, Workspace({"store.py": "class Store:\n    all = ()\n"})) == (
        "from store import Store\n\nimport os\n\n\ndef count(n: int) -> int:\n    return len(Store().all) + n\n"
    )


def test_what_is_to_come_in_a_later_file_is_left_out() -> None:
    text = "class Store:\n    pass\n\n\n@cached\ndef count(n):\n    return n\n"
    assert at_home(text, "store.py", HOMES, Workspace()) == "class Store:\n    pass\n"


def test_a_file_of_its_own_and_one_that_would_be_empty_stay_as_they_are() -> None:
    for text in ("def show(n):\n    return n\n", "def helper():\n    return 1\n", "not python (\n"):
        assert at_home(text, "cli.py", HOMES, Workspace()) == text
    assert at_home("class Store:\n    pass\n", "cli.py", HOMES, Workspace()) == "class Store:\n    pass\n"


def test_what_is_asked_for_and_not_in_its_file_is_absent_whatever_stands_in_others() -> None:
    files = {"store.py": "class Store:\n    def count(self): ...\n\n\ndef show(n): ...\n", "cli.py": "count = len\n"}
    assert absent(files, HOMES) == {"show": "cli.py"}
    assert absent({"cli.py": "from store import show\n"}, HOMES) == {"Store": "store.py", "count": "cli.py"}
    assert absent({"store.py": "class Store: pass\nclass"}, {"Store": "store.py"}) == {"Store": "store.py"}
    assert absent({"store.py": "class Store:\n    def add(self): ...\n"}, {"add": "store.py"}) == {}
