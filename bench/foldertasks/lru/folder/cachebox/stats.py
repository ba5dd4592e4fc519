"""Counts of hits and misses."""


class Stats:
    """How often a cache had what was asked for."""

    def __init__(self):
        self.hits = 0
        self.misses = 0

    def rate(self):
        """The share of hits; 0 before anything was asked for."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0
