"""This process's page and its turns at the shelf: one verb at a time, under the lock if it can be had. Decides no claim.

A shelf that fails stops claims and nothing else: what lessens a claim or is a fact is kept, and written with the next turn.
Safe to use from several threads.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import LedgerUnavailable
from vwt_agents.eventlog import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from vwt_agents.ledger.books import Page, Resource
    from vwt_agents.ledger.shelf import Shelf
    from vwt_agents.types import Seconds

__all__ = ["WAIT_S", "OwnPage"]

log = get_logger(__name__)

WAIT_S: Final[Seconds] = 2.0
"""How long a turn waits for the lock: many thousand times what anybody holds it who has not been stopped."""

_AGAIN_S: Final[Seconds] = 0.05
"""How long it waits once it has waited in vain: that it was long enough is known, and each verb would wait as long."""

_HINT: Final = "make room there, or set VWT_LEDGER to another folder, or to `off` to share the memory with nobody"


class OwnPage:
    """`page` is what this process says; within `turn()` it can be written, and the others' be read. `where` is for people."""

    def __init__(self, shelf: Shelf, page: Page, where: str) -> None:
        self.page = page
        self._shelf = shelf
        self._where = where
        self._mutex = threading.Lock()
        self._behind = False
        self._in_vain = False
        self._locked = False
        self._fault: OSError | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One verb at a time, with the lock if it can be had; a page that was lost or damaged is written again first."""
        with self._mutex, ExitStack() as stack:
            self._fault = None
            try:
                self._locked = stack.enter_context(self._shelf.locked(_AGAIN_S if self._in_vain else WAIT_S))
                self._in_vain = not self._locked
                if self._behind or not self._shelf.intact():
                    self.save(self.page)
            except OSError as error:
                self._fault, self._locked = error, False
                self._fall_behind(error)
            yield

    # -- within a turn ----------------------------------------------------------------------------------------------

    @property
    def locked(self) -> bool:
        """Nobody else reads or writes in this turn."""
        return self._locked

    def in_the_way(self) -> str:
        """Who has kept the lock from this turn, in words."""
        return f"{self._shelf.holder()} has held the ledger for {WAIT_S:g} s and does not move"

    def others(self) -> list[Page]:
        """The pages of all others; none where they cannot be read."""
        try:
            return self._shelf.others(locked=self._locked) if self._fault is None else []
        except OSError as error:
            self._fault = error
            self._fall_behind(error)
            return []

    def check(self) -> None:
        """LedgerUnavailable where this turn can neither read nor write."""
        if self._fault is not None:
            raise self._unavailable(self._fault)

    def write(self, page: Page) -> None:
        """Make this the page: LedgerUnavailable, and it is as it was, when it cannot be written down."""
        self.check()
        try:
            self._shelf.write(page)
        except OSError as error:
            raise self._unavailable(error) from error
        self.page, self._behind = page, False

    def save(self, page: Page) -> None:
        """Make this the page, also when it cannot be written down now: it is tried again with the next turn."""
        self.page = page
        try:
            self._shelf.write(page)
        except OSError as error:
            self._fall_behind(error)
        else:
            self._behind = False

    def bury(self, page: Page) -> bool:
        """Write a page as if its process had ended; False where that fails."""
        try:
            self._shelf.bury(page)
        except OSError as error:
            self._fall_behind(error)
            return False
        return True

    def strike(self, others: Iterable[Page], resources: Collection[Resource]) -> None:
        """Take resources out of dead processes' pages; where that fails they count once more than they should."""
        for page in others:
            kept = tuple(claim for claim in page.claims if claim.resource not in resources)
            if page.alive or kept == page.claims:
                continue
            try:
                if kept:
                    self._shelf.bury(replace(page, claims=kept))
                self._shelf.clear(page)
            except OSError as error:
                self._fall_behind(error)

    # -- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything; models this process left on a server stay behind as orphans. Idempotent."""
        with self._mutex:
            self._shelf.close(self.page.left_behind())
            self.page = replace(self.page, claims=(), wants=())

    def _fall_behind(self, error: OSError) -> None:
        if not self._behind:
            log.warning("ledger.behind", reason=self._unavailable(error).message, hint=_HINT)
        self._behind = True

    def _unavailable(self, error: OSError) -> LedgerUnavailable:
        return LedgerUnavailable(f"the ledger at {self._where} failed: {error.strerror or error}", hint=_HINT)
