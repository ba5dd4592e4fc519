"""Pages of runs, made from the journal: when a run ends, and whenever somebody asks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vwt_agents.errors import UsageError
from vwt_agents.eventlog import get_logger
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.entries import Entry
    from vwt_agents.journal import JournalReader
    from vwt_agents.report import Others
    from vwt_agents.result import RunResult

__all__ = ["others_of", "page_at_the_end", "page_of"]

log = get_logger(__name__)


async def page_of(journal: JournalReader, run: str, *, packed: bool = True) -> str:
    """The page of a run, in whatever state it is; UsageError where the journal has no such run."""
    from vwt_agents.report import report_page

    record = await journal.run(run)
    entries = await journal.entries(record.id)
    return report_page(record, entries, datetime.now(UTC), others=await others_of(journal, entries), packed=packed)


async def others_of(journal: JournalReader, entries: Sequence[Entry]) -> Others:
    """The runs that a run has stages from, by what its entries say; without those that the journal has no more."""
    from vwt_agents.report import origins_of

    found = {}
    for run in sorted({run for run, _ in origins_of(entries).values()}):
        with suppress(UsageError):
            found[run] = await journal.run(run), await journal.entries(run)
    return found


async def page_at_the_end(journal: JournalReader, result: RunResult) -> str | None:
    """The page of a run that is about to be written down as ended so; None, and a warning, where it can't be made."""
    from vwt_agents.report import report_page

    now = datetime.now(UTC)
    try:
        record = await journal.run(result.run_id)
        ended = replace(record, status=result.status, exit_code=result.exit_code, ended_at=now, summary=encode(result))
        entries = await journal.entries(record.id)
        return report_page(ended, entries, now, others=await others_of(journal, entries))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a picture of a run, the run keeps its own end
        log.warning("report.not_made", error=f"{type(error).__name__}: {error}")
        return None
