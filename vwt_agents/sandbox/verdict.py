"""Verdict: whether tests truly passed, and how that is known. Plain data; judges nothing."""

from __future__ import annotations

from dataclasses import dataclass

from vwt_agents.sandbox.base import Integrity, Level, Stopped  # noqa: TC001 - read when a run is resumed

__all__ = ["Failure", "Verdict"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One test that did not pass: its id, the kind (an exception's name, `skipped`, `timeout`, ...), <= 15 lines of why."""

    test: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the tests truly passed, and how that is known. `reason` is one sentence; `stdout_tail` is shown, never judged.

    `integrity`: `isolated` when the code ran in another sandbox than its tests, `same-process` when it could reach them.
    `suspicions`: what in the code, or in what it did, is found in code that cheats more often than in code that works.
    `sound`: the run came to its end and its sentinels did as they must, so what it says of single tests can be believed.
    """

    passed: bool
    reason: str
    tests_run: int
    tests_passed: int
    tests_failed: int
    failures: tuple[Failure, ...] = ()
    level: Level = "full"
    backend: str = ""
    integrity: Integrity = "same-process"
    stopped: Stopped | None = None
    seconds: float = 0.0
    stdout_tail: str = ""
    suspicions: tuple[str, ...] = ()
    sound: bool = False

    @property
    def failed(self) -> frozenset[str]:
        """The names of the test functions that did not pass, without file and parameters."""
        return frozenset(failure.test.rpartition("::")[2].partition("[")[0] for failure in self.failures)
