"""Jobs that go on from what the journal has: a run resumed, or another begun from it (a fork).

Owns which entries of which runs count for such a job; whether they still fit is the runner's business.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vwt_agents.app.job import Fork, Job
from vwt_agents.errors import UsageError
from vwt_agents.limits import RunLimits
from vwt_agents.past import inherited, read_past

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.journal import JournalReader

__all__ = ["forked", "resumed"]


async def resumed(journal: JournalReader, run: str) -> Job:
    """The job of a run in the journal, with all it has done; UsageError for a run that cannot be gone on with."""
    record = await journal.run(run)
    if record.status == "running":
        raise UsageError(
            f"run {record.id} is still running, in process {record.pid}",
            hint="wait until it has ended, or stop it there",
        )
    if record.status == "good":
        raise UsageError(
            f"run {record.id} has ended well; there is nothing to resume",
            hint=f"start it anew with `run`, or from one of its stages with `runs fork {record.id} --from STAGE`",
        )
    job, said = _job_of(record)
    past = read_past(await _entries(journal, record), said.get("code"))
    return replace(job, out=Path(record.out_dir), resume=record.id, past=past)


async def forked(journal: JournalReader, run: str, *, pairs: Sequence[str] = (), from_stage: str | None = None) -> Job:
    """The job of a new run that has done all the other has, but for a stage and what depends on it; with `pairs` over its
    inputs.
    """
    record = await journal.run(run)
    job, said = _job_of(record)
    entries = await _entries(journal, record)
    own = max((entry.seq for entry in entries if entry.run == record.id), default=0)
    return replace(job, pairs=tuple(pairs), fork=Fork(record.id, own, tuple(entries), said.get("code", {}), from_stage))


def _job_of(record: RunRecord) -> tuple[Job, dict[str, Any]]:
    said: dict[str, Any] = json.loads(record.inputs)
    job = Job(
        Path(record.file),
        values=said["values"],
        config=Path(said["config"]) if said["config"] else None,
        seed=said["seed"],
        priority=said.get("priority"),  # a run of an earlier version has neither
        limits=RunLimits(**said.get("limits", {})),
    )
    return job, said


async def _entries(journal: JournalReader, record: RunRecord) -> list[Entry]:
    """What counts as the run's own: of a fork, also what its parent had done, but for the stages it was to do again."""
    own = list(await journal.entries(record.id))
    if record.parent is None:
        return own
    said = json.loads(record.inputs)
    before = await _entries(journal, await journal.run(record.parent))
    return [*inherited(before, record.parent, record.parent_seq, said.get("redo", ())), *own]
