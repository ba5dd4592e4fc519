import pytest
from durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("1d2h3m4s", 93784), (" 1h  2s ", 3602), ("0s", 0), ("100h", 360000)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "5", "1x", "1m1h", "1h1h", "-1s", "1.5h", "h", "1 h 2"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "59s"), (60, "1m"), (3600, "1h"), (86400, "1d"), (93784, "1d2h3m4s"), (86401, "1d1s")]
)
def test_durations_are_written(seconds, text):
    assert format_duration(seconds) == text


def test_there_is_no_negative_duration():
    with pytest.raises(ValueError):
        format_duration(-1)


def test_what_is_written_can_be_read():
    assert all(parse_duration(format_duration(seconds)) == seconds for seconds in range(0, 200000, 977))
