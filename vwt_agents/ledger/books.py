"""What a ledger says, as values: who holds what, who waits, and whether one more claim fits. No file, no clock.

A page is all that one process has written: its claims and its wants. The pages of the dead keep what outlives a process, the
models it left on a server: orphans. Memory is counted by resource, not by claim: what several processes share counts once,
at the largest of their figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from vwt_agents.ledger.terms import Terms
from vwt_agents.types import Mib, Seconds  # noqa: TC001 - pydantic reads these annotations where pages come in as text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "STALE_S",
    "Claim",
    "Holder",
    "Page",
    "Refusal",
    "Resource",
    "Want",
    "holders",
    "loading",
    "occupied",
    "refusal",
    "unreadable",
    "waiting",
]

STALE_S: Final[Seconds] = 10.0
"""A want that was not renewed for so long keeps nobody waiting: its process is stopped, or has changed its mind."""

_HINT: Final = "it is tried again when memory is free; `python -m vwt_agents doctor` shows who holds what"


@dataclass(frozen=True, slots=True)
class Resource:
    """What takes memory once, however many processes use it: a model in a server's memory.

    `model` is the digest of the weights, or the model's name; `server` the server's address, spelt alike by all processes.
    Without a server it is a worker of the process's own, which nobody shares and which dies with it.
    """

    model: str
    server: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A process's hold on a resource. `name` is the model's name on its server; `terms` is what all who share it have to
    agree on, such as its context; `loading` until it is in memory, `leaving` while it is being unloaded.
    """

    device: str
    resource: Resource
    mib: Mib
    name: str = ""
    terms: str = ""
    leaving: bool = False
    loading: bool = False

    def serves(self, want: Want) -> bool:
        """Whether who waits for this resource could have it as it is."""
        ours, theirs = Terms.of(self.terms), Terms.of(want.terms)
        return self.terms == want.terms or (ours is not None and theirs is not None and ours.serve(theirs))


@dataclass(frozen=True, slots=True)
class Want:
    """Memory a process waits for, since when, and when it last said so (on the monotonic clock, which processes share).

    `terms` as those of the claim it will make; `str` is the model and these, for people.
    """

    device: str
    resource: Resource
    mib: Mib
    since: Seconds
    renewed: Seconds
    name: str = ""
    terms: str = ""

    def __str__(self) -> str:
        terms = f" with {_plain(self.terms)}" if self.terms else ""
        return f"{_plain(self.name or self.resource.model)}{terms}"


@dataclass(frozen=True, slots=True)
class Page:
    """What one process has written. A page that is not `alive` holds orphans; one that is not `readable` says nothing."""

    owner: str
    pid: int = 0
    who: str = ""
    user: str = ""
    boot: str = ""
    claims: tuple[Claim, ...] = ()
    wants: tuple[Want, ...] = ()
    alive: bool = True
    readable: bool = True

    def held(self, resource: Resource) -> Claim | None:
        """The claim on a resource, if there is one."""
        return next((claim for claim in self.claims if claim.resource == resource), None)

    def waited(self, resource: Resource) -> Want | None:
        """The want of a resource, if there is one."""
        return next((want for want in self.wants if want.resource == resource), None)

    def having(self, claim: Claim) -> Page:
        """The same page with this claim in place of what it said of the resource."""
        return replace(self.without(claim.resource), claims=(*self.without(claim.resource).claims, claim))

    def wanting(self, want: Want) -> Page:
        """The same page with this want in place of an older one for the resource."""
        kept = tuple(other for other in self.wants if other.resource != want.resource)
        return replace(self, wants=(*kept, want))

    def without(self, resource: Resource) -> Page:
        """The same page with neither claim nor want of the resource."""
        return replace(
            self,
            claims=tuple(claim for claim in self.claims if claim.resource != resource),
            wants=tuple(want for want in self.wants if want.resource != resource),
        )

    def left_behind(self) -> Page:
        """What stays when this process ends: its claims on servers, whose memory does not end with it."""
        return replace(
            self, claims=tuple(claim for claim in self.claims if claim.resource.server), wants=(), alive=False
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds what, for people: `str` is one phrase. An orphan's process has died and its model is still there."""

    device: str
    resource: Resource
    mib: Mib
    name: str
    pid: int
    who: str
    user: str
    orphan: bool = False
    leaving: bool = False

    def __str__(self) -> str:
        what = f"{self.mib} MiB for {_plain(self.name or self.resource.model)}"
        if self.orphan:
            return f"{what}, left at {_plain(self.resource.server)} by process {self.pid}, which has ended"
        by = ", ".join(part for part in (_plain(self.who), f"process {self.pid}") if part)
        return f"{what} by {by}" + (f" of user {_plain(self.user)}" if self.user else "")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claim is not granted now: the arithmetic with who holds what, and what to do.

    `held` is the claim of another process on the same resource, where it is their terms that differ.
    """

    reason: str
    hint: str = _HINT
    held: Claim | None = None


_Key: TypeAlias = tuple[str, Resource]


def occupied(pages: Iterable[Page], device: str, *, but: Iterable[Resource] = ()) -> Mib:
    """MiB of all resources claimed on a device, each counted once, `but` those on servers that are named."""
    left_out = set(but)
    return sum(mib for (owner, resource), mib in _sums(pages, device).items() if owner or resource not in left_out)


def loading(pages: Iterable[Page], device: str) -> Mib:
    """MiB of the claims on a device whose load has not ended: memory that the device does not show as used yet."""
    claims = {(page.owner, claim.resource): claim for page in pages if page.alive for claim in page.claims}
    return sum(claim.mib for claim in claims.values() if claim.device == device and claim.loading)


def holders(pages: Iterable[Page], *, user: str = "") -> tuple[Holder, ...]:
    """All who hold something, greatest first; `user` is who reads it and is not named."""
    found = [
        Holder(
            claim.device,
            claim.resource,
            claim.mib,
            claim.name,
            page.pid,
            page.who,
            "" if page.user == user else page.user,
            orphan=not page.alive,
            leaving=claim.leaving,
        )
        for page in pages
        for claim in page.claims
    ]
    return tuple(sorted(found, key=lambda holder: (holder.device, -holder.mib, holder.name, holder.pid)))


def waiting(pages: Iterable[Page], device: str, now: Seconds) -> tuple[Want, ...]:
    """What living processes wait for on a device, oldest first; without those that have stopped saying so."""
    wants = [want for page in pages if page.alive for want in page.wants if want.device == device]
    return tuple(sorted((want for want in wants if abs(now - want.renewed) < STALE_S), key=lambda want: want.since))


def refusal(mine: Page, others: Sequence[Page], claim: Claim, ceiling: Mib, now: Seconds) -> Refusal | None:
    """Why a claim cannot be granted beside all others, or None when it can.

    1. A living process whose page cannot be read may hold anything. 2. A resource that is being unloaded, or is held on
    other terms, cannot be shared now. 3. The sum on the device stays within the ceiling. 4. Who has waited longer is not
    passed over: all older wants have to fit as well, on their terms, unless they could not even if everybody made way.
    """
    if (unread := unreadable(others)) is not None:
        return unread
    if (unshareable := _unshareable(others, claim)) is not None:
        return unshareable
    held = mine.held(claim.resource)
    if held is not None and held.device == claim.device and claim.mib <= held.mib:
        return None
    with_it = [mine.having(claim), *others]
    total = occupied(with_it, claim.device)
    subject = f"{claim.name or claim.resource.model} needs {claim.mib} MiB on {claim.device}"
    if total > ceiling:
        words = "; ".join(str(h) for h in holders([mine, *others], user=mine.user) if h.device == claim.device)
        taken = occupied([mine.without(claim.resource), *others], claim.device)
        return Refusal(f"{subject}, and of {ceiling} MiB {taken} are claimed: {words or 'nothing else'}")
    since = next((want.since for want in waiting([mine], claim.device, now) if want.resource == claim.resource), now)
    older = _blocking(others, claim.device, ceiling, now, before=since)
    shared = [page for page in older if claim.resource.server and page.held(claim.resource)]
    otherwise = any(each.terms != claim.terms for page in shared for each in page.claims)
    if otherwise or occupied([*with_it, *older], claim.device) > ceiling:
        first, taken = older[0], occupied([mine, *others], claim.device)
        return Refusal(
            f"{subject}, but {_plain(first.who) or 'another run'}, process {first.pid}, has waited longer: for "
            f"{sum(page.claims[0].mib for page in older)} MiB; of {ceiling} MiB {taken} are claimed"
        )
    return None


def unreadable(others: Iterable[Page]) -> Refusal | None:
    """That a living process's page cannot be read, if one cannot: it may hold anything."""
    for page in others:
        if not page.readable:
            return Refusal(
                f"the ledger's page {page.owner} of a living process cannot be read",
                "it writes it anew when it next uses the ledger; a process of another version has to end",
            )
    return None


def _unshareable(others: Sequence[Page], claim: Claim) -> Refusal | None:
    for page in others:
        theirs = page.held(claim.resource) if page.alive and claim.resource.server else None
        if theirs is not None and theirs.leaving:
            return Refusal(f"{_plain(theirs.name)} is being unloaded by process {page.pid}")
        if theirs is not None and theirs.terms != claim.terms:
            words = (
                f"{_plain(theirs.name)} is held with {_plain(theirs.terms)} by process {page.pid}; with {claim.terms}"
                f" the two would reload it in turns"
            )
            return Refusal(words, held=theirs)
    return None


def _blocking(others: Sequence[Page], device: str, ceiling: Mib, now: Seconds, *, before: Seconds) -> list[Page]:
    """The wants older than `before`, as pages that claim what they want, oldest first."""
    dead = [page for page in others if not page.alive]
    found = []
    for page in others:
        for want in waiting([page], device, now):
            if want.since < before and occupied(dead, device, but=[want.resource]) + want.mib <= ceiling:
                claim = Claim(device, want.resource, want.mib, terms=want.terms)
                found.append((want.since, Page(page.owner, page.pid, page.who, claims=(claim,))))
    return [page for _, page in sorted(found, key=lambda pair: pair[0])]


def _sums(pages: Iterable[Page], device: str) -> dict[_Key, Mib]:
    sums: dict[_Key, Mib] = {}
    for page in pages:
        for claim in page.claims:
            if claim.device == device:
                key = ("" if claim.resource.server else page.owner, claim.resource)
                sums[key] = max(claim.mib, sums.get(key, 0))
    return sums


def _plain(text: str) -> str:
    """Another user's text without what would move a terminal's cursor, and not longer than a line."""
    return "".join(char if char.isprintable() else "?" for char in text[:80])
