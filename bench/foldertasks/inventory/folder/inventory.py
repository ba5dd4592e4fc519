"""What is in store, and how many of it."""


class Inventory:
    """Counts by name; a thing nobody has added has a count of 0."""

    def __init__(self):
        self._counts = {}

    def add(self, name, count=1):
        """Put things into the store."""
        self._counts[name] = self._counts.get(name, 0) + count

    def take(self, name, count=1):
        """Take things out; ValueError when there are not so many."""
        if self.count(name) < count:
            raise ValueError(f"only {self.count(name)} of {name}")
        self._counts[name] -= count

    def count(self, name):
        """How many there are of a thing."""
        return self._counts.get(name, 0)
