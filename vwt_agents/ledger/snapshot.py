"""What all pages said at one moment, for those who only look: who holds what, who waits, what is left. No file, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vwt_agents.ledger.books import Holder, Page, Want, holders, loading, occupied, waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vwt_agents.ledger.books import Resource
    from vwt_agents.types import Mib, Seconds

__all__ = ["Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The pages at the moment `now` of the monotonic clock; `mine` is this process's. `where` is the folder, or why there is
    none; `shared` says whether others could have a page at all. MiB are by device; a shared model counts once.
    """

    where: str
    shared: bool
    mine: Page
    pages: tuple[Page, ...]
    now: Seconds

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Who holds something, this process included, greatest first."""
        return holders([self.mine, *self.pages], user=self.mine.user)

    @property
    def wants(self) -> tuple[Want, ...]:
        """What is waited for, this process included: by device, oldest first."""
        every = [self.mine, *self.pages]
        devices = sorted({want.device for page in every for want in page.wants})
        return tuple(want for device in devices for want in waiting(every, device, self.now))

    def on(self, device: str) -> tuple[Holder, ...]:
        """Who holds something on one device, greatest first."""
        return tuple(holder for holder in self.holders if holder.device == device)

    def others(self, device: str, *, but: Iterable[Resource] = ()) -> Mib:
        """MiB that others have claimed on a device, orphans included; what this process holds too, or `but`, not."""
        shared = [claim.resource for claim in self.mine.claims]
        return occupied(self.pages, device, but=(*shared, *but))

    def loading(self, device: str) -> Mib:
        """The part of what others have claimed there that is not in memory yet."""
        return loading(self.pages, device)

    def pressing(self, device: str) -> tuple[Want, ...]:
        """What other processes wait for on a device, oldest first."""
        return waiting(self.pages, device, self.now)

    def orphans(self, server: str) -> tuple[Holder, ...]:
        """Models that dead processes left on a server and that no living one holds."""
        held = {claim.resource for page in (self.mine, *self.pages) if page.alive for claim in page.claims}
        left = holders(page for page in self.pages if not page.alive)
        return tuple(holder for holder in left if holder.resource.server == server and holder.resource not in held)
