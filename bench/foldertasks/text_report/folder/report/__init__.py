"""Plain text reports."""

from report.table import render

__all__ = ["render"]
