"""What a model wrote takes the place of what has its name, and not one other byte of the file changes."""

from __future__ import annotations

import ast

import pytest

from vwt_agents.workspace.splice import SpliceError, splice, splice_anew

OLD = '''#!/usr/bin/env python
"""A shop."""

import os  # kept

LIMIT = 3


# how much
@cached
def total(prices):
    return sum(prices[1:])  # wrong


class Cart:
    """Holds things."""

    size: int = 0

    @property
    def empty(self):
        return not self.size

    # adds
    def add(self, thing):
        self.size += 2


if __name__ == "__main__":
    print(total([1]))
'''


def test_a_function_is_replaced_and_comments_and_decorators_stay() -> None:
    new = "def total(prices):\n    return sum(prices)\n"
    assert splice(OLD, new) == OLD.replace("    return sum(prices[1:])  # wrong\n", "    return sum(prices)\n")


def test_decorators_the_answer_writes_take_the_place_of_the_old_ones() -> None:
    assert splice(OLD, "@lru\ndef total(p):\n    return 1\n").count("@cached") == 0


@pytest.mark.parametrize(
    "answer",
    [
        "def add(self, thing):\n    self.size += 1\n",
        "class Cart:\n    def add(self, thing):\n        self.size += 1\n",
        "class Cart:\n  def add(self, thing):\n    self.size += 1\n".replace("    ", "      "),
    ],
)
def test_a_method_is_replaced_inside_its_class_or_alone(answer: str) -> None:
    found = splice(OLD, answer)
    assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(OLD.replace("+= 2", "+= 1")))
    assert found.replace("+= 1", "+= 2").replace("          self", "        self") == OLD


def test_a_decorated_method_keeps_its_decorator() -> None:
    found = splice(OLD, "class Cart:\n    def empty(self):\n        return self.size == 0\n")
    assert "    @property\n    def empty(self):\n        return self.size == 0\n" in found


def test_what_is_new_goes_to_the_end_of_its_body_and_before_the_main_block() -> None:
    found = splice(OLD, "class Cart:\n    def clear(self):\n        self.size = 0\n\n\ndef tax(x):\n    return x\n")
    assert "        self.size += 2\n\n    def clear(self):\n        self.size = 0\n" in found
    assert "\n\ndef tax(x):\n    return x\n\n\nif __name__" in found
    assert [one for one in OLD.splitlines() if one not in found.splitlines()] == []


def test_imports_and_constants_that_are_missing_come_in_and_changed_ones_change() -> None:
    found = splice(OLD, "import os\nimport re\nfrom shop import Cart\nLIMIT = 4\nMOST = 9\n", module="shop")
    assert "import os  # kept\nimport re\n" in found
    assert "LIMIT = 4\nMOST = 9\n" in found
    assert "from shop" not in found


def test_a_missing_import_goes_behind_the_docstring_where_there_are_no_imports() -> None:
    assert splice('"""Doc."""\n\nx = 1\n', "import re\n") == '"""Doc."""\nimport re\n\nx = 1\n'


def test_a_moved_method_keeps_the_text_of_its_strings() -> None:
    new = 'def add(self, thing):\n    """Add.\n\n    More.\n    """\n'
    new += '    self.text = """\n  raw\n"""\n    self.x = f"""\n{thing}\n"""\n'
    added = splice(OLD, new)
    namespace: dict[str, object] = {"cached": lambda f: f, "__name__": "x"}
    exec(added, namespace)
    cart = namespace["Cart"]()  # type: ignore[operator]
    cart.add(1)
    assert (cart.text, cart.x) == ("\n  raw\n", "\n1\n")
    assert '        """Add.\n\n        More.\n        """\n' in added


def test_lambdas_and_conditions_are_no_bodies() -> None:
    new = "def total(prices, key=lambda x: x[0]):\n    return prices[1] if prices else 0\n"
    assert new in splice(OLD, new)


def test_line_ends_and_a_missing_last_newline_are_kept() -> None:
    assert (
        splice("x = 1\r\ndef f():\r\n    return 1", "def f():\n    return 2\n") == "x = 1\r\ndef f():\r\n    return 2"
    )
    assert (
        splice("\tx = 1\n".lstrip() + "def f():\n\treturn '\x0c'\n", "def f():\n\treturn 2")
        == "x = 1\ndef f():\n\treturn 2\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (OLD, "def total(:\n", "it does not parse: .*line 1"),
        (OLD, "print(1)\n", "defines nothing"),
        ("def broken(:\n", "def f(): pass\n", "the file does not parse"),
        ("if x:\n    def f(): pass\n", "def f(): pass\n", "inside another statement"),
        (
            "class A:\n    def f(self): pass\nclass B:\n    def f(self): pass\n",
            "def f(self): pass\n",
            "method of A and B",
        ),
        ("@overload\ndef f(): pass\n@overload\ndef f(): pass\n", "def f(): pass\n", "defined 2 times"),
    ],
)
def test_what_does_not_fit_is_told(old: str, new: str, reason: str) -> None:
    with pytest.raises(SpliceError, match=reason):
        splice(old, new)


def test_of_a_property_and_its_setter_the_one_meant_is_replaced() -> None:
    old = "class A:\n    @property\n    def x(self):\n        return 1\n\n"
    old += "    @x.setter\n    def x(self, v):\n        self._x = v\n"
    found = splice(old, "class A:\n    @x.setter\n    def x(self, v):\n        self._x = -v\n")
    assert found == old.replace("= v", "= -v")


def test_a_whole_class_is_replaced_when_the_answer_has_all_of_it() -> None:
    new = "class Cart:\n    size = 1\n    def empty(self): ...\n    def add(self, thing): ...\n"
    assert new in splice(OLD, new)


def test_code_that_is_as_it_was_but_for_its_layout_is_no_change() -> None:
    with pytest.raises(SpliceError, match="as it was"):
        splice_anew(OLD, "def total(prices):\n\n    return sum( prices[1:] )\n")
    assert "return sum(prices)\n" in splice_anew(OLD, "def total(prices):\n    return sum(prices)\n")
