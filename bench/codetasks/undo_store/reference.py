class Store:
    def __init__(self):
        self._data = {}
        self._before = []

    def set(self, key, value):
        self._data[key] = value

    def get(self, key):
        return self._data[key]

    def delete(self, key):
        del self._data[key]

    def begin(self):
        self._before.append(dict(self._data))

    def commit(self):
        self._last()

    def rollback(self):
        self._data = self._last()

    def _last(self):
        if not self._before:
            raise RuntimeError("there is no transaction")
        return self._before.pop()
