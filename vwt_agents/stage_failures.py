"""What a stage's error is called: an error of ours as it is, any other with the stage and the line of it that led there."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from vwt_agents.errors import StageFailed, VwtError
from vwt_agents.pipeline import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vwt_agents.graph import Stage

__all__ = ["called_by", "failure_of", "left", "too_slow"]


def failure_of(stage: Stage, error: Exception, item: str = "") -> VwtError:
    """An error of ours as it is; any other as StageFailed. Of a group of errors, the first of ours, else the first."""
    leaves = list(_leaves(error))
    ours = next((leaf for leaf in leaves if isinstance(leaf, VwtError)), None)
    if ours is not None:
        return ours
    first = leaves[0]
    said = f"{type(first).__name__}: {first}" if str(first) else type(first).__name__
    more = f" (and {len(leaves) - 1} more)" if len(leaves) > 1 else ""
    which = f"stage {stage.name!r}" + (f", item {item}," if item else "")
    failure = StageFailed(
        f"{which} raised {said}{more} ({_place(stage, first)})", hint="the whole traceback is in the run's log.jsonl"
    )
    failure.__cause__ = error
    return failure


def left(stage: Stage, error: SystemExit) -> StageFailed:
    """For a stage that wanted to end the whole process."""
    return StageFailed(f"stage {stage.name!r} called exit({error.code!r}) ({_place(stage, error)})")


def too_slow(stage: Stage) -> StageFailed:
    """For a stage, or an item of it, that took longer than its `timeout`."""
    return StageFailed(
        f"stage {stage.name!r} took longer than its limit of {stage.timeout:g} s ({stage.where})",
        hint="raise the stage's timeout=, or give it less to do",
    )


def called_by(stage: Stage, item: str) -> str:
    """The stage, or one of its items, as people read it."""
    return f"{stage.name}, item {item}" if item else stage.name


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _place(stage: Stage, error: BaseException) -> str:
    """The last line of the stage's own file on the way to the error."""
    import traceback

    file = inspect.unwrap(stage.func).__code__.co_filename
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return str(Place(file, lines[-1])) if lines else stage.where
