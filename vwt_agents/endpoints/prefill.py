"""Taking an echoed prefill off the front of a streamed answer. Owns that one filter; pure, knows no engine.

Some engines begin their answer with the assistant message they were asked to continue, others with what follows it, and
both send it in pieces of any size.
"""

from __future__ import annotations

__all__ = ["EchoFilter"]


class EchoFilter:
    """Passes an answer through piece by piece, without the prefill if the answer begins with all of it.

    What might still become the echo is held back, so no piece is shown that would have to be taken back.
    """

    __slots__ = ("_held", "_prefill", "_settled")

    def __init__(self, prefill: str) -> None:
        self._prefill = prefill
        self._held = ""
        self._settled = not prefill

    def feed(self, piece: str) -> str:
        """What of the answer so far is certainly new text; may be empty."""
        if self._settled:
            return piece
        self._held += piece
        if len(self._held) < len(self._prefill) and self._prefill.startswith(self._held):
            return ""
        self._settled = True
        return self._held.removeprefix(self._prefill)

    def finish(self) -> str:
        """The rest at the end of the answer: part of an echo is no echo, so it was new text."""
        if self._settled:
            return ""
        self._settled = True
        return self._held
