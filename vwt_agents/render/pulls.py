"""A pull as people see it: a bar where lines can be redrawn, a line each tenth elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vwt_agents.board import Board
    from vwt_agents.endpoints.base import Progress

__all__ = ["PullView", "progress_text"]


class PullView:
    """Feeds a board with a pull's progress; `show` is an OnProgress."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._said: tuple[str, int] | None = None

    def show(self, progress: Progress) -> None:
        """Take in one report of progress."""
        self._board.pull = progress_text(progress)
        tenth = progress.completed * 10 // progress.total if progress.total else 0
        if (progress.status, tenth) != self._said:
            self._said = (progress.status, tenth)
            self._board.say(f"  {self._board.pull}")
        self._board.changed()


def progress_text(progress: Progress) -> str:
    """One line: what is being done, and how much of it is."""
    if not progress.total:
        return progress.status
    share = progress.completed / progress.total
    return f"{progress.status}: {progress.completed / 1e6:.0f} of {progress.total / 1e6:.0f} MB ({share:.0%})"
