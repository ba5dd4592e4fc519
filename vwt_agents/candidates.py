"""Candidates: several programs for one task, judged by one suite, the best of them chosen. Owns what "best" means.

What the task states is never dropped and comes first. Among those that do equally well there, the one the others agree with
on inputs nobody has seen is taken, and a written test that every good candidate fails is taken for wrong. Asks no model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from vwt_agents.consensus import agreement
from vwt_agents.probes import probe_calls
from vwt_agents.sandbox.observe import observe
from vwt_agents.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.judge import Failure, Verdict
    from vwt_agents.sandbox.service import Sandbox
    from vwt_agents.suites import TestSuite

__all__ = ["Candidate", "Candidates"]

_Key: TypeAlias = tuple[tuple[str, str], ...]  # the files of a program

_FEW: Final = 2
"""Examples of the task from which on two candidates that hold them all are enough to doubt a written test; below, three."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program, file name -> text, and how it did. `agreement` is the share of its equals that give what it gives."""

    files: Mapping[str, str]
    verdict: Verdict
    given_passed: int = 0
    agreement: float = 1.0

    @property
    def ran(self) -> bool:
        """Whether the tests came to run at all: not where the module cannot be imported or never ends."""
        return self.verdict.tests_passed > 0

    @property
    def smallest_failure(self) -> Failure | None:
        """The failed test with least to read: the best one to repair by."""
        return min(self.verdict.failures, key=lambda failure: len(failure.message), default=None)

    @property
    def passed(self) -> bool:
        """Whether all tests that stand have passed."""
        return self.verdict.passed

    @property
    def tests_passed(self) -> int:
        """How many have."""
        return self.verdict.tests_passed


class Judge(Protocol):
    """What says whether tests pass on a program: a Sandbox, or a FolderTrial of changes."""

    async def test(self, code: Mapping[str, str], tests: Mapping[str, str]) -> Verdict:
        """The verdict on `code` by `tests`, both file name -> text."""
        ...


class Candidates:
    """Judges programs, each once, and keeps the best.

    `names` are the functions that are called to see which candidates agree (by default the one the module is named after),
    `probes` how many inputs are tried for that; 0 leaves the choice to the tests alone. `judge` is who runs the tests, where
    that is not the sandbox itself.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        suite: TestSuite,
        *,
        names: Sequence[str] = (),
        signature: str | None = None,
        probes: int = 12,
        judge: Judge | None = None,
    ) -> None:
        self.suite = suite
        self.disputed: tuple[str, ...] = ()
        self._sandbox = sandbox
        self._judge: Judge = judge if judge is not None else sandbox
        self._signature = signature
        self._names = names or (suite.module,)
        self._probes = probes
        self._all: dict[_Key, Candidate] = {}
        self._probed: list[str] = []
        self._observed: dict[_Key, list[str]] = {}  # what each gives for the inputs probed

    def __len__(self) -> int:
        return len(self._all)

    @property
    def best(self) -> Candidate:
        """The best so far; of equals the first one judged. LookupError before any was."""
        if not self._all:
            raise LookupError("no candidate has been judged yet")
        return max(self._all.values(), key=_rank)

    async def judge(self, programs: Sequence[Mapping[str, str]]) -> Candidate:
        """Judge these side by side, those already known not again; then choose anew. The best."""
        new = {tuple(sorted(files.items())): files for files in programs}
        fresh = {key: files for key, files in new.items() if key not in self._all}
        self._all |= zip(fresh, await self._judge_all([*fresh.values()]), strict=True)
        if fresh and not self.best.passed:
            await self._drop_disputed()
        if fresh:
            await self._agree()
        return self.best

    async def _judge_all(self, programs: Sequence[Mapping[str, str]]) -> list[Candidate]:
        return await side_by_side(lambda index: self._judged(programs[index]), len(programs))

    async def _judged(self, files: Mapping[str, str]) -> Candidate:
        tests = {self.suite.file_name: self.suite.render()} if self.suite.cases else {}
        verdict = await self._judge.test(files, tests)
        candidate = Candidate(files, verdict)
        given = {case.name for case in self.suite.given}
        return replace(candidate, given_passed=len(given - verdict.failed)) if candidate.ran else candidate

    async def _drop_disputed(self) -> None:
        dropped = self._disputed()
        if dropped:
            self.disputed += tuple(sorted(dropped))
            self.suite = self.suite.without(dropped)
            judged = await self._judge_all([one.files for one in self._all.values()])
            self._all = dict(zip(self._all, judged, strict=True))

    def _disputed(self) -> frozenset[str]:
        """Written tests that all good candidates fail: the test of a small model is wrong more often than they all are.

        Where the task states little, at least half of the written tests, and three, have to stand.
        """
        given = len(self.suite.given)
        written = {case.name for case in self.suite.written}
        agreeing = [one for one in self._all.values() if one.ran and one.given_passed == given]
        if len(agreeing) < (_FEW if given >= _FEW else _FEW + 1):
            return frozenset()
        failed = frozenset.intersection(*(one.verdict.failed for one in agreeing)) & written
        stands = len(written) - len(failed)
        return failed if given >= _FEW or (stands >= 3 and stands >= len(failed)) else frozenset()

    async def _agree(self) -> None:
        """See which of the candidates that do equally well on what the task states agree with one another."""
        most = max(one.given_passed for one in self._all.values())
        equals = {key: one for key, one in self._all.items() if one.given_passed == most}
        if len(equals) < 3 or not self._probes:  # two either agree or do not: nobody is outvoted
            return
        calls = [case.source.split("assert ")[-1].partition(" == ")[0] for case in self.suite.cases]
        each = -(-self._probes // len(self._names))
        probes = [
            probe for name in self._names for probe in probe_calls(calls, name, signature=self._signature, count=each)
        ]
        if probes != self._probed:
            self._probed, self._observed = probes, {}
        new = {key: one.files for key, one in equals.items() if key not in self._observed}
        observed = await observe(self._sandbox, self.suite.module, [*new.values()], probes)
        self._observed |= zip(new, observed, strict=True)
        shares = agreement({str(number): self._observed[key] for number, key in enumerate(equals)})
        for number, (key, one) in enumerate(equals.items()):
            self._all[key] = replace(one, agreement=round(shares[str(number)], 3))


def _rank(one: Candidate) -> tuple[int, float, bool]:
    """Better is larger: more of what the task states, then agreement and written tests together, then a good verdict."""
    tests = max(1, one.verdict.tests_run)
    return one.given_passed, one.agreement + one.verdict.tests_passed / tests, one.passed
