from clock import minutes, text_of


def test_minutes():
    assert minutes("1:05 pm") == 785
    assert minutes("9:00 am") == 540


def test_text():
    assert text_of(785) == "13:05"
