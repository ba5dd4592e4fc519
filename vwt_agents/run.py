"""Run: what a stage may ask of the run it is part of. Owns the repair loop's attempts and the files a run delivers."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from vwt_agents.approval import Approval, approve
from vwt_agents.entries import Entry
from vwt_agents.errors import Unwritable, UsageError
from vwt_agents.eventlog import bound
from vwt_agents.past import DELIVERED
from vwt_agents.values import encode
from vwt_agents.whole import clear_parts, write_whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from vwt_agents.board import Board, StageLine
    from vwt_agents.journal import Journal
    from vwt_agents.past import Past
    from vwt_agents.stage_scope import StageScope
    from vwt_agents.types import Seconds

__all__ = ["Attempt", "Outcome", "Run", "RunFolder", "delivered_entry"]

_OURS: Final = frozenset({"log.jsonl", "report.html", "report.md", "result.json"})
"""What the run itself leaves in its folder."""


class Outcome(Protocol):
    """What an attempt is judged by: a Verdict, or anything that says whether it passed and how far it came."""

    @property
    def passed(self) -> bool:
        """Whether it is good."""
        ...

    @property
    def tests_passed(self) -> int:
        """How far it came; more is better."""
        ...


class RunFolder:
    """The folder a run leaves its files in. Every file appears whole or not at all."""

    __slots__ = ("_delivered", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        # None until the first file: most stages wait for answers before that.
        self._delivered: dict[Path, None] | None = None

    @property
    def delivered(self) -> list[Path]:
        """The files that were written, in their order, each once."""
        return list(self._delivered or ())

    def make(self) -> None:
        """Make the folder; UsageError when something else is in its place, or nothing may be written there; Unwritable
        where its disk is full or broken.
        """
        probe = self.path / f".{os.getpid()}.probe"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            said = f"cannot make the run's folder {self.path}: {error.strerror}"
            raise _unwritten(error, said, "name another one with --out") from error

    def write(self, name: str, text: str) -> Path:
        """Write one file below the folder, atomically; a file that has this text already is left as it is. What a run that
        was killed has left beside it of the same file goes.

        UsageError for a name that would leave it or cannot be written, Unwritable where the disk is full or broken. Half a
        surrogate pair, which UTF-8 cannot hold and a model may well write, becomes a question mark.
        """
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
            raise UsageError(f"cannot deliver {name!r}: a name relative to the run's folder is needed, without '..'")
        target = self.path / relative
        if not target.parent.resolve().is_relative_to(self.path.resolve()):
            raise UsageError(f"cannot deliver {name!r}: a link in {self.path} leads out of the run's folder")
        data = text.encode("utf-8", errors="replace")
        clear_parts(target)
        try:
            if not _has(target, data):
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, data)
        except OSError as error:
            hint = "choose another name, or another folder with --out"
            raise _unwritten(error, f"cannot write {target}: {error.strerror}", hint) from error
        if self._delivered is None:
            self._delivered = {}
        self._delivered[target] = None
        return target


def _has(target: Path, data: bytes) -> bool:
    return target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data


_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
"""What the disk is to blame for, and no name."""


def _unwritten(error: OSError, said: str, hint: str) -> UsageError | Unwritable:
    if error.errno in _DISK:
        return Unwritable(said, hint="make room there; `runs resume` then goes on with the run")
    return UsageError(said, hint=hint)


def delivered_entry(run: str, stage: str, mark: str, name: str, text: str) -> Entry:
    """The entry of a file that a stage delivered; `mark` is the stage's fingerprint: of its code, and what it was given."""
    said = encode({"stage": stage, "file": name})
    return Entry(run, "event", DELIVERED, stage, fingerprint=mark, payload=said, texts=(text,))


class Attempt:
    """One turn of a repair loop: its number from 1, and whether its calls go to the large tier."""

    def __init__(self, number: int, *, escalated: bool, keep: Callable[[Attempt], Awaitable[None]]) -> None:
        self.number = number
        self.escalated = escalated
        self.outcome: Outcome | None = None
        self.files: Mapping[str, str] = {}
        self._keep = keep

    async def record(self, outcome: Outcome, *, files: Mapping[str, str] | None = None) -> bool:
        """Journal how it went; True when it passed, so that `if await attempt.record(verdict): break` ends the loop.

        `files` (name -> text) are what was judged: the run's report shows how they differ from those of the attempt before.
        """
        self.outcome, self.files = outcome, files or {}
        await self._keep(self)
        return outcome.passed


class Run:
    """The run, as one of its stages sees it. `mark` tells the stage's fingerprint, which goes with what it delivers."""

    __vwt_role__: ClassVar[str] = "service"

    def __init__(
        self,
        run_id: str,
        scope: StageScope,
        *,
        line: StageLine,
        board: Board,
        journal: Journal | None,
        folder: RunFolder,
        past: Past | None = None,
        mark: Callable[[], str] | None = None,
    ) -> None:
        self._past = past
        self._mark = mark
        self.id = run_id
        self.seed = scope.seed
        self._scope = scope
        self._line = line
        self._board = board
        self._journal = journal
        self._folder = folder

    @property
    def path(self) -> Path:
        """The folder the run delivers into."""
        return self._folder.path

    @property
    def calls(self) -> int:
        """Model calls this stage has had answered, those from the journal included."""
        return self._line.tally.calls

    @property
    def tokens(self) -> int:
        """Tokens of the prompts and answers of those calls; what the engine had in its cache is left out, where it says so."""
        tally = self._line.tally
        return tally.prompt_tokens - tally.cached_tokens + tally.output_tokens

    async def attempts(self, limit: int, *, escalate_after: int | None = None) -> AsyncIterator[Attempt]:
        """At most `limit` attempts; after `escalate_after` in a row without progress, calls go to the large tier.

        Progress is more tests passed than in any attempt before: the same failure twice is none. The loop ends by itself
        when an attempt has recorded a pass; running out of attempts is no error, the last verdict says it all. Where no
        agent of the stage has a larger model to go to, nothing is escalated.
        """
        scope = self._scope
        best, stuck = -1, 0
        keys: bound | None = None
        for number in range(1, limit + 1):
            due = escalate_after is not None and stuck >= escalate_after
            if due and scope.can_escalate and not scope.escalated:
                scope.escalated = True
                self.say(f"no progress in {stuck} attempts: its calls go to the large tier now")
            scope.attempt = number
            if keys is not None:
                keys.undo()  # one attempt is bound, and not all that were: a loop may be long
            keys = bound(attempt=number)
            self._line.attempts += 1
            attempt = Attempt(number, escalated=scope.escalated, keep=self._keep)
            yield attempt
            passed = attempt.outcome.tests_passed if attempt.outcome is not None else -1
            stuck = 0 if passed > best or number == 1 else stuck + 1
            best = max(best, passed)
            if attempt.outcome is not None and attempt.outcome.passed:
                return

    async def _keep(self, attempt: Attempt) -> None:
        assert attempt.outcome is not None
        if self._journal is None:
            return
        said = {"number": attempt.number, "escalated": attempt.escalated, "outcome": attempt.outcome}
        key = f"{self._scope.item}/{attempt.number}" if self._scope.item else str(attempt.number)
        status = "good" if attempt.outcome.passed else "bad"
        texts = tuple(attempt.files.values())
        if self._past is not None and (self._line.name, key, status, texts) in self._past.attempts:
            return  # it was done again on the way back to where the run stood
        await self._journal.append(
            Entry(
                run=self.id,
                kind="attempt",
                name=self._line.name,
                key=key,
                status=status,
                payload=encode({**said, "files": list(attempt.files)} if attempt.files else said),
                texts=texts,
            ),
            at_once=True,
        )

    async def deliver(self, files: Mapping[str, str]) -> list[Path]:
        """Write files (name -> text) into the run's folder, each whole or not at all; their paths.

        The journal has them too, so that a run that is resumed, forked or answered from the cache has the same files.
        """
        for name, text in files.items():
            if not isinstance(text, str):
                raise TypeError(f"cannot deliver {name!r}: a text is needed, not {type(text).__name__}")
            if _OURS.intersection(PurePosixPath(name).parts[:1]):
                raise UsageError(
                    f"cannot deliver {name!r}: the run writes a file of that name itself", hint="rename it"
                )
        paths = []
        for name, text in files.items():
            paths.append(self._folder.write(name, text))
            await self._keep_delivery(name, text)
        return paths

    async def _keep_delivery(self, name: str, text: str) -> None:
        if self._journal is None:
            return
        mark = self._mark() if self._mark is not None else ""
        event = delivered_entry(self.id, self._line.name, mark, name, text)
        if self._past is None or not self._past.has_delivered(event):
            await self._journal.append(event, at_once=True)

    async def approve(
        self,
        question: str,
        *,
        default: bool = False,
        timeout: str | Seconds | None = None,  # noqa: ASYNC109 - it has a value when it is over
    ) -> Approval:
        """Ask a person, and wait for the answer, which is true where it was yes; `default` stands after `timeout`.

        Asked are the terminal, where there is one, and whoever calls `runs approve`. The answer is journaled: a resumed
        run, or another try of the stage, does not ask again. The stage holds no seat and no limit of its time runs
        meanwhile; the run's own deadline does.
        """
        return await approve(question, default=default, timeout=timeout)

    def say(self, line: str) -> None:
        """A line for whoever watches the run."""
        self._line.note = line
        self._board.say(f"{self._line.name}: {line}")
