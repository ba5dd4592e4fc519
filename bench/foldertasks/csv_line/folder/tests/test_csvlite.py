from csvlite import column, read
from csvlite.split import split_line


def test_read():
    assert read("a, b\n1, 2\n\n3,4") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert read("") == []


def test_column():
    assert column([{"a": "1"}, {"a": "2"}], "a") == ["1", "2"]


def test_quoted_comma():
    assert split_line('1,"a,b",2') == ["1", "a,b", "2"]
