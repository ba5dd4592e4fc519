"""Approvals: the questions that a run's stages ask a person, from the asking to the journaled answer.

Owns who may answer and which answer counts: what the journal has already, `--yes`, a terminal, another process through the
journal, the default when time is up. The first to come counts. While a stage waits it holds no seat, and its time stands still.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from vwt_agents.approval import Approval
from vwt_agents.entries import Entry
from vwt_agents.eventlog import get_logger
from vwt_agents.past import ASKED, GIVEN, read_given
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.board import Board, StageLine
    from vwt_agents.journal import Journal
    from vwt_agents.types import Seconds

__all__ = ["Approvals", "Terminal", "given_entry"]

log = get_logger(__name__)

_LOOK_S: Final = 0.25
"""How often it is looked whether the journal's files have changed: two `stat` calls."""

_READ_EVERY: Final = 20
"""After so many looks it is read in any case: a change within one tick of the file system's clock may not show."""


class Terminal(Protocol):
    """Asks whoever sits at the terminal."""

    async def __call__(self, question: str, *, default: bool) -> Approval | None:
        """What they said; None when nobody sits there any more. It is cancelled when another answer has come."""
        ...


class Approvals:
    """Asks for one run. `past` are the answers it has, by key, each with its question; `everything` says yes to all."""

    def __init__(
        self,
        run_id: str,
        journal: Journal | None,
        board: Board,
        *,
        past: Mapping[str, tuple[str, Approval]],
        everything: bool = False,
        terminal: Terminal | None = None,
    ) -> None:
        self._run = run_id
        self._journal = journal
        self._board = board
        self._past = dict(past)
        self._everything = everything
        self._terminal = terminal
        self._prompting: anyio.Lock | None = None  # one question at a time; made by the first, most runs ask none

    async def ask(
        self, key: str, line: StageLine, question: str, *, default: bool, patience: Seconds | None
    ) -> Approval:
        """The answer to a stage's question; written down before it is returned."""
        before, known = self._past.get(key, ("", None))
        if known is not None and before == question and (known.approved or not self._everything):
            self._say(line, f"{question} {_word(known)}, said {known.at:%Y-%m-%d %H:%M} UTC by {known.by}")
            return known
        if self._everything:
            return await self._give(key, line, question, Approval(approved=True, by="--yes", at=datetime.now(UTC)))
        asked = await self._announce(key, line, question, default=default, patience=patience)
        try:
            answer, journaled = await self._first(key, asked, question, default=default, patience=patience)
        finally:
            line.note = ""
        if journaled:
            self._past[key] = question, answer
            self._tell(line, question, answer)
            return answer
        return await self._give(key, line, question, answer)

    async def _announce(
        self, key: str, line: StageLine, question: str, *, default: bool, patience: Seconds | None
    ) -> int:
        """Say and write down that somebody is waited for; the number of the entry."""
        line.note = f"waits for a person: {question}"
        until = datetime.now(UTC) + timedelta(seconds=patience) if patience is not None else None
        said = {"stage": line.name, "question": question, "default": default, "until": until}
        log.info("approval.asked", question=question)
        number = await self._append(Entry(self._run, "event", ASKED, key, payload=encode(said)))
        else_ = f"; {'yes' if default else 'no'} in {patience:g} s" if patience is not None else ""
        how = f"python -m vwt_agents runs approve {self._run} {line.name} [--deny]"
        self._say(line, f"waits for a person: {question} ({how}{else_})")
        return number

    async def _first(
        self, key: str, asked: int, question: str, *, default: bool, patience: Seconds | None
    ) -> tuple[Approval, bool]:
        """The answer that comes first, and whether it is in the journal already; the default when time is up."""
        answers: list[tuple[Approval, bool]] = []

        async def at_terminal(terminal: Terminal) -> None:
            self._prompting = self._prompting or anyio.Lock()
            async with self._prompting:
                answer = await terminal(question, default=default)
            if answer is not None:
                answers.append((answer, False))
                tasks.cancel_scope.cancel()

        async def elsewhere(journal: Journal) -> None:
            answers.append((await self._from_journal(journal, key, asked), True))
            tasks.cancel_scope.cancel()

        with anyio.move_on_after(patience):
            async with anyio.create_task_group() as tasks:
                if self._terminal is not None:
                    tasks.start_soon(at_terminal, self._terminal)
                if self._journal is not None:
                    tasks.start_soon(elsewhere, self._journal)
                elif patience is not None:
                    tasks.start_soon(anyio.sleep_forever)
        by = "the time limit" if patience is not None else "nobody, as there is no one to ask"
        return answers[0] if answers else (Approval(default, by, datetime.now(UTC)), False)

    async def _from_journal(self, journal: Journal, key: str, asked: int) -> Approval:
        """The answer that another process writes there, once it has."""
        looks, seen = 0, None
        while True:
            now = journal.touched()
            if now != seen or looks % _READ_EVERY == 0:
                seen = now
                for entry in await journal.entries(self._run, "event"):
                    if entry.name == GIVEN and entry.key == key and entry.seq > asked:
                        return read_given(entry)
            looks += 1
            await anyio.sleep(_LOOK_S)

    async def _give(self, key: str, line: StageLine, question: str, answer: Approval) -> Approval:
        self._past[key] = question, answer
        await self._append(given_entry(self._run, key, line.name, question, answer))
        self._tell(line, question, answer)
        return answer

    def _tell(self, line: StageLine, question: str, answer: Approval) -> None:
        log.info("approval.given", approved=answer.approved, by=answer.by)
        note = f": {answer.note}" if answer.note else ""
        self._say(line, f"{question} {_word(answer)}, says {answer.by}{note}")

    async def _append(self, entry: Entry) -> int:
        return await self._journal.append(entry, at_once=True) if self._journal is not None else 0

    def _say(self, line: StageLine, text: str) -> None:
        self._board.changed()
        self._board.say(f"{line.name}: {text}")


def given_entry(run: str, key: str, stage: str, question: str, answer: Approval) -> Entry:
    """The entry of an answer."""
    said = {"stage": stage, "question": question, "approved": answer.approved, "by": answer.by, "note": answer.note}
    return Entry(run, "event", GIVEN, key, started_at=answer.at, payload=encode(said))


def _word(answer: Approval) -> str:
    return "yes" if answer.approved else "no"
