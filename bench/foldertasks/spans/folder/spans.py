"""Spans of numbers: pairs of a start and an end."""


def length(span):
    """How long a span is."""
    return span[1] - span[0]


def overlap(one, two):
    """Whether two spans have more than an end in common."""
    return one[0] < two[1] and two[0] < one[1]


def merge(spans):
    """The spans in order, those that overlap or touch joined into one."""
    merged = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def covered(spans):
    """How much all spans cover together."""
    return sum(length(span) for span in merge(spans))
