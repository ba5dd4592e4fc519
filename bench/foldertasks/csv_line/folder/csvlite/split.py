"""Lines into values."""


def split_line(line):
    """The values of a line: what is between commas. A comma between double quotes is part of the value; the quotes are not."""
    values = []
    value = ""
    for character in line:
        if character == ",":
            values.append(value)
            value = ""
        elif character != '"':
            value += character
    values.append(value)
    return values


def strip_all(values):
    """The values without blanks around them."""
    return [value.strip() for value in values]
