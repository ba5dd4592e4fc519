"""What came of a run, as data: the object `run --json` prints and the journal keeps. Judges by verdicts, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.board import Board, StageLine
    from vwt_agents.types import Mib, Seconds

__all__ = ["RunResult", "StageResult", "Status"]

_NOTED: Final = frozenset({"cached", "fallback", "kept", "partial", "skipped"})

Status: TypeAlias = Literal["good", "bad", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage of a run that ended. Sums over its calls; `wait_seconds` includes `load_seconds`.

    What another run did counts there: a stage that was cached, or that a fork kept, has no attempts, calls and tokens here,
    and one that was skipped before it began has no attempts.
    `note` says why it was skipped, done without, or taken from where.
    """

    name: str
    status: str
    agent: str
    model: str
    endpoint: str
    attempts: int
    calls: int
    seconds: Seconds
    wait_seconds: Seconds
    load_seconds: Seconds
    prompt_tokens: int
    output_tokens: int
    cached: int
    replayed: int
    retries: int = 0
    note: str = ""

    @classmethod
    def of(cls, line: StageLine, now: Seconds) -> StageResult:
        """The result of a stage as the board has it."""
        tally = line.tally
        return cls(
            name=line.name,
            status=line.status,
            agent=", ".join(line.agents),
            model=", ".join(tally.models),
            endpoint=", ".join(tally.endpoints),
            attempts=max(line.attempts, int(line.begun)),
            calls=tally.calls,
            seconds=round(line.seconds(now), 3),
            wait_seconds=round(tally.wait_s, 3),
            load_seconds=round(tally.load_s, 3),
            prompt_tokens=tally.prompt_tokens,
            output_tokens=tally.output_tokens,
            cached=tally.cached_tokens,
            replayed=tally.replayed,
            retries=line.retries,
            note=line.note if line.status in _NOTED else "",
        )


@dataclass(slots=True)
class RunResult:
    """A run that ended. `budget_mib` and `peak_mib` are of the devices the run used; `devices` has each of them.
    A peak is of models that were loaded: what a load was believed to take, and failed to, is not in it.

    `status`: good (it ended, and every verdict in it that counts is good), bad (it ended, or a stage gave up), failed (the
    outside world), interrupted. `exit_code` says the same to a shell. `limits` has what was `used` of each
    `limit` that was set: calls, tokens, seconds. A fork says what it was `forked_from`.
    """

    run_id: str
    pipeline: str
    status: Status
    exit_code: int
    promoted: bool
    tier: str
    seconds: Seconds
    verdict: Mapping[str, Any] | None = None
    error: str | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    stages: list[StageResult] = field(default_factory=list)
    loads: int = 0
    unloads: int = 0
    budget_mib: Mib = 0
    peak_mib: Mib = 0
    devices: dict[str, dict[str, Mib]] = field(default_factory=dict)
    limits: dict[str, dict[str, float]] = field(default_factory=dict)
    forked_from: str | None = None
    artifacts: list[str] = field(default_factory=list)
    report: str | None = None

    def count(self, board: Board, now: Seconds) -> None:
        """Take over what the board counted."""
        self.stages = [StageResult.of(line, now) for line in board.stages.values()]
        self.loads, self.unloads = board.loads, board.unloads
        used = sorted({line.device for line in board.models.values()})
        self.devices = {
            name: {"budget_mib": board.budgets.get(name, 0), "peak_mib": board.peaks.get(name, 0)} for name in used
        }
        self.budget_mib = sum(device["budget_mib"] for device in self.devices.values())
        self.peak_mib = sum(device["peak_mib"] for device in self.devices.values())
