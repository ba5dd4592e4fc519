from csvlite import column, read
from csvlite.split import split_line


def test_quotes():
    assert split_line('"a,b,c"') == ["a,b,c"]
    assert split_line('x,"","y"') == ["x", "", "y"]
    assert split_line("x,,y,") == ["x", "", "y", ""]


def test_rows():
    rows = read('name,note\nann,"tall, old"\nbob,young')
    assert column(rows, "note") == ["tall, old", "young"]
