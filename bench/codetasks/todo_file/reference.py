from pathlib import Path


def items(path):
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def add(path, item):
    if not item:
        raise ValueError("an item is not empty")
    with open(path, "a", encoding="utf-8") as file:
        file.write(item + "\n")
    return len(items(path))


def clear(path):
    Path(path).write_text("", encoding="utf-8")
