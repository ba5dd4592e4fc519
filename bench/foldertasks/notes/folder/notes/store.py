"""All notes."""

from notes.note import Note


class Notes:
    """Notes in the order they were added."""

    def __init__(self):
        self._notes = []

    def add(self, text, *tags):
        """Add a note."""
        self._notes.append(Note(text, tags))

    def find(self, word):
        """The texts of the notes that contain a word; capitals or not makes no difference."""
        return [note.text for note in self._notes if note.has(word)]

    def tagged(self, tag):
        """The texts of the notes with a tag."""
        return [note.text for note in self._notes if tag in note.tags]
