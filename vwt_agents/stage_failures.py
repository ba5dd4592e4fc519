"""What a stage's error is called: an error of ours as it is, any other with the stage and the line of it that led there.

Owns what is a failure of a stage at all: also what is no Exception, but for what others sent it.
"""

from __future__ import annotations

import asyncio
import inspect
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.cancellation import cancelled_itself, closing, forget_spent, take_back, take_left_open, told_to_stop
from vwt_agents.errors import StageFailed, VwtError, words_of
from vwt_agents.pipeline import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vwt_agents.graph import Stage

__all__ = ["called_by", "check_result", "check_turn", "failure_of", "mine", "too_slow"]


_UNFINISHED: Final = (CoroutineType, AsyncGeneratorType, GeneratorType, asyncio.Future)


async def mine(stage: Stage, error: BaseException, item: str = "") -> Exception:
    """What the stage failed by, as an Exception; the task it was done in is fit for others again.

    Raised is what is no failure of the stage: an interrupt, a cancellation of the run, the end of a stage thrown away.
    """
    take_left_open()  # it ends by this error, not by that
    if isinstance(error, Exception) and not cancelled_itself():
        forget_spent()
        return error
    if closing() or _has(error, KeyboardInterrupt) or (_has(error, asyncio.CancelledError) and told_to_stop()):
        raise error
    failure = error if isinstance(error, Exception) else failure_of(stage, error, item)
    if cancelled_itself():
        await take_back()
    return failure


def check_turn(stage: Stage) -> None:
    """Raise what is wrong with a stage that has returned: it has cancelled its task, or left scopes open in it."""
    if cancelled_itself():
        raise asyncio.CancelledError
    forget_spent()
    if take_left_open():
        hint = "an async generator that holds one has to be closed where it is not read to its end: `async with aclosing(...)`"
        raise StageFailed(
            f"stage {stage.name!r} has left a cancel scope or a task group open ({stage.where})", hint=hint
        )


def check_result(stage: Stage, value: Any) -> None:
    """StageFailed for a stage that has returned what is still to be awaited or read."""
    if isinstance(value, _UNFINISHED):
        if isinstance(value, CoroutineType | GeneratorType):
            value.close()
        several = isinstance(value, AsyncGeneratorType | GeneratorType)
        hint = "return a list instead" if several else "return what it gives: `return await ...`"
        what = f"returned a {type(value).__name__}, which is not a result yet"
        raise StageFailed(f"stage {stage.name!r} {what} ({stage.where})", hint=hint)


def failure_of(stage: Stage, error: BaseException, item: str = "") -> VwtError:
    """An error of ours as it is; any other as StageFailed. Of a group of errors, the first of ours, else the first."""
    leaves = list(_leaves(error))
    ours = next((leaf for leaf in leaves if isinstance(leaf, VwtError)), None)
    if ours is not None:
        return ours
    first = leaves[0]
    more = f" (and {len(leaves) - 1} more)" if len(leaves) > 1 else ""
    which = f"stage {stage.name!r}" + (f", item {item}," if item else "")
    did, hint = _told(first)
    failure = StageFailed(f"{which} {did}{more} ({_place(stage, first)})", hint=hint)
    failure.__cause__ = error
    return failure


def _told(error: BaseException) -> tuple[str, str | None]:
    """What a stage did that ended so, and what to do about it."""
    if isinstance(error, SystemExit):
        return f"called exit({error.code!r})", None
    said = words_of(error)
    if isinstance(error, asyncio.CancelledError):
        hint = "it awaits a task or a future that was cancelled, or has cancelled its own: catch asyncio.CancelledError there"
        return f"was ended by {said}, though nobody cancelled the run", hint
    return f"raised {said}", "the whole traceback is in the run's log.jsonl"


def too_slow(stage: Stage) -> StageFailed:
    """For a stage, or an item of it, that took longer than its `timeout`."""
    return StageFailed(
        f"stage {stage.name!r} took longer than its limit of {stage.timeout:g} s ({stage.where})",
        hint="raise the stage's timeout=, or give it less to do",
    )


def called_by(stage: Stage, item: str) -> str:
    """The stage, or one of its items, as people read it."""
    return f"{stage.name}, item {item}" if item else stage.name


def _has(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(leaf, kind) for leaf in _leaves(error))


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
