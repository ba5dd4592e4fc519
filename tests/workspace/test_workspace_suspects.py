"""Who is suspected: what the task and the failing tests name, what that calls, and first of all what is not there yet."""

from __future__ import annotations

import pytest

from vwt_agents.workspace import Workspace, suspects

SHOP = Workspace(
    {
        "shop/__init__.py": "",
        "shop/cart.py": "from shop.money import off\n\n\nclass Cart:\n    def __init__(self):\n        self.all = []\n\n"
        "    def add(self, x):\n        self.all.append(x)\n\n    def total(self):\n        return off(sum(self.all), 1)\n",
        "shop/money.py": "def off(x, y):\n    return x - y\n\n\ndef text(x):\n    return str(x)\n",
        "test_cart.py": "",
    }
)


def named(task: str, failures: str = "", tests: str = "") -> list[tuple[str, str, str]]:
    return [(one.path, one.name, one.head) for one in suspects(SHOP, task, failures, tests)]


def test_what_a_suspect_calls_comes_before_the_other_methods_of_its_class() -> None:
    found = suspects(SHOP, "`Cart.total` is wrong")
    assert [one.name for one in found] == ["Cart.total", "off", "Cart.__init__", "Cart.add"]
    assert [one.is_likely for one in found] == [True, True, False, False]


@pytest.mark.parametrize(
    ("task", "failures", "tests", "first"),
    [
        ("Add `net(x: int) -> int`.", "", "", ("shop/cart.py", "net", "def net(x: int) -> int:")),
        ("In shop/money.py, add `net(x)`: less.", "", "", ("shop/money.py", "net", "def net(x):")),
        ("Write the method `count()` of `Cart`.", "", "", ("shop/cart.py", "Cart.count", "def count(self):")),
        (
            "Make the tests pass.",
            "E   ImportError: cannot import name 'net' from 'shop.money' (x)",
            "def test():\n    assert net(amount, tax=2) == 3\n",
            ("shop/money.py", "net", "def net(amount, tax):"),
        ),
        (
            "Make the tests pass.",
            "E   AttributeError: 'Cart' object has no attribute 'drop'",
            "def test():\n    Cart().drop(1, 2)\n",
            ("shop/cart.py", "Cart.drop", "def drop(self, value, value1):"),
        ),
        (
            "Write `rest(x)`.",
            "E   AttributeError: module 'shop.money' has no attribute 'rest'",
            "",
            ("shop/money.py", "rest", "def rest(x):"),
        ),
    ],
)
def test_what_is_asked_for_and_not_there_comes_first_with_the_line_it_begins_with(
    task: str, failures: str, tests: str, first: tuple[str, str, str]
) -> None:
    assert named(task, failures, tests)[0] == first


def test_what_belongs_into_a_file_that_is_not_there_or_cannot_be_begun_is_no_suspect() -> None:
    assert not any(head for *_, head in named("Write shop/tax.py with `net(x: int) -> int`."))
    assert not any(head for *_, head in named("x", "cannot import name 'Basket' from 'shop.cart'"))
    assert not any(head for *_, head in named("x", "cannot import name 'net' from 'elsewhere'", "net(1)"))
