"""Times of day."""

from clock.parse import minutes
from clock.text import text_of

__all__ = ["minutes", "text_of"]
