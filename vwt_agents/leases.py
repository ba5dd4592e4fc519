"""Leases of slots: who wants one, and the hold on one that was granted.

Owns what a request waits with; which request is granted, and when, is the core's word, which the dispatcher brings.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vwt_agents.core import Cancelled, Released, Submitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.core import ModelKey
    from vwt_agents.errors import VwtError
    from vwt_agents.messages import Priority
    from vwt_agents.types import RequestId, Seconds

__all__ = ["ANYONE", "Lease", "Want"]


@dataclass(frozen=True, slots=True)
class Want:
    """Who wants a lease, and how much: labels (run, stage, tier), class, the moment from which it is of no use, prefix, and
    the number of the call it is for (0: none that is numbered).
    """

    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    priority: Priority | None = None
    deadline: Seconds | None = None
    prefix: str = ""
    call: int = 0

    def submitted(self, request: RequestId, key: ModelKey, priority: Priority) -> Submitted:
        """The event that says so; `priority` is that of whoever does not say."""
        return Submitted(
            request,
            key,
            run=self.labels.get("run", ""),
            tier=self.labels.get("tier", "small"),
            klass=self.priority or priority,
            step=self.labels.get("stage", ""),
            prefix=self.prefix,
            deadline=self.deadline,
        )


ANYONE: Final = Want()


class Lease:
    """A request's hold on a slot, from when its `granted` has been awaited until it is given back.

    `granted` raises Rejected or LoadFailed when there will never be a slot. `wait_s` is what the request waited for it,
    `load_s` the part in which its model was being loaded. One is there for all who wait, so it is small, and no `with`
    block: that would hold its own end, as an object, for each of them.
    """

    __slots__ = ("granted", "key", "load_s", "request", "submitted", "wait_s")

    def __init__(self, request: RequestId, key: ModelKey, submitted: Seconds) -> None:
        self.request = request
        self.key = key
        self.submitted = submitted
        # A future and not an event: one waits for it, and it takes a sixth of the memory.
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wait_s: Seconds = 0.0
        self.load_s: Seconds = 0.0

    def end_wait(self, error: VwtError | None = None) -> None:
        """Wake whoever waits, unless he has left: with his slot, or with the reason why he will have none."""
        if self.granted.done():
            return
        if error is None:
            self.granted.set_result(None)
        else:
            self.granted.set_exception(error)
            self.granted.exception()  # seen: where he is cancelled before he wakes, nobody misses it

    def give_back(self) -> Released | Cancelled | None:
        """The event that says so; None where the core has ended the request."""
        if not self.granted.done() or self.granted.cancelled():
            return Cancelled(self.request)
        return Released(self.request) if self.granted.exception() is None else None
