"""Several processes' ledgers on one folder: in one process, because a lock belongs to an open file and not to a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.ledger import Ledger, Resource
from vwt_agents.ledger.folder import Folder

if TYPE_CHECKING:
    from pathlib import Path

SERVER = "http://127.0.0.1:11434"
QWEN = Resource("sha256:qwen", SERVER)
MISTRAL = Resource("sha256:mistral", SERVER)
LLAMA = Resource("sha256:llama", SERVER)
BUDGET = 10_000


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ledger(folder: Path, who: str = "", clock: Clock | None = None) -> Ledger:
    """One more process's ledger."""
    return Ledger(Folder(folder), who=who, where=str(folder), clock=clock or Clock())


def die(dead: Ledger) -> None:
    """What the system does when a process is killed: its files are closed, and nothing else."""
    dead._own._shelf.abandon()
