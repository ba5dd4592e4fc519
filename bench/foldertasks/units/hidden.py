import pytest

from units.length import to_cm, to_inches
from units.temperature import to_celsius


def test_length():
    assert to_cm(1) == pytest.approx(2.54)
    assert to_inches(2.54) == pytest.approx(1)
    assert to_inches(to_cm(12)) == pytest.approx(12)
    assert to_celsius(32) == 0
