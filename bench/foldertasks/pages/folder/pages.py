"""Splits lists into numbered pages."""

import math


def count_pages(values, size):
    """How many pages of `size` values there are; the last one may be shorter."""
    return math.ceil(len(values) / size)


def page(values, number, size):
    """The values on page `number`; the first page has the number 1."""
    start = number * size
    return values[start : start + size]


def page_of(values, value, size):
    """The number of the page that a value is on."""
    return values.index(value) // size + 1
