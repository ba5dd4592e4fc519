from report import render
from report.cells import pad


def test_pad():
    assert pad("ab", 4) == "ab  "
    assert pad("abc", 3) == "abc"
    assert pad("abcd", 2) == "abcd"


def test_render():
    assert render([["a", 1.5, "x"], ["bc", 10.25, "y"]]) == "a   1.50   x\nbc  10.25  y"
