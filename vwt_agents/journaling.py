"""JournalingCaller: the Caller between a stage's agents and the dispatcher that remembers every answer.

Owns the entries of calls, which old answers are left to use, the sums on a stage's line, and what each call costs the run.
It never decides where a call goes nor whether it is made again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from vwt_agents.board import Board, CallLine, StageLine
from vwt_agents.entries import call_entry, request_fingerprint
from vwt_agents.errors import LimitReached, VwtError
from vwt_agents.eventlog import bound, get_logger
from vwt_agents.messages import Chunk

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping

    from vwt_agents.journal import Journal
    from vwt_agents.limits import Spent
    from vwt_agents.messages import Caller, OnChunk, Request, Response
    from vwt_agents.types import Seconds

__all__ = ["JournalingCaller"]

log = get_logger(__name__)


class JournalingCaller:
    """A Caller that answers from the run's journal where it can, and journals every answer that had to be asked for.

    Without a journal (None) it only counts. `known` are old answers by the fingerprint of their request; each is used
    once. `spent` is what all callers of the run have asked for so far.
    """

    __slots__ = ("_board", "_caller", "_clock", "_journal", "_known", "_line", "_run", "_spent")

    def __init__(
        self,
        caller: Caller,
        journal: Journal | None,
        run_id: str,
        line: StageLine,
        board: Board,
        known: Mapping[str, deque[Response]],
        *,
        spent: Spent,
        clock: Callable[[], Seconds] = anyio.current_time,
    ) -> None:
        self._spent = spent
        self._clock = clock
        self._known = known
        self._caller = caller
        self._journal = journal
        self._run = run_id
        self._line = line
        self._board = board

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """The journaled answer to this very request, or a new one; durable before it is returned.

        A request that was made several times has several answers; each is used once, in their order. LimitReached where
        the answer is not known and the run may make no more calls.
        """
        answer = self._known_answer(request, on_chunk) if self._known else None
        if answer is not None:
            return answer
        self._spent.begin()
        request = replace(request, call=self._spent.calls)
        started, now = self._clock(), datetime.now(UTC)
        may_begin = self._spent.go_on if self._spent.runs_up else None
        line = CallLine(request.labels.get("agent", ""), request.model, on_chunk, self._clock, may_begin)
        self._line.call_began(line)
        keys = bound(agent=line.agent, call=request.call)
        try:
            answer = await self._caller.call(request, line)
            self._log_answer(answer, started)
        except LimitReached:
            raise  # it waited, and was never made
        except VwtError as error:
            self._log_failure(request, error, started)
            await self._keep(request, error.message, started, now)
            raise
        finally:
            keys.undo()  # and no `with`: its end would be held, as an object, by each that waits here
            self._line.call_ended(line)
            self._spend(line, answer, started)
        self._count(answer)
        await self._keep(request, answer, started, now)
        return answer

    def _known_answer(self, request: Request, on_chunk: OnChunk | None) -> Response | None:
        known = self._known.get(request_fingerprint(request))
        if not known:
            return None
        response = known.popleft()
        if on_chunk is not None and response.text:
            on_chunk(Chunk(response.text))
        self._count(response)
        return response

    def _log_failure(self, request: Request, error: VwtError, started: Seconds) -> None:
        seconds = self._clock() - started
        log.warning("call.failed", model=request.model, endpoint=request.endpoint, seconds=seconds, error=error.message)

    def _log_answer(self, answer: Response, started: Seconds) -> None:
        usage = answer.usage
        log.debug(
            "call.answered",
            model=answer.model,
            endpoint=answer.endpoint,
            seconds=self._clock() - started,
            wait_seconds=usage.wait_s,
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
        )

    def _spend(self, line: CallLine, response: Response | None, started: Seconds) -> None:
        """Count what a call cost; without an answer, its pieces, which are tokens as a rule, and the time since the first."""
        now = self._clock()
        if response is None:
            self._spent.end(line.pieces, now - line.first if line.first is not None else 0.0)
        else:
            usage = response.usage
            self._spent.end(usage.prompt_tokens + usage.output_tokens, max(0.0, now - started - usage.wait_s))

    async def _keep(self, request: Request, answer: Response | str, started: float, now: datetime) -> None:
        if self._journal is None:
            return
        seconds = self._clock() - started
        key = request.labels.get("item", "")
        entry = call_entry(self._run, request, answer, name=self._line.name, key=key, started_at=now, seconds=seconds)
        await self._journal.append(entry, at_once=True)  # answers seldom come together

    def _count(self, response: Response) -> None:
        self._line.answered(response)
        self._board.changed()
