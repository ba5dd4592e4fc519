"""Tables of cells."""

from report.cells import pad, text


def widths(rows):
    """The width of each column: that of its longest cell."""
    return [max(len(text(cell)) for cell in column) for column in zip(*rows)]


def render(rows):
    """The rows as lines, columns two blanks apart, no blanks at the ends of lines."""
    sizes = widths(rows)
    lines = ["  ".join(pad(text(cell), size) for cell, size in zip(row, sizes)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
