from report import render
from report.cells import text
from report.table import widths


def test_text():
    assert [text(one) for one in ("a", 2, 2.5, None)] == ["a", "2", "2.50", "-"]


def test_widths():
    assert widths([["a", "bcd"], ["ef", 1]]) == [2, 3]


def test_render():
    assert render([["nut", 1], ["axle", None]]) == "nut   1\naxle  -"
