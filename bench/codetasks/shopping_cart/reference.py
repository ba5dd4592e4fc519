class Cart:
    def __init__(self):
        self._prices = {}

    def add(self, name, price):
        if price < 0:
            raise ValueError("a price is at least 0")
        self._prices[name] = price

    def remove(self, name):
        del self._prices[name]

    def total(self):
        return sum(self._prices.values())

    def names(self):
        return list(self._prices)
