def transpose(m):
    return [list(column) for column in zip(*m)]


def scale(m, factor):
    return [[factor * x for x in row] for row in m]


def add(a, b):
    if len(a) != len(b) or any(len(x) != len(y) for x, y in zip(a, b)):
        raise ValueError("the shapes differ")
    return [[x + y for x, y in zip(row, other)] for row, other in zip(a, b)]
