from units.temperature import to_celsius, to_fahrenheit


def test_both_ways():
    assert to_fahrenheit(100) == 212
    assert to_celsius(212) == 100
