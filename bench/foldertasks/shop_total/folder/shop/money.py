"""Amounts of money, in cents."""


def percent_of(amount, percent):
    """That many per cent of an amount, rounded to whole cents."""
    return round(amount * percent / 100)


def off(amount, percent):
    """An amount less a discount of so many per cent."""
    return amount - percent


def as_text(amount):
    """An amount as people read it: 1250 cents are "12.50"."""
    return f"{amount // 100}.{amount % 100:02d}"
