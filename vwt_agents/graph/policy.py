"""What becomes of a stage that fails, whether its result may come from an earlier run, and whether a person is asked first.

Owns the faults of what was written for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vwt_agents.graph.typenames import plain, type_name
from vwt_agents.pipeline import Fallback
from vwt_agents.types import Seconds, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from vwt_agents.pipeline import WrittenPolicy

__all__ = ["PLAIN", "OnError", "Policy", "duration_or_fault", "read_policy"]

OnError: TypeAlias = Literal["fail", "skip"] | Fallback


@dataclass(frozen=True, slots=True)
class Policy:
    """A stage's policy. `deadline` is for all its tries and the pauses between them, `max_age` for a cached result."""

    retries: int = 0
    backoff: Seconds = 1.0
    deadline: Seconds | None = None
    on_error: OnError = "fail"
    cache: bool = False
    max_age: Seconds | None = None
    approve: str | None = None

    @property
    def forgiving(self) -> bool:
        """Whether there is more to a failure than that it ends the run."""
        return bool(self.retries) or self.deadline is not None or self.on_error != "fail"


PLAIN: Final = Policy()


def read_policy(written: WrittenPolicy, returns: Any, fault: Callable[..., None]) -> Policy:
    """The policy that was written; adds its faults. `returns` is the type of one result of the stage's body."""
    backoff = duration_or_fault("backoff", written.backoff, fault)
    max_age = None if isinstance(written.cache, bool) else duration_or_fault("cache", written.cache, fault)
    policy = Policy(
        retries=_retries(written.retries, fault),
        backoff=PLAIN.backoff if backoff is None else backoff,
        deadline=duration_or_fault("deadline", written.deadline, fault),
        on_error=_on_error(written.on_error, returns, fault),
        cache=written.cache is True or max_age is not None,
        max_age=max_age,
        approve=_question(written.approve, fault),
    )
    return PLAIN if policy == PLAIN else policy


def duration_or_fault(name: str, written: str | Seconds | None, fault: Callable[..., None]) -> Seconds | None:
    """The seconds of what was written; adds a fault where that is no duration."""
    if written is None:
        return None
    try:
        return parse_duration(written)
    except ValueError as error:
        fault(f"{name}: {error}")
        return None


def _retries(written: Any, fault: Callable[..., None]) -> int:
    if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
        return written
    fault(f"retries={written!r} is no number of tries", "write how many more tries a failure gets, such as 2")
    return 0


def _question(written: Any, fault: Callable[..., None]) -> str | None:
    if written is None or (isinstance(written, str) and written.strip()):
        return written
    fault(f"approve={written!r} is no question", 'write what a person is asked, such as approve="Deliver?"')
    return None


def _on_error(written: Any, returns: Any, fault: Callable[..., None]) -> OnError:
    if isinstance(written, Fallback):
        if not _fits(written.value, returns):
            wanted, given = type_name(returns), type_name(type(written.value))
            fault(f"on_error gives {given}, and the stage {wanted}", "a fallback is a value of the stage's own type")
        return written
    if written not in ("fail", "skip"):
        fault(f"on_error={written!r} is not understood", "possible: 'fail', 'skip', Fallback(value)")
        return "fail"
    return "skip" if written == "skip" else "fail"


def _fits(value: Any, returns: Any) -> bool:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    try:
        try:
            adapter = TypeAdapter(returns, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # a class that brings its own
            adapter = TypeAdapter(returns)
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    except PydanticUserError:  # it cannot describe the type
        wanted = plain(returns)
        return wanted is None or isinstance(value, wanted)
    return True
