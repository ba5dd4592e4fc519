from shifts import hours, pay, week


def test_a_short_day():
    assert hours(9, 17) == 8
    assert pay(4, 10) == 40


def test_a_week():
    assert week([(9, 17), (8, 12)], 10) == 120


def test_over_midnight():
    assert hours(22, 6) == 8


def test_long_hours():
    assert pay(10, 10) == 110
    assert pay(12, 10) == 140
