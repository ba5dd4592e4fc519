import pytest
from text_table import format_table, widths


def test_the_longest_text_counts():
    assert widths([["a", 1000], [True, 2], ["bb", None]]) == [4, 4]
    assert widths([[]]) == []


def test_columns_are_aligned():
    rows = [["name", "size", "x"], ["a", 10, 1], ["longer", 2, 3]]
    assert format_table(rows) == "name    size  x\na       10    1\nlonger  2     3"


def test_no_line_ends_in_white_space():
    assert format_table([["abc", "x"], ["a", ""], ["", ""]]) == "abc  x\na\n"


def test_small_tables():
    assert format_table([]) == ""
    assert format_table([[1]]) == "1"


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[1], []]])
def test_rows_have_the_same_length(rows):
    with pytest.raises(ValueError):
        widths(rows)
    with pytest.raises(ValueError):
        format_table(rows)
