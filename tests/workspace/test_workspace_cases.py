"""What tests show of a function becomes the examples of a docstring; what cannot be shown there is left out."""

from __future__ import annotations

import pytest

from vwt_agents.workspace import cases_of, shown_cases


def test_statements_and_what_they_give_become_a_doctest() -> None:
    test = (
        "def test_queue():\n    queue = Queue()\n    for n in (1, 2):\n        queue.add(n)\n    assert queue.take() == 2\n"
        "    assert queue.last() is None\n    assert not queue.empty\n    assert 1 in queue\n"
        "    with pytest.raises(KeyError):\n        queue.drop(9)\n"
    )
    assert cases_of(test) == (
        ">>> queue = Queue()",
        ">>> for n in (1, 2):",
        "...     queue.add(n)",
        ">>> queue.take()",
        "2",
        ">>> queue.last()",
        ">>> bool(queue.empty)",
        "False",
        ">>> bool(1 in queue)",
        "True",
        ">>> queue.drop(9)",
        "Traceback (most recent call last):",
        "    ...",
        "KeyError",
    )


@pytest.mark.parametrize(
    "test", ["def test(tmp_path):\n    assert f(tmp_path) == 1\n", "x = 1\ndef test(): pass\n", "def ("]
)
def test_what_needs_fixtures_or_is_no_single_test_shows_nothing(test: str) -> None:
    assert cases_of(test) == ()


def test_a_test_inside_a_class_shows_what_it_does() -> None:
    assert cases_of("    def test_it(self):\n        '''Words.'''\n        assert f(1) == 2\n") == (">>> f(1)", "2")


def test_whole_tests_are_shown_in_order_once_and_as_many_as_fit() -> None:
    first, second = "def test_a():\n    assert f(1) == 2\n", "def test_b():\n    assert f(10) == 20\n"
    assert shown_cases([first, first, second], most=100) == (">>> f(1)", "2", ">>> f(10)", "20")
    assert shown_cases([second, first], most=12) == (">>> f(1)", "2")
