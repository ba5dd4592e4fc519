def c_to_f(c):
    return c * 9 / 5 + 32


def f_to_c(f):
    return (f - 32) * 5 / 9


def describe(c):
    for limit, word in ((0, "freezing"), (15, "cold"), (25, "mild")):
        if c < limit:
            return word
    return "hot"
