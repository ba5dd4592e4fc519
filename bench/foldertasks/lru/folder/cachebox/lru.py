"""Least recently used entries leave first."""

from cachebox.stats import Stats


class Cache:
    """At most `size` entries; the one that was not used for longest leaves."""

    def __init__(self, size):
        self.size = size
        self.stats = Stats()
        self._entries = {}

    def put(self, key, value):
        """Store a value, as the newest entry."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self.size:
            oldest = next(iter(self._entries))
            del self._entries[oldest]

    def get(self, key, default=None):
        """The value of a key, which is then the newest entry; the default when there is none. Counts hits and misses."""
        if key not in self._entries:
            self.stats.misses += 1
            return default
        self.stats.hits += 1
        return self._entries[key]

    def keys(self):
        """The keys, the oldest first."""
        return list(self._entries)
