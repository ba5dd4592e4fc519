class Votes:
    def __init__(self):
        self._counts = {}

    def add(self, name):
        self._counts[name] = self._counts.get(name, 0) + 1

    def count(self, name):
        return self._counts.get(name, 0)

    def total(self):
        return sum(self._counts.values())

    def winner(self):
        return min(self._counts, key=lambda name: (-self._counts[name], name), default=None)

    def reset(self):
        self._counts.clear()
