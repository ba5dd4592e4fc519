"""Simple statistics of lists of numbers."""


def mean(values):
    """The sum of the values divided by how many there are."""
    return sum(values) / len(values)


def spread(values):
    """The difference of the largest and the smallest value."""
    return max(values) - min(values)
