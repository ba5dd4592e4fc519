"""Titles as they stand in addresses: "Hello, World" is "hello-world"."""

import re


def words(text):
    """The words in a text, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def slug_of(title):
    """The slug of a title."""
    return "-".join(words(title))
