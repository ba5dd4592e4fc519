class RateLimiter:
    def __init__(self, limit, window):
        if limit < 1 or window <= 0:
            raise ValueError("limit is at least 1, window more than 0")
        self.limit = limit
        self.window = window
        self._calls = []

    def _forget(self, now):
        self._calls = [call for call in self._calls if now - call < self.window]

    def allow(self, now):
        self._forget(now)
        if len(self._calls) >= self.limit:
            return False
        self._calls.append(now)
        return True

    def remaining(self, now):
        self._forget(now)
        return self.limit - len(self._calls)
