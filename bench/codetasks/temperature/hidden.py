import pytest
from temperature import c_to_f, describe, f_to_c


def test_celsius_and_fahrenheit():
    assert c_to_f(37) == pytest.approx(98.6)
    assert f_to_c(-40) == pytest.approx(-40)
    assert f_to_c(c_to_f(12.3)) == pytest.approx(12.3)


@pytest.mark.parametrize(
    ("c", "word"),
    [(-0.1, "freezing"), (0, "cold"), (14.9, "cold"), (15, "mild"), (24.9, "mild"), (25, "hot"), (40, "hot")],
)
def test_temperatures_have_words(c, word):
    assert describe(c) == word
