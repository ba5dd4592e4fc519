"""Text into rows."""

from csvlite.split import split_line, strip_all


def read(text):
    """The rows of a text, each a dict by the names in its first line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    names = strip_all(split_line(lines[0]))
    return [dict(zip(names, strip_all(split_line(line)))) for line in lines[1:]]


def column(rows, name):
    """The values of one column."""
    return [row[name] for row in rows]
