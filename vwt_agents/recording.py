"""Keeps a run's timeline in its journal while it goes on, so that a report can be made also of a run that was killed.

Owns when rows are written: what is new each second at most, in one entry, and the rest when the block ends. A journal that
cannot be written ends no run here: the rows are kept for the next try.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio

from vwt_agents.entries import Entry
from vwt_agents.errors import VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.timeline import PLAN, TIMELINE, Timeline
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from vwt_agents.board import Board
    from vwt_agents.journal import Journal
    from vwt_agents.types import Seconds

__all__ = ["recording"]

log = get_logger(__name__)

EVERY: Final[Seconds] = 1.0
LATER: Final[Seconds] = 3.0
"""How often what is new is written: at first, and once a run has gone on for two minutes."""


@asynccontextmanager
async def recording(
    journal: Journal,
    run_id: str,
    board: Board,
    plan: Mapping[str, Any],
    *,
    clock: Callable[[], Seconds] = anyio.current_time,
) -> AsyncIterator[Timeline]:
    """A timeline whose rows go into the run's journal for the length of the block. `plan` is kept first: what is to be run.

    JournalError where not even that can be written.
    """
    began, at = clock(), datetime.now(UTC)
    await journal.append(Entry(run=run_id, kind="event", name=PLAN, started_at=at, payload=encode(plan)))
    timeline = Timeline(began)
    keep = partial(_keep, timeline, journal, run_id, board, at)
    remark = partial(_remark, timeline, clock)
    board.on_line.append(remark)
    stack = AsyncExitStack()
    tasks = await stack.enter_async_context(anyio.create_task_group())
    tasks.start_soon(_keep_on, keep)
    try:
        yield timeline
    finally:  # closed by hand: a group would wrap whatever ends the block into a group of its own
        board.on_line.remove(remark)
        tasks.cancel_scope.cancel()
        try:
            await stack.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await keep()


def _remark(timeline: Timeline, clock: Callable[[], Seconds], line: str) -> None:
    timeline.remark(line, clock())


async def _keep_on(keep: Callable[[], Any]) -> None:
    for number in count():
        await anyio.sleep(EVERY if number * EVERY < 120 else LATER)
        with anyio.CancelScope(shield=True):  # half done, its rows would be written twice or not at all
            await keep()


async def _keep(timeline: Timeline, journal: Journal, run_id: str, board: Board, at: datetime) -> None:
    for line in board.stages.values():
        timeline.stage(line.name, line.status, line.started, line.ended)
    rows = timeline.take()
    if not rows:
        return
    payload = encode({"at": round((at - _EPOCH) / timedelta(microseconds=1)), "rows": rows})
    try:
        await journal.append(Entry(run=run_id, kind="event", name=TIMELINE, payload=payload))
    except VwtError as error:
        timeline.put_back(rows)
        log.warning("timeline.not_kept", error=error.message)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
