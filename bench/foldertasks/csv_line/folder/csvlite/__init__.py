"""Comma separated values, read without a library."""

from csvlite.rows import column, read

__all__ = ["column", "read"]
