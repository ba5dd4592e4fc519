"""The Ledger: what this process has claimed and waits for, among all others of this machine. Owns this process's page.

Every verb takes the ledger's lock for a fraction of a millisecond, and waits at most WAIT_S for it; call them from a thread
where that is too long. Safe to use from several threads. What is decided is decided in `books`.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from vwt_agents.errors import LedgerUnavailable
from vwt_agents.eventlog import get_logger
from vwt_agents.ledger.books import (
    STALE_S,
    Claim,
    Holder,
    Page,
    Refusal,
    Resource,
    Want,
    holders,
    loading,
    occupied,
    refusal,
    waiting,
)
from vwt_agents.ledger.folder import DEFAULT, Folder
from vwt_agents.ledger.shelf import Alone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from vwt_agents.ledger.shelf import Shelf
    from vwt_agents.types import Mib, Seconds

__all__ = ["WAIT_S", "Ledger", "Snapshot"]

log = get_logger(__name__)

WAIT_S: Final[Seconds] = 2.0
"""How long a verb waits for the lock: many thousand times what anybody holds it who has not been stopped."""

_OFF: Final = "VWT_LEDGER is off"
_AGAIN_S: Final[Seconds] = 0.05
"""How long it waits once it has waited in vain: that it was long enough is known, and each verb would wait as long."""

_HINT: Final = "make room there, or set VWT_LEDGER to another folder, or to `off` to share the memory with nobody"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who holds and who waits for memory on this machine, for people; `where` is the folder, or why there is none."""

    where: str
    shared: bool
    holders: tuple[Holder, ...]
    wants: tuple[Want, ...]

    def on(self, device: str) -> tuple[Holder, ...]:
        """Who holds something on one device, greatest first."""
        return tuple(holder for holder in self.holders if holder.device == device)


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
        self._shelf = shelf
        self._clock = clock
        self._mutex = threading.Lock()
        self._mine = Page(shelf.owner, os.getpid(), who, _user())
        self._behind = False
        self._in_vain = False
        self._fault: OSError | None = None

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
        with self._mutex:
            self._shelf.close(self._mine.left_behind())
            self._mine = replace(self._mine, claims=(), wants=())

    # -- claims -----------------------------------------------------------------------------------------------------

    def claim(
        self, device: str, resource: Resource, mib: Mib, ceiling: Mib, *, name: str = "", terms: str = ""
    ) -> Refusal | None:
        """Claim memory, or hear why not. Granted only while all claims on the device, this one included, fit `ceiling`.

        Replaces an earlier claim on the resource, ends a want of it, and takes over an orphan. LedgerUnavailable when it
        cannot be written down.
        """
        claim = Claim(device, resource, mib, name, terms, loading=True)
        with self._turn() as locked:
            if self._fault is not None:
                raise self._unavailable(self._fault)
            if not locked:
                return Refusal(
                    f"{self._shelf.holder()} has held the ledger for {WAIT_S:g} s and does not move",
                    "if it was stopped, let it go on (`kill -CONT`) or end it",
                )
            others = self._others(locked)
            refused = refusal(self._mine, others, claim, ceiling, self._clock())
            if refused is None:
                self._write_or_raise(self._mine.without(resource).having(claim))
                self._strike(others, {resource})
            return refused

    def settle(self, resource: Resource, mib: Mib) -> None:
        """What a claimed resource takes in truth, once it is loaded: a fact, and so never refused."""
        with self._turn():
            if (claim := self._mine.held(resource)) is not None:
                self._save(self._mine.having(replace(claim, mib=mib, loading=False)))

    def leave(self, resource: Resource) -> bool:
        """Before unloading: True when nobody else holds it, so that it may really be unloaded, and then has to be dropped.

        Until then the claim counts and nobody can join it; `stay` takes it back. False when others use it: the claim is
        dropped, the model has to stay.
        """
        with self._turn() as locked:
            if resource.server and any(page.alive and page.held(resource) for page in self._others(locked)):
                self._save(self._mine.without(resource))
                return False
            if (claim := self._mine.held(resource)) is not None:
                self._save(self._mine.having(replace(claim, leaving=True)))
            return True

    def stay(self, resource: Resource) -> None:
        """It could not be unloaded: the claim goes on."""
        with self._turn():
            if (claim := self._mine.held(resource)) is not None:
                self._save(self._mine.having(replace(claim, leaving=False)))

    def drop(self, resource: Resource) -> None:
        """It is no longer in memory, or in others' care: the claim ends, a want and orphans of the resource too."""
        with self._turn() as locked:
            self._save(self._mine.without(resource))
            if resource.server and locked:
                self._strike(self._others(locked), {resource})

    # -- orphans ----------------------------------------------------------------------------------------------------

    def orphans(self, server: str) -> tuple[Holder, ...]:
        """Models that dead processes left on a server and that no living one holds."""
        with self._turn() as locked:
            others = self._others(locked)
        held = {claim.resource for page in (self._mine, *others) if page.alive for claim in page.claims}
        left = holders(page for page in others if not page.alive)
        return tuple(holder for holder in left if holder.resource.server == server and holder.resource not in held)

    def adopt(self, resource: Resource) -> bool:
        """Take over an orphan in order to unload it, and then `drop` or `disown` it; False when it is none (any more)."""
        with self._turn() as locked:
            others = self._others(locked)
            left = [claim for page in others if not page.alive for claim in page.claims if claim.resource == resource]
            if not locked or not left or any(page.alive and page.held(resource) for page in (self._mine, *others)):
                return False
            self._write_or_raise(self._mine.having(replace(left[0], leaving=True)))
            self._strike(others, {resource})
            return True

    def disown(self, resource: Resource) -> None:
        """It is still in the server's memory, but not for this process: an orphan again."""
        with self._turn():
            if (claim := self._mine.held(resource)) is not None:
                try:
                    self._shelf.bury(replace(self._mine, claims=(replace(claim, leaving=False),)))
                except OSError as error:
                    self._fall_behind(error)
                else:
                    self._save(self._mine.without(resource))

    def forget(self, server: str, present: Collection[Resource]) -> None:
        """What the server shows in its memory: orphans of it that are not among this are gone."""
        with self._turn() as locked:
            others = self._others(locked)
            left = {claim.resource for page in others if not page.alive for claim in page.claims}
            if locked:
                self._strike(others, {each for each in left if each.server == server and each not in present})

    # -- who waits --------------------------------------------------------------------------------------------------

    def want(
        self, device: str, resource: Resource, mib: Mib, since: Seconds, *, name: str = "", terms: str = ""
    ) -> None:
        """Say that this process waits for memory since then (on `time.monotonic`): others make way and do not pass it.

        To be said again while it lasts: a want that is STALE_S old counts no more. A granted claim or `drop` ends it; until
        then the first moment that was said holds.
        """
        with self._turn():
            now, before = self._clock(), self._mine.waited(resource)
            if before is not None and now - before.renewed < STALE_S:
                since = min(since, before.since)
            self._save(self._mine.wanting(Want(device, resource, mib, since, now, name, terms)))

    def unwant(self, resource: Resource) -> None:
        """This process waits no longer for the resource."""
        with self._turn():
            if self._mine.waited(resource) is not None:
                kept = tuple(want for want in self._mine.wants if want.resource != resource)
                self._save(replace(self._mine, wants=kept))

    def pressing(self, device: str) -> tuple[Want, ...]:
        """What other processes wait for on a device, oldest first."""
        with self._turn() as locked:
            return waiting(self._others(locked), device, self._clock())

    # -- looking ----------------------------------------------------------------------------------------------------

    def others(self, device: str, *, but: Iterable[Resource] = ()) -> Mib:
        """MiB that others have claimed on a device, orphans included; what this process holds too, or `but`, not."""
        with self._turn() as locked:
            shared = [claim.resource for claim in self._mine.claims]
            return occupied(self._others(locked), device, but=(*shared, *but))

    def loading(self, device: str) -> Mib:
        """The part of what others have claimed there that is not in memory yet."""
        with self._turn() as locked:
            return loading(self._others(locked), device)

    def snapshot(self) -> Snapshot:
        """Who holds and who waits for what, this process included."""
        with self._turn() as locked:
            pages = [self._mine, *self._others(locked)]
        now = self._clock()
        devices = sorted({want.device for page in pages for want in page.wants})
        wants = tuple(want for device in devices for want in waiting(pages, device, now))
        return Snapshot(self._where, not self.alone, holders(pages, user=self._mine.user), wants)

    # -- the page ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """One verb at a time, with the lock if it can be had; a page that was lost or damaged is written again first.

        A ledger that fails stops claims and nothing else: what lessens a claim is kept for later.
        """
        with self._mutex, ExitStack() as stack:
            self._fault = None
            try:
                locked = stack.enter_context(self._shelf.locked(_AGAIN_S if self._in_vain else WAIT_S))
                self._in_vain = not locked
                if self._behind or not self._shelf.intact():
                    self._save(self._mine)
            except OSError as error:
                self._fault, locked = error, False
                self._fall_behind(error)
            yield locked

    def _others(self, locked: bool) -> list[Page]:  # noqa: FBT001 - what `_turn` said
        try:
            return self._shelf.others(locked=locked) if self._fault is None else []
        except OSError as error:
            self._fault = error
            self._fall_behind(error)
            return []

    def _write_or_raise(self, page: Page) -> None:
        try:
            if self._fault is not None:
                raise self._fault
            self._shelf.write(page)
        except OSError as error:
            raise self._unavailable(error) from error
        self._mine, self._behind = page, False

    def _save(self, page: Page) -> None:
        """Keep what lessens a claim or is a fact, also when it cannot be written now: it is tried again with the next verb."""
        self._mine = page
        try:
            self._shelf.write(page)
        except OSError as error:
            self._fall_behind(error)
        else:
            self._behind = False

    def _fall_behind(self, error: OSError) -> None:
        if not self._behind:
            log.warning("ledger.behind", reason=self._unavailable(error).message, hint=_HINT)
        self._behind = True

    def _unavailable(self, error: OSError) -> LedgerUnavailable:
        return LedgerUnavailable(f"the ledger at {self._where} failed: {error.strerror or error}", hint=_HINT)

    def _strike(self, others: Iterable[Page], resources: Collection[Resource]) -> None:
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
