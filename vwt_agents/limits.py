"""RunLimits and Spent: what a run may ask of its models, and what it has asked. Pure accounting, without a clock.

A call counts from the moment it is asked for, so that calls side by side never exceed `max_calls`. Its tokens and seconds
are only known once it is over, so calls that hold slots may carry a run beyond `max_tokens` and `max_seconds`; those that
wait for one are not made any more. Answers from the journal are never counted: a resumed run may spend its limits anew.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from vwt_agents.errors import LimitReached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.types import Seconds

__all__ = ["RunLimits", "Spent", "deadline_passed"]


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may take; None is without limit.

    `deadline` is in seconds from the run's start; `max_tokens` counts those of prompts and of answers; `max_seconds` is model
    time, the seconds in which its calls hold slots, summed over all of them.
    """

    deadline: Seconds | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    max_seconds: Seconds | None = None

    def under(self, over: RunLimits) -> RunLimits:
        """These limits, with what `over` sets in place of theirs."""
        names = [field.name for field in fields(self)]
        values = {name: getattr(over, name) for name in names}
        return RunLimits(**{name: getattr(self, name) if value is None else value for name, value in values.items()})


@dataclass(slots=True)
class Spent:
    """What a run has asked for: calls, those under way included, and the tokens and seconds of those that are over."""

    limits: RunLimits = RunLimits()
    calls: int = 0
    tokens: int = 0
    seconds: Seconds = 0.0

    def begin(self) -> None:
        """Count one more call; LimitReached, and nothing counted, where the run may make none."""
        _refuse(self._reached())
        self.calls += 1

    def go_on(self) -> None:
        """Let a call be made that was counted, and has waited since; LimitReached where others have used up its run's tokens or
        seconds meanwhile.
        """
        _refuse(self._run_up())

    @property
    def runs_up(self) -> bool:
        """Whether there is a limit that calls may reach while others wait."""
        return self.limits.max_tokens is not None or self.limits.max_seconds is not None

    def end(self, tokens: int, seconds: Seconds) -> None:
        """Count what a call took that is over, however it ended."""
        self.tokens += tokens
        self.seconds += seconds

    def over(self) -> str | None:
        """Why no further call may be made, in words; None where one may."""
        found = self._reached()
        return found[1] if found is not None else None

    def _reached(self) -> tuple[str, str] | None:
        limits = self.limits
        if limits.max_calls is not None and self.calls >= limits.max_calls:
            return "max_calls", f"{_counted(self.calls, 'call')} made, max_calls is {limits.max_calls}"
        return self._run_up()

    def _run_up(self) -> tuple[str, str] | None:
        limits = self.limits
        if limits.max_tokens is not None and self.tokens >= limits.max_tokens:
            return "max_tokens", f"{_counted(self.tokens, 'token')} used, max_tokens is {limits.max_tokens}"
        if limits.max_seconds is not None and self.seconds >= limits.max_seconds:
            return "max_seconds", f"{self.seconds:.1f} s of model time used, max_seconds is {limits.max_seconds:g}"
        return None

    def against(self, elapsed: Seconds) -> dict[str, dict[str, float]]:
        """What was `used` of each `limit` that is set, by the limit's name; `elapsed` is the run's age in seconds."""
        used: dict[str, float] = {
            "deadline": round(elapsed, 3),
            "max_calls": self.calls,
            "max_tokens": self.tokens,
            "max_seconds": round(self.seconds, 3),
        }
        set_ = {name: limit for name in used if (limit := getattr(self.limits, name)) is not None}
        return {name: {"used": used[name], "limit": limit} for name, limit in set_.items()}


def _refuse(found: tuple[str, str] | None) -> None:
    if found is not None:
        name, words = found
        raise LimitReached(f"the run has reached its limit: {words}", hint=_how_to_go_on(name))


def deadline_passed(deadline: Seconds, running: Sequence[str]) -> LimitReached:
    """The error of a run that was not over `deadline` seconds after its start, while these stages were running."""
    which = f"; {'stage' if len(running) == 1 else 'stages'} {', '.join(running)} running" if running else ""
    return LimitReached(f"the run's deadline of {_span(deadline)} passed{which}", hint=_how_to_go_on("deadline"))


def _how_to_go_on(name: str) -> str:
    option = f"--{name.replace('_', '-')}"
    return (
        f"raise {name} in [run] of agents.toml, or say {option}; `runs resume` goes on from here, "
        "and asks for no answer twice"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _span(seconds: Seconds) -> str:
    """As people write it: `30 m`, `1.5 h`, `90 s`."""
    for unit, size in (("h", 3600.0), ("m", 60.0)):
        if seconds >= size and seconds % (size / 2) == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
