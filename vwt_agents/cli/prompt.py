"""A person at the terminal: asked on stderr, answered on stdin, without holding up the run and given up when it must be."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from vwt_agents.printable import printable

if TYPE_CHECKING:
    from vwt_agents.approval import Approval
    from vwt_agents.approvals import Terminal
    from vwt_agents.board import Board

__all__ = ["open_terminal", "user_name"]

_WORDS: Final = {"y": True, "yes": True, "n": False, "no": False}


def open_terminal(board: Board) -> Terminal | None:
    """Asks whoever sits at this process's terminal; None where stdin is none."""
    return _Prompt(board, sys.stdin.fileno()) if sys.stdin is not None and sys.stdin.isatty() else None


def user_name() -> str:
    """Who is using this process: the login name, or the user's number where there is none."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


class _Prompt:
    """Questions on a terminal, by its file descriptor."""

    def __init__(self, board: Board, terminal: int) -> None:
        self._board = board
        self._terminal = terminal

    async def __call__(self, question: str, *, default: bool) -> Approval | None:
        """The answer: yes or no with what follows as a note, Enter for the default; None at the end of input."""
        from vwt_agents.approval import Approval

        self._board.prompting = True
        self._board.changed()
        try:
            while True:
                choice = "Y/n" if default else "y/N"
                click.echo(f"? {printable(question)} [{choice}, and a note if you like] ", nl=False, err=True)
                line = await self._line()
                if line is None:
                    return None
                word, _, note = line.strip().partition(" ")
                approved = _WORDS.get(word.rstrip(".,:;").lower()) if word else default
                if approved is not None:
                    return Approval(approved=approved, by=user_name(), at=datetime.now(UTC), note=note.strip())
                click.echo("yes or no?", err=True)
        finally:
            self._board.prompting = False
            self._board.changed()

    async def _line(self) -> str | None:
        import anyio

        read = b""
        while not read.endswith(b"\n"):
            await anyio.wait_readable(self._terminal)
            try:
                piece = os.read(self._terminal, 4096)
            except OSError:  # the terminal has gone
                return None
            if not piece:
                return None
            read += piece
        return read.decode("utf-8", "replace")
