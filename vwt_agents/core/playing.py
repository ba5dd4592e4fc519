"""A device's future played to its end by simple rules: what a choice made now comes to. Owns the rules of the play.

The rules are those of the policy in short: serve what is resident, the longest way to go first; load what is asked for, the
longest way to go first; hold an idle model that is needed sooner than half a swap takes; else the one needed last leaves.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from vwt_agents.core.future import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.core.future import Future
    from vwt_agents.types import Seconds

__all__ = ["Move", "play"]

HOLD: Final = 0.5
"""How much of both loads an idle model is held for."""

ENDED, ASKED, LOADED = range(3)


class Move(NamedTuple):
    """A load, once the victims are gone; numbers of models."""

    load: int
    victims: tuple[int, ...] = ()


def play(
    future: Future, tails: Sequence[Seconds], seconds: Sequence[Seconds], first: Move | None
) -> tuple[Seconds, Seconds, Seconds]:
    """Seconds until all is done, until a run is done on average, and of loads, when jobs take `seconds`.

    `first` is the next move; None: nothing is loaded before something else has happened.
    """
    game = _Game(future, tails, seconds)
    game.serve()
    if first is not None:
        game.move(first)
    while game.next():
        game.serve()
        if not game.loading and (move := game.choose()) is not None:
            game.move(move)
    ends = game.ends.values()
    return game.now - future.now, sum(ends) / max(1, len(ends)) - future.now, game.loaded


class _Game:
    """Where a play stands. `due`: by model, the jobs that will ask for it at a moment known."""

    __slots__ = (
        "behind",
        "busy",
        "due",
        "ends",
        "events",
        "future",
        "here",
        "loaded",
        "loading",
        "now",
        "queues",
        "room",
        "seconds",
        "tails",
    )

    def __init__(self, future: Future, tails: Sequence[Seconds], seconds: Sequence[Seconds]) -> None:
        self.future, self.tails, self.seconds = future, tails, seconds
        self.now = future.now
        self.here = set(future.resident)
        self.room = future.headroom
        self.loading = False
        self.loaded = 0.0
        self.behind = future.behind.copy()
        self.busy = [0] * len(future.keys)
        self.queues: list[list[tuple[Seconds, int]]] = [[] for _ in future.keys]
        self.due: list[dict[int, Seconds]] = [{} for _ in future.keys]
        self.ends: dict[int, Seconds] = {}
        self.events: list[tuple[Seconds, int, int]] = [(at, ASKED, job) for at, job in future.arriving]
        for at, job in future.arriving:
            if future.model[job] != ELSEWHERE:
                self.due[future.model[job]][job] = at
        for _, job in future.running:
            if future.model[job] != ELSEWHERE:
                self.busy[future.model[job]] += 1
            self.begin(job)
        for job in future.waiting:
            self.queues[future.model[job]].append((-tails[job], job))
        heapify(self.events)
        for queue in self.queues:
            heapify(queue)

    def begin(self, job: int) -> None:
        """It runs; what follows it alone is known to come."""
        end = self.now + self.seconds[job]
        heappush(self.events, (end, ENDED, job))
        for each in self.future.followers[job]:
            if self.behind[each] == 1 and self.future.model[each] != ELSEWHERE:
                self.due[self.future.model[each]][each] = end + self.future.delay[each]

    def serve(self) -> None:
        """Fill the slots."""
        for model in self.here:
            queue = self.queues[model]
            while queue and self.busy[model] < self.future.slots[model]:
                self.busy[model] += 1
                self.begin(heappop(queue)[1])

    def choose(self) -> Move | None:
        """The next load by the rules at the head of this file; with nothing asked for, what is needed next into free room."""
        cold = [model for model, queue in enumerate(self.queues) if queue and model not in self.here]
        if not cold:
            return self._ahead()
        for model in sorted(cold, key=lambda model: self.queues[model][0]):
            victims = self._victims(model)
            if victims is not None:
                return Move(model, victims)
        return None

    def _ahead(self) -> Move | None:
        """What is needed next of all that is out, into free room or over an idle model that is needed later."""
        near = [(min(due.values()), model) for model, due in enumerate(self.due) if due and model not in self.here]
        if not near:
            return None
        at, model = min(near)
        need = self.future.footprint[model] - self.room
        victims = []
        idle = [(min(self.due[each].values(), default=inf), each) for each in self.here if not self.busy[each]]
        for next_use, each in sorted(idle, reverse=True):
            if need <= 0:
                break
            if next_use <= at:
                return None
            victims.append(each)
            need -= self.future.footprint[each]
        return Move(model, tuple(victims)) if need <= 0 else None

    def _victims(self, model: int) -> tuple[int, ...] | None:
        need = self.future.footprint[model] - self.room
        if need <= 0:
            return ()
        load_s = self.future.load_s
        idle = []
        for each in self.here:
            if not self.busy[each] and not self.queues[each]:
                next_use = min(self.due[each].values(), default=inf) - self.now
                if next_use >= HOLD * (load_s[each] + load_s[model]):
                    idle.append((load_s[each] / (1.0 + next_use), each))
        victims = []
        for _, each in sorted(idle):
            victims.append(each)
            need -= self.future.footprint[each]
            if need <= 0:
                return tuple(victims)
        return None

    def move(self, move: Move) -> None:
        """Let the victims go and begin the load."""
        for each in move.victims:
            self.here.remove(each)
            self.room += self.future.footprint[each]
        self.room -= self.future.footprint[move.load]
        self.loading = True
        self.loaded += self.future.load_s[move.load]
        heappush(self.events, (self.now + self.future.load_s[move.load], LOADED, move.load))

    def next(self) -> bool:
        """Let the next moment pass, and all that happens at it; False when nothing is left to happen."""
        if not self.events:
            return False
        self.now = self.events[0][0]
        while self.events and self.events[0][0] <= self.now:
            _, what, which = heappop(self.events)
            if what == LOADED:
                self.here.add(which)
                self.loading = False
            elif what == ASKED:
                self._ask(which)
            else:
                self._end(which)
        return True

    def _ask(self, job: int) -> None:
        model = self.future.model[job]
        if model == ELSEWHERE:
            self.begin(job)
        else:
            self.due[model].pop(job, None)
            heappush(self.queues[model], (-self.tails[job], job))

    def _end(self, job: int) -> None:
        model = self.future.model[job]
        if model != ELSEWHERE:
            self.busy[model] -= 1
        self.ends[self.future.run[job]] = self.now
        for each in self.future.followers[job]:
            self.behind[each] -= 1
            if not self.behind[each]:
                if self.future.delay[each] > 0:
                    heappush(self.events, (self.now + self.future.delay[each], ASKED, each))
                else:
                    self._ask(each)
