"""One note."""


class Note:
    """A text and its tags."""

    def __init__(self, text, tags=()):
        self.text = text
        self.tags = set(tags)

    def has(self, word):
        """Whether the text contains a word."""
        return word in self.text

    def short(self, length=10):
        """The beginning of the text, with dots where it goes on."""
        if len(self.text) <= length:
            return self.text
        return self.text[:length] + "..."
