"""Shifts of work: from an hour to an hour, 0 to 23."""


def hours(start, end):
    """How many hours a shift has; one that ends before it starts goes over midnight."""
    return end - start


def pay(worked, rate):
    """What so many hours are paid; each hour after the eighth counts one and a half times."""
    return worked * rate


def week(shifts, rate):
    """The pay of a list of shifts, each a pair of start and end."""
    return sum(pay(hours(start, end), rate) for start, end in shifts)
