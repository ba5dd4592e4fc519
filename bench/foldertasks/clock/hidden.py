from clock import minutes, text_of


def test_midnight_and_noon():
    assert minutes("12:00 am") == 0
    assert minutes("12:59 am") == 59
    assert minutes("12:59 pm") == 779
    assert minutes("11:59 pm") == 1439
    assert minutes("1:00 am") == 60


def test_text():
    assert text_of(minutes("12:07 am")) == "00:07"
