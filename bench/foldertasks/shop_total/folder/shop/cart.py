"""A cart of things to buy."""

from shop.money import as_text, off


class Cart:
    """Things with prices in cents, and a discount on all of them."""

    def __init__(self, discount=0):
        self.discount = discount
        self.prices = []

    def add(self, price, count=1):
        """Put `count` things of one price into the cart."""
        self.prices += [price] * count

    def total(self):
        """What all things cost, less the discount."""
        return off(sum(self.prices), self.discount)

    def label(self):
        """The total as people read it."""
        return as_text(self.total())
