import pytest
from roman_both_ways import from_roman, to_roman


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "I"), (9, "IX"), (40, "XL"), (49, "XLIX"), (90, "XC"), (444, "CDXLIV"), (3999, "MMMCMXCIX")],
)
def test_known_numbers(number, text):
    assert to_roman(number) == text
    assert from_roman(text) == number
    assert from_roman(text.lower()) == number


def test_every_number_comes_back():
    assert [from_roman(to_roman(number)) for number in range(1, 4000)] == list(range(1, 4000))


@pytest.mark.parametrize("number", [0, -1, 4000])
def test_numbers_without_a_numeral(number):
    with pytest.raises(ValueError):
        to_roman(number)


@pytest.mark.parametrize("text", ["", "Q", "XIZ"])
def test_texts_that_are_no_numeral(text):
    with pytest.raises(ValueError):
        from_roman(text)
