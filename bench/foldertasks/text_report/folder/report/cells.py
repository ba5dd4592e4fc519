"""Cells of a table as text."""


def text(value):
    """A value as text: numbers with two places, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)


def pad(word, width):
    """The word with blanks behind it up to the width."""
    return word + " " * width
