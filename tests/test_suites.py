"""A suite keeps what the task gives, takes whole tests from an agent, and renders to a file pytest can read."""

from __future__ import annotations

import ast

from vwt_agents.examples import Example
from vwt_agents.suites import TestSuite

WRITTEN = """\
import math
import requests
import pytest
from mod import f


def test_one():
    assert f(1) == 1


def test_same_body():
    assert f(1) == 1


def test_one():
    assert f(2) == 2


def test_needs(fixture):
    assert fixture


def test_nothing():
    f(3)


def helper():
    assert True


class TestThing:
    def test_inside(self):
        assert True


test_one()
def test_cut(
"""


def suite() -> TestSuite:
    return TestSuite("mod").with_examples([Example("f(0)", "0")]).with_written(WRITTEN)


def test_whole_tests_are_taken_and_the_rest_is_left() -> None:
    assert [case.name for case in suite().cases] == ["test_example_1", "test_one", "test_one_2"]


def test_only_the_standard_library_is_imported() -> None:
    assert suite().preamble == ("import math",)


def test_given_tests_cannot_be_dropped() -> None:
    smaller = suite().without({"test_example_1", "test_one"})
    assert [case.name for case in smaller.cases] == ["test_example_1", "test_one_2"]
    assert [case.name for case in smaller.given] == ["test_example_1"]
    assert [case.name for case in smaller.written] == ["test_one_2"]


def test_only_keeps_the_named() -> None:
    assert [case.name for case in suite().only({"test_one"}).cases] == ["test_one"]
    assert len(suite()) == 3


def test_the_rendered_file_parses_and_names_the_module() -> None:
    rendered = suite().render()
    ast.parse(rendered)
    assert "from mod import *" in rendered
    assert suite().file_name == "test_mod.py"


def test_text_that_is_no_python_adds_nothing() -> None:
    assert len(TestSuite("mod").with_written("this is prose, not code (")) == 0


def test_a_test_of_several_asserts_becomes_one_test_each_so_that_a_wrong_one_costs_only_itself() -> None:
    written = """
def test_many():
    assert f(1) == 1, "one"
    assert f(2) == 3
    assert f(3) == ValueError


def test_with_set_up():
    value = f(4)
    assert value == 4
    assert value != 5
"""
    taken = TestSuite("mod").with_examples([Example("f(1)", "1")]).with_written(written)
    assert [case.name for case in taken.cases] == ["test_example_1", "test_many", "test_with_set_up"]
    assert "f(2) == 3" in taken.cases[1].source


def test_the_first_written_are_kept_beside_all_given() -> None:
    assert [case.name for case in suite().first(1).cases] == ["test_example_1", "test_one"]
