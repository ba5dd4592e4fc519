"""A function is shown up to its body, with what it needs above it, and only the body that was written goes into the file."""

from __future__ import annotations

import ast

import pytest

from vwt_agents.workspace import SpliceError, Suspect, Workspace, blank_of

TEXT = '''"""Things."""

import math


class Box:
    """A box."""

    def __init__(self):
        self.things = []

    @property
    def size(self):
        """How many."""
        return len(self.things) + 1

    def clear(self):
        self.things = []


def area(a, b):
    return twice(a) + b  # wrong


def twice(x):
    return 2 * x


def unrelated(x):
    return x


if __name__ == "__main__":
    print(area(1, 2))
'''
ROOM = Workspace({"box.py": TEXT})


def test_a_function_has_above_it_what_stands_there_and_the_helpers_it_had_from_below() -> None:
    blank = blank_of(ROOM, Suspect("box.py", "area", 8), cases=(">>> area(1, 2)", "2"), budget=1000)
    assert blank.code.startswith('"""Things."""')
    assert "def twice(x):" in blank.code
    assert "unrelated" not in blank.code
    assert "wrong" not in blank.code
    assert blank.code.endswith('\n\n\ndef area(a, b):\n    """\n    >>> area(1, 2)\n    2\n    """')
    ast.parse(blank.code)


def test_the_body_alone_changes_and_the_cases_stay_out() -> None:
    blank = blank_of(ROOM, Suspect("box.py", "area", 8), cases=(">>> area(1, 2)", "2"), budget=1000)
    new = TEXT.replace("    return twice(a) + b  # wrong\n", "    c = a * b\n    return c\n")
    assert blank.filled(" c = a * b\n    return c\n\narea(1, 2)\n") == new
    assert blank.filled(" c = a * b\n    return c\n```\nSo it is.") == new


def test_a_method_keeps_its_class_its_decorators_and_its_docstring() -> None:
    blank = blank_of(ROOM, Suspect("box.py", "Box.size", 8), cases=(">>> Box().size", "0"), budget=1000)
    assert (blank.margin, blank.owner) == ("    ", "Box")
    assert '    def size(self):\n        """How many.\n\n        >>> Box().size\n        0\n        """' in blank.code
    assert "clear" not in blank.code
    assert blank.filled(" return len(self.things)") == TEXT.replace("len(self.things) + 1", "len(self.things)")
    assert blank.alone().code == 'def size(self):\n    """How many."""'
    assert blank.alone().filled(" return len(self.things)") == blank.filled(" return len(self.things)")


def test_a_new_method_goes_into_its_class_and_a_new_function_before_what_runs_the_module() -> None:
    method = blank_of(ROOM, Suspect("box.py", "Box.add", 9, "def add(self, x):"), doc="Put it in.", budget=1000)
    assert method.code.endswith(
        '    def clear(self):\n        self.things = []\n\n    def add(self, x):\n        """Put it in."""'
    )
    new = method.filled(" self.things.append(x)\n")
    assert '    def add(self, x):\n        """Put it in."""\n        self.things.append(x)\n\n\ndef area' in new
    function = blank_of(ROOM, Suspect("box.py", "half", 9, "def half(x):"), doc="Half of it.", budget=1000)
    assert "__main__" not in function.code
    assert '"""Half of it."""\n    return x / 2\n\n\nif __name__' in function.filled(" return x / 2")


@pytest.mark.parametrize("body", ["", " # nothing", " '''words'''", "else:"])
def test_what_is_no_body_is_refused(body: str) -> None:
    with pytest.raises(SpliceError, match="no body"):
        blank_of(ROOM, Suspect("box.py", "area", 8), budget=1000).filled(body)


def test_what_was_there_before_is_no_change() -> None:
    with pytest.raises(SpliceError, match="as it was"):
        blank_of(ROOM, Suspect("box.py", "area", 8), budget=1000).filled(" return twice(a)+b")


def test_where_little_fits_an_outline_or_the_imports_stand_above() -> None:
    long = "import math\n\n\ndef long(x):\n" + "    x += 1\n" * 40 + "    return x\n\n\ndef short(x):\n    return x\n"
    code = {
        budget: blank_of(Workspace({"m.py": long}), Suspect("m.py", "short", 8), budget=budget).code
        for budget in (1000, 60, 1)
    }
    assert code[1000].count("x += 1") == 40
    assert code[60] == "import math\ndef long(x):\n    ...\n\n\ndef short(x):"
    assert code[1] == "import math\n\n\ndef short(x):"
