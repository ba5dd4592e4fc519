class RecentCache:
    def __init__(self, size):
        if size < 1:
            raise ValueError("size is at least 1")
        self.size = size
        self._values = {}

    def put(self, key, value):
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self.size:
            del self._values[next(iter(self._values))]

    def get(self, key, default=None):
        if key not in self._values:
            return default
        value = self._values[key] = self._values.pop(key)
        return value

    def __len__(self):
        return len(self._values)

    def __contains__(self, key):
        return key in self._values
