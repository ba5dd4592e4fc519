"""What matters for a task comes first and whole, all of it within the budget, and always in the same bytes."""

from __future__ import annotations

from vwt_agents.workspace import Workspace, named_files, ranked, shown, suspects
from vwt_agents.workspace.shown import outline, tokens_of

LONG = "".join(f"    x{n} = {n}\n" for n in range(200))
SHOP = Workspace(
    {
        "shop/__init__.py": "",
        "shop/cart.py": "from shop.money import round_up\n\n\nclass Cart:\n"
        '    """Things."""\n\n    def total(self):\n        return round_up(self.sum())\n\n'
        '    def sum(self):\n        """Adds.\n\n        All."""\n'
        + LONG.replace("    ", "        ")
        + "        return 1\n",
        "shop/money.py": "RATE = 2\n\n\ndef round_up(x):\n    return x\n",
        "shop/other.py": f'def unrelated(a, *, b=1):\n    """Nothing."""\n{LONG}',
        "tests/test_cart.py": "from shop.cart import Cart\n",
    }
)


def test_files_are_ranked_by_what_the_task_names_then_by_imports() -> None:
    assert ranked(SHOP, "`total` of the cart is too small") == (
        "shop/cart.py",
        "shop/money.py",
        "shop/__init__.py",
        "shop/other.py",
    )
    assert ranked(SHOP, "change shop/other.py")[0] == "shop/other.py"
    assert ranked(SHOP, "make the tests pass", "shop/money.py:5: in round_up")[0] == "shop/money.py"


def test_all_is_shown_where_it_fits_in_the_order_of_paths() -> None:
    order = ranked(SHOP, "other.py")
    text = shown(SHOP, order, budget=100_000)
    assert text.index("`shop/cart.py`") < text.index("`shop/money.py`") < text.index("`shop/other.py`")
    assert text == shown(SHOP, tuple(order), budget=100_000)
    assert SHOP.files["shop/money.py"].strip() in text


def test_what_does_not_fit_is_an_outline_then_a_name_and_the_budget_holds() -> None:
    order = ranked(SHOP, "`total` of the cart")
    for budget in (40, 120, 200, 400, 3000):
        assert tokens_of(shown(SHOP, order, budget=budget)) <= budget + 8
    text = shown(SHOP, order, budget=260, keep={"total"})
    assert "return round_up(self.sum())" in text
    assert 'def sum(self):\n        """Adds."""\n        ...' in text
    assert "x199" not in text
    assert "def unrelated(a, *, b=1):" in text
    assert "Other files: `shop/money.py`" in shown(SHOP, ["shop/other.py", "shop/money.py"], budget=60)


def test_an_outline_parses_as_little_as_it_says() -> None:
    compile(outline(SHOP.files["shop/cart.py"]), "x", "exec")
    assert outline("def broken(:\n") == "def broken(:\n"


def test_the_function_the_task_names_is_the_first_suspect_then_what_failures_and_tests_name() -> None:
    named = suspects(SHOP, "`total` is wrong")
    assert (named[0].path, named[0].name) == ("shop/cart.py", "Cart.total")
    assert ("shop/money.py", "round_up") in [(one.path, one.name) for one in named]
    frames = suspects(SHOP, "make the tests pass", "test_cart.py:3: in test\nshop/money.py:5: in round_up\n")
    assert frames[0].name == "round_up"
    assert suspects(SHOP, "make the tests pass", "", "assert Cart().sum() == 2")[0].name == "Cart.sum"
    assert suspects(SHOP, "nothing of it") == ()


def test_the_files_a_task_asks_for_are_found() -> None:
    task = "Write `store.py` with a class Store, cli/main.py that uses it, and test_store.py. See store.py, v1.py3 and https://x.y/z.py?q"
    assert named_files(task)[:2] == ("store.py", "cli/main.py")
    assert "test_store.py" not in named_files(task)
