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
        return max(self._counts, key=self._counts.get, default=None)

    def reset(self):
        self._counts.clear()
