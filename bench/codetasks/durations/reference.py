import re

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text):
    match = re.fullmatch(r"\s*(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?\s*", text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration")
    return sum(int(number) * size for number, size in zip(match.groups(), UNITS.values()) if number)


def format_duration(seconds):
    if seconds < 0:
        raise ValueError("a duration is not negative")
    text = ""
    for unit, size in UNITS.items():
        number, seconds = divmod(seconds, size)
        if number:
            text += f"{number}{unit}"
    return text or "0s"
