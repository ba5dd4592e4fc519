"""An answer becomes changes however a small model marks its blocks, and what is no use is told in a sentence for it."""

from __future__ import annotations

import pytest

from vwt_agents.workspace import Workspace, read_changes

ROOM = Workspace(
    {
        "calc.py": "def add(a, b):\n    return a - b\n\n\ndef sub(a, b):\n    return a - b\n",
        "pkg/core.py": "X = 1\n\n\ndef deep():\n    return X\n",
        "pkg/a/same.py": "def one():\n    pass\n",
        "pkg/b/same.py": "def two():\n    pass\n",
        "tests/test_calc.py": "def test(): pass\n",
        "notes.txt": "hello\n",
    },
    name="repo",
)
ADD = "def add(a, b):\n    return a + b\n"
FIXED = ROOM.files["calc.py"].replace("a - b", "a + b", 1)


@pytest.mark.parametrize(
    "answer",
    [
        f"```python calc.py\n{ADD}```",
        f"```python:calc.py\n{ADD}```",
        f'```python title="calc.py"\n{ADD}```',
        f"```calc.py\n{ADD}```",
        f"```python\n# calc.py\n{ADD}```",
        f"```python\n# File: ./calc.py\n\n{ADD}```",
        f"**calc.py**\n```python\n{ADD}```",
        f"### `calc.py`\n\n```python\n{ADD}```",
        f"Here is the corrected `calc.py`:\n\n```python\n{ADD}```\nIt adds now.",
        f"File: repo/calc.py\n~~~python\n{ADD}~~~",
        f"The name says it all.\n```python\n{ADD}```",
        f"calc.py reads `notes.txt`:\n```python\n{ADD}```\n```bash\npython calc.py\n```",
        f"```python\n{ADD}",
    ],
)
def test_every_usual_way_to_say_the_path_is_understood(answer: str) -> None:
    found = read_changes(answer, ROOM)
    assert (found.files, found.faults) == ({"calc.py": FIXED}, ())


def test_several_files_new_and_old_come_from_one_answer() -> None:
    answer = "### new/part.py\n```python\nY = 1\n```\n### core.py\n```py\ndef deep():\n    return 2\n```\n"
    answer += f"```python calc.py\n{ADD}```"
    found = read_changes(answer, ROOM)
    assert list(found.files) == ["new/part.py", "pkg/core.py", "calc.py"]
    assert found.files["pkg/core.py"] == "X = 1\n\n\ndef deep():\n    return 2\n"


def test_a_whole_file_takes_the_place_of_the_old_one_and_one_that_lost_something_does_not() -> None:
    whole = '"""Sums."""\n\n' + FIXED
    assert read_changes(f"```python calc.py\n{whole}```", ROOM).files == {"calc.py": whole}
    kept = read_changes("```python pkg/core.py\ndef deep():\n    return 5\n```", ROOM).files["pkg/core.py"]
    assert kept.startswith("X = 1\n")


def test_a_block_without_a_path_is_for_the_file_that_was_asked_for() -> None:
    assert (
        read_changes("```python\nZ = 1\n```", ROOM, path="pkg/core.py")
        .files["pkg/core.py"]
        .startswith("X = 1\nZ = 1\n")
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I would change add.", "There is no fenced code block."),
        ("```python\nZ = 1\n```", "begins with `Z = 1` names no file"),
        ("```python tests/test_calc.py\ndef test(): assert 1\n```", "belongs to the tests"),
        ("```python conftest.py\nx = 1\n```", "belongs to the tests"),
        ("```python ../calc.py\nx = 1\n```", "outside the folder"),
        ("```python /etc/calc.py\nx = 1\n```", "outside the folder"),
        ("```python pkg/a/../../../x.py\nx = 1\n```", "outside the folder"),
        ("```python calc.py/x.py\nx = 1\n```", "`calc.py` is a file"),
        ("```python new.py\ndef f(:\n```", "`new.py` does not parse"),
        ("```python calc.py\ndef add(a b): pass\n```", "`calc.py`: it does not parse"),
        ("```python calc.py\ndef add(a, b):\n    return a + b\n# ... rest of the code\n```", "leaves code out"),
        (f"```python calc.py\n{ROOM.files['calc.py']}```", "changes nothing"),
        ("```python calc.py\ndef sub(a, b):\n    return a - b\n```", "changes nothing"),
    ],
)
def test_what_is_no_use_gets_a_reason(answer: str, reason: str) -> None:
    found = read_changes(answer, ROOM)
    assert not found
    assert reason in found.faults[0]


def test_a_good_block_counts_beside_a_bad_one() -> None:
    found = read_changes(f"```python calc.py\n{ADD}```\n```python tests/test_calc.py\npass\n```", ROOM)
    assert found.files == {"calc.py": FIXED}
    assert len(found.faults) == 1


def test_no_place_outside_the_folder_is_ever_written(tmp_path: object) -> None:
    for path in ("..\\x.py", "a/./../../x.py", "~/x.py", "//x.py", "./../x.py"):
        for name in read_changes(f"```python {path}\nx = 1\n```", ROOM).files:
            assert not name.startswith(("/", "~"))
            assert ".." not in name.split("/")
