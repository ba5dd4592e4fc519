"""A page as text: JSON, one object. Never raises for a text that is no page: that has no page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError

from vwt_agents.ledger.books import Claim, Page, Want

__all__ = ["page_of", "text_of"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Written:
    version: int
    pid: int
    who: str
    user: str
    boot: str
    claims: tuple[Claim, ...]
    wants: tuple[Want, ...]


def text_of(page: Page, boot: str) -> bytes:
    """What is written of a page."""
    return _adapter().dump_json(_Written(_VERSION, page.pid, page.who, page.user, boot, page.claims, page.wants))


def page_of(owner: str, text: bytes) -> Page | None:
    """The page that was written; None for anything else, also for one of another version."""
    try:
        found = _adapter().validate_json(text, strict=True)
    except (ValidationError, ValueError):
        return None
    figures = [claim.mib for claim in found.claims] + [want.mib for want in found.wants]
    moments = [moment for want in found.wants for moment in (want.since, want.renewed)]
    if found.version != _VERSION or min(figures, default=0) < 0 or not all(map(math.isfinite, moments)):
        return None
    return Page(owner, found.pid, found.who, found.user, found.boot, found.claims, found.wants)


@cache
def _adapter() -> TypeAdapter[_Written]:
    return TypeAdapter(_Written)
