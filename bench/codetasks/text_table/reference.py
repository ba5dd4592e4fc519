def widths(rows):
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the rows differ in length")
    return [max(len(str(cell)) for cell in column) for column in zip(*rows)]


def format_table(rows):
    sizes = widths(rows)
    return "\n".join("  ".join(str(cell).ljust(size) for cell, size in zip(row, sizes)).rstrip() for row in rows)
