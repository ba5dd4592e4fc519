from shifts import hours, pay, week


def test_hours():
    assert hours(23, 1) == 2
    assert hours(0, 10) == 10
    assert hours(18, 0) == 6


def test_pay():
    assert pay(8, 20) == 160
    assert pay(9, 20) == 190
    assert pay(20, 10) == 260
    assert week([(20, 6), (9, 10)], 10) == 120
