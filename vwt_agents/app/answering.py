"""A person's answer to what a run asks, brought to it through the journal; the run looks there while it waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vwt_agents.approval import Approval
from vwt_agents.approvals import given_entry
from vwt_agents.errors import UsageError, did_you_mean
from vwt_agents.journal import Journal, JournalReader
from vwt_agents.past import pending, questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.entries import RunRecord
    from vwt_agents.past import Question

__all__ = ["answer"]


async def answer(run: str, stage: str | None, *, approved: bool, by: str, note: str = "") -> str:
    """Answer the run's question, and say in a sentence what was answered; UsageError where there is none, or several.

    A run that is not running may also be answered anew: the newest answer counts when it is resumed.
    """
    reader = JournalReader()
    record = await reader.run(run)
    entries = await reader.entries(record.id)
    asked = pending(entries) if record.status == "running" else questions(entries)
    question = _the_one(asked, record, stage)
    given = Approval(approved=approved, by=by, at=datetime.now(UTC), note=note)
    async with Journal.open() as journal:
        await journal.append(given_entry(record.id, question.key, question.stage, question.question, given))
    after = "" if record.status == "running" else f"; go on with it: python -m vwt_agents runs resume {record.id}"
    return f"{record.id}, stage {question.stage}: {question.question} {'yes' if approved else 'no'}{after}"


def _the_one(asked: Sequence[Question], record: RunRecord, stage: str | None) -> Question:
    if record.status == "good" or not asked:
        raise UsageError(f"run {record.id} asks nothing ({record.status})", hint="`runs list` says which runs wait")
    found = [one for one in asked if stage is None or one.stage == stage]
    stages = list(dict.fromkeys(one.stage for one in asked))
    if not found:
        raise UsageError(f"stage {stage!r} of run {record.id} asks nothing", hint=did_you_mean(str(stage), stages))
    if stage is None and len(stages) > 1:
        raise UsageError(f"run {record.id} asks several things", hint=f"name the stage: {', '.join(stages)}")
    return found[0] if record.status == "running" else found[-1]
