"""A cache with a limit."""

from cachebox.lru import Cache

__all__ = ["Cache"]
