"""The Ledger: what this process has claimed and waits for, among all others of this machine.

Every verb takes the ledger's lock for a fraction of a millisecond, and waits at most WAIT_S for it; call them from a thread
where that is too long. Safe to use from several threads. What is decided is decided in `books`; the page that it writes is
`own_page`'s, what it sees of all a `snapshot`.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from vwt_agents.errors import LedgerUnavailable
from vwt_agents.eventlog import get_logger
from vwt_agents.ledger.books import STALE_S, Claim, Page, Refusal, Resource, Want, refusal, unreadable
from vwt_agents.ledger.folder import DEFAULT, Folder
from vwt_agents.ledger.own_page import OwnPage
from vwt_agents.ledger.shelf import Alone
from vwt_agents.ledger.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from vwt_agents.ledger.shelf import Shelf
    from vwt_agents.types import Mib, Seconds

__all__ = ["Ledger"]

log = get_logger(__name__)

_OFF: Final = "VWT_LEDGER is off"
_STOPPED: Final = "if it was stopped, let it go on (`kill -CONT`) or end it"


class Ledger:
    """This process's part in the ledger; a context manager. `who` tells people which run it is.

    `alone` says why the ledger is this process's only (then it grants what fits the ceiling and knows of nobody else);
    empty when it is the machine's.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        who: str = "",
        alone: str = "",
        where: str = "",
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self.alone = alone
        self._where = where
        self._clock = clock
        self._own = OwnPage(shelf, Page(shelf.owner, os.getpid(), who, _user()), where)

    @classmethod
    def open(cls, who: str = "", *, folder: Path | None = None) -> Ledger:
        """The machine's ledger: in `folder`, else in VWT_LEDGER, else where all users find it. Never fails.

        Where it cannot be used, or VWT_LEDGER is `off`, the ledger is this process's alone, and a warning says why.
        """
        setting = os.environ.get("VWT_LEDGER", "")
        if folder is None and setting.lower() == "off":
            return cls(Alone(), who=who, alone=_OFF, where="off")
        path = folder or (Path(setting) if setting else DEFAULT)
        try:
            if folder is None and setting:
                path = _absolute(path)
            return cls(Folder(path), who=who, where=str(path))
        except (OSError, RuntimeError) as error:  # RuntimeError: a ~user whom nobody knows
            reason = f"{path} cannot be used: {getattr(error, 'strerror', None) or error}"
            log.warning("ledger.unusable", reason=reason, hint="memory is shared with no other process: set VWT_LEDGER")
            return cls(Alone(), who=who, alone=reason, where=reason)

    @property
    def unusable(self) -> bool:
        """Whether it should be shared, and is not; `alone` says why. One that was switched off is not unusable."""
        return bool(self.alone) and self.alone != _OFF

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything. Models this process left on a server stay in the books as orphans. Idempotent."""
        self._own.close()

    # -- claims -----------------------------------------------------------------------------------------------------

    def claim(
        self, device: str, resource: Resource, mib: Mib, ceiling: Mib, *, name: str = "", terms: str = ""
    ) -> Refusal | None:
        """Claim memory, or hear why not. Granted only while all claims on the device, this one included, fit `ceiling`.

        Replaces an earlier claim on the resource, ends a want of it, and takes over an orphan. LedgerUnavailable when it
        cannot be written down.
        """
        claim = Claim(device, resource, mib, name, terms, loading=True)
        with self._own.turn():
            self._own.check()
            if not self._own.locked:
                return Refusal(self._own.in_the_way(), _STOPPED)
            others = self._own.others()
            refused = refusal(self._own.page, others, claim, ceiling, self._clock())
            if refused is None:
                self._own.write(self._own.page.without(resource).having(claim))
                self._own.strike(others, {resource})
            return refused

    def settle(self, resource: Resource, mib: Mib) -> None:
        """What a claimed resource takes in truth, once it is loaded: a fact, and so never refused."""
        with self._own.turn():
            if (claim := self._own.page.held(resource)) is not None:
                self._own.save(self._own.page.having(replace(claim, mib=mib, loading=False)))

    def leave(self, resource: Resource, *, undo: bool = False) -> bool:
        """Before unloading: True when nobody else holds it, so that it may really be unloaded, and then has to be dropped.

        Until then the claim counts and nobody can join it; `stay` takes it back. False when others use it: the model has to
        stay, and the claim is dropped, unless what is to `undo` is a load that may be tried again. LedgerUnavailable, and
        the claim is as it was, where it is not known who else holds it, or the others cannot be told.
        """
        with self._own.turn():
            page = self._own.page
            if self._shared(resource):
                if not undo:
                    self._own.save(page.without(resource))
                return False
            if (claim := page.held(resource)) is not None:
                leaving = page.having(replace(claim, leaving=True))
                (self._own.write if resource.server else self._own.save)(leaving)  # unseen, it would keep nobody away
            return True

    def stay(self, resource: Resource) -> None:
        """It could not be unloaded, or is to be loaded after all: the claim goes on."""
        with self._own.turn():
            if (claim := self._own.page.held(resource)) is not None:
                self._own.save(self._own.page.having(replace(claim, leaving=False)))

    def drop(self, resource: Resource) -> None:
        """It is no longer in memory, or in others' care: the claim ends, a want and orphans of the resource too."""
        with self._own.turn():
            self._own.save(self._own.page.without(resource))
            if resource.server and self._own.locked:
                self._own.strike(self._own.others(), {resource})

    # -- orphans ----------------------------------------------------------------------------------------------------

    def adopt(self, resource: Resource, found: Claim | None = None) -> bool:
        """Take over an orphan in order to unload it, and then `drop` or `disown` it; False when it is none (any more).

        `found`: something in a server's memory that need not be anybody's orphan; False when somebody alive holds it.
        """
        with self._own.turn():
            others = self._own.others()
            left = [claim for page in others if not page.alive for claim in page.claims if claim.resource == resource]
            claim = left[0] if left else found
            held = any(page.alive and page.held(resource) for page in (self._own.page, *others))
            if not self._own.locked or claim is None or held or unreadable(others) is not None:
                return False
            self._own.write(self._own.page.having(replace(claim, leaving=True, loading=False)))
            self._own.strike(others, {resource})
            return True

    def disown(self, resource: Resource) -> None:
        """It is still in the server's memory, but not for this process: an orphan again."""
        with self._own.turn():
            claim = self._own.page.held(resource)
            if claim is not None and self._own.bury(replace(self._own.page, claims=(replace(claim, leaving=False),))):
                self._own.save(self._own.page.without(resource))

    def forget(self, gone: Collection[Resource]) -> None:
        """Orphans that their server does not show in its memory are none."""
        with self._own.turn():
            if self._own.locked:
                self._own.strike(self._own.others(), gone)

    # -- who waits --------------------------------------------------------------------------------------------------

    def want(
        self, device: str, resource: Resource, mib: Mib, since: Seconds, *, name: str = "", terms: str = ""
    ) -> None:
        """Say that this process waits for memory since then (on `time.monotonic`): others make way and do not pass it.

        To be said again while it lasts: a want that is STALE_S old counts no more. A granted claim or `drop` ends it; until
        then the first moment that was said holds.
        """
        with self._own.turn():
            now, before = self._clock(), self._own.page.waited(resource)
            if before is not None and now - before.renewed < STALE_S:
                since = min(since, before.since)
            self._own.save(self._own.page.wanting(Want(device, resource, mib, since, now, name, terms)))

    def unwant(self, resource: Resource) -> None:
        """This process waits no longer for the resource."""
        with self._own.turn():
            page = self._own.page
            if page.waited(resource) is not None:
                self._own.save(replace(page, wants=tuple(want for want in page.wants if want.resource != resource)))

    # -- looking ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Who holds and who waits for what at this moment, this process included."""
        with self._own.turn():
            others = tuple(self._own.others())
            return Snapshot(self._where, not self.alone, self._own.page, others, self._clock())

    # -- within a turn ----------------------------------------------------------------------------------------------

    def _shared(self, resource: Resource) -> bool:
        """Whether another living process holds it; LedgerUnavailable where that is not to be known now."""
        if not resource.server:
            return False
        others = self._own.others()
        self._own.check()
        if not self._own.locked:
            raise LedgerUnavailable(self._own.in_the_way(), hint=_STOPPED)
        if (unread := unreadable(others)) is not None:
            raise LedgerUnavailable(unread.reason, hint=unread.hint)
        return any(page.alive and page.held(resource) for page in others)


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (KeyError, ImportError):
        return str(os.geteuid()) if hasattr(os, "geteuid") else ""


def _absolute(path: Path) -> Path:
    found = path.expanduser()
    if not found.is_absolute():
        raise OSError("it is no absolute path, and a run from another folder would have another ledger")
    return found.resolve()
