"""Where a ledger's pages lie: the protocol, and its form for a process that is alone. `folder` is the one on disk."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from vwt_agents.ledger.books import Page
    from vwt_agents.types import Seconds

__all__ = ["Alone", "Shelf"]


class Shelf(Protocol):
    """Where pages lie. OSError when it fails."""

    owner: str

    def locked(self, wait: Seconds) -> AbstractContextManager[bool]:
        """Within the block nobody else reads or writes; False when that could not be had in time."""
        ...

    def holder(self) -> str:
        """Who took the lock last, in words."""
        ...

    def others(self, *, locked: bool) -> list[Page]:
        """The pages of all other processes, and what dead ones left."""
        ...

    def write(self, page: Page) -> None:
        """Make this the process's page."""
        ...

    def intact(self) -> bool:
        """Whether the page is still as it was written."""
        ...

    def bury(self, page: Page) -> None:
        """Write a page as if its process had ended."""
        ...

    def clear(self, page: Page) -> None:
        """Remove a dead process's page."""
        ...

    def close(self, left: Page) -> None:
        """Let go of the process's page; what is left behind stays as a dead one's."""
        ...


class Alone:
    """A Shelf without anybody else: for one process, when no folder can be used."""

    owner = "alone"

    @contextmanager
    def locked(self, wait: Seconds) -> Iterator[bool]:  # noqa: ARG002 - the protocol's
        """Always."""
        yield True

    def holder(self) -> str:
        """This process."""
        return "this process"

    def others(self, *, locked: bool) -> list[Page]:  # noqa: ARG002 - the protocol's
        """Nobody."""
        return []

    def write(self, page: Page) -> None:
        """The ledger remembers its own page."""

    def intact(self) -> bool:
        """Nobody could have touched it."""
        return True

    def bury(self, page: Page) -> None:
        """Nobody would read it."""

    def clear(self, page: Page) -> None:
        """There are no dead."""

    def close(self, left: Page) -> None:
        """Nothing stays."""
