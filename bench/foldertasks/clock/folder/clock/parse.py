"""Times of day as people write them."""


def minutes(text):
    """The minutes since midnight of a time such as "1:30 pm" or "11:05 am"."""
    time, half = text.split()
    hour, minute = time.split(":")
    total = int(hour) * 60 + int(minute)
    if half == "pm" and int(hour) != 12:
        total += 12 * 60
    return total
