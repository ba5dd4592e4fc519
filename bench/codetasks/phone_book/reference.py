import json
from pathlib import Path


class PhoneBook:
    def __init__(self):
        self._numbers = {}

    def add(self, name, number):
        if name in self._numbers:
            raise ValueError(f"{name} is there already")
        self._numbers[name] = number

    def lookup(self, name):
        return self._numbers[name]

    def names(self):
        return sorted(self._numbers)

    def save(self, path):
        Path(path).write_text(json.dumps(self._numbers), encoding="utf-8")

    @classmethod
    def load(cls, path):
        book = cls()
        for name, number in json.loads(Path(path).read_text(encoding="utf-8")).items():
            book.add(name, number)
        return book
