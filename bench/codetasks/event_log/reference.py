import json
from pathlib import Path


def append(path, event):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def read(path, kind=None):
    if not Path(path).exists():
        return []
    with open(path, encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    return [event for event in events if kind is None or event.get("kind") == kind]
