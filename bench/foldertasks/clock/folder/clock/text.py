"""Times of day as trains have them."""


def text_of(minutes):
    """Minutes since midnight as "13:05"."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
