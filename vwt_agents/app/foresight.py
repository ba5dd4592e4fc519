"""What is known before a run of how it will go: the habits of its stages, and how long its models take to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vwt_agents.core import ModelKey, ModelSpec
from vwt_agents.errors import JournalError
from vwt_agents.eventlog import get_logger
from vwt_agents.habits import Habits, learn
from vwt_agents.swaps import Serving

if TYPE_CHECKING:
    from vwt_agents.config import Settings
    from vwt_agents.journal import JournalReader
    from vwt_agents.routing import ModelPlan
    from vwt_agents.types import Mib, Seconds

__all__ = ["habits_of", "serving"]

log = get_logger(__name__)

REMEMBERED: Final = 5
"""The runs that are learned from; older ones would hardly count."""

LOAD_S: Final[Seconds] = 0.5
LOAD_MIB_S: Final[Mib] = 1000
"""A load never seen is believed to take half a second and one for each GB: a process start, and a file read once."""


async def habits_of(pipeline: str, journal: JournalReader) -> Habits:
    """What the pipeline's last runs that ended teach; nothing, and no error, where the journal cannot be read."""
    try:
        runs = await journal.list_runs(REMEMBERED, pipeline=pipeline)
        return learn([await journal.entries(run.id) for run in reversed(runs) if run.status in {"good", "bad"}])
    except JournalError as error:
        log.warning("habits.unread", error=error.message)
        return Habits()


def serving(spec: ModelPlan, settings: Settings, habits: Habits) -> Serving:
    """How a planned model is served for the length of the run."""
    load_s = habits.loads.get((spec.endpoint, spec.model), LOAD_S + spec.footprint / LOAD_MIB_S)
    key, keep_alive = ModelKey(spec.endpoint, spec.model), settings.scheduler.keep_alive
    model = ModelSpec(key, spec.device, spec.footprint, spec.slots, keep_alive, load_s)
    return Serving(model, num_ctx=spec.num_ctx, tags=spec.tags)
