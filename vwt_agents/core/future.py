"""What a device is believed to have to do still: calls and CPU work as numbered jobs. Owns the reading of beliefs.

Only few jobs are read (MOST): what lies behind more of them is too far off to be believed, and too much to be played.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vwt_agents.core.steps import CALL_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.core.programs import Program
    from vwt_agents.core.specs import ModelKey
    from vwt_agents.core.stages import Stage
    from vwt_agents.core.state import State
    from vwt_agents.types import Seconds

__all__ = ["ELSEWHERE", "MOST", "Future", "future"]

MOST: Final = 96
"""Jobs that are looked at; with more to come there is no future to be had."""

ELSEWHERE: Final = -1
"""The model of a job that needs none of this device."""


class Future:
    """The jobs of one device in columns, by their numbers, and its models by theirs.

    A job begins `delay` after all that it waits for (`behind` of them) have ended. `running` are the jobs under way with
    the moments they end, `arriving` those asked for at a moment known, `waiting` those asked for already.
    """

    def __init__(self, state: State, device: str) -> None:
        self.now = state.now
        models = [model for model in state.models.values() if model.spec.device == device]
        self.keys = [model.spec.key for model in models]
        self.number = {key: number for number, key in enumerate(self.keys)}
        self.footprint = [model.spec.footprint for model in models]
        self.load_s = [model.load_s for model in models]
        self.slots = [model.spec.slots for model in models]
        self.headroom = state.headroom(device)
        self.resident = [self.number[each.key] for each in state.on(device)]
        self.model: list[int] = []
        self.seconds: list[Seconds] = []
        self.delay: list[Seconds] = []
        self.behind: list[int] = []
        self.followers: list[list[int]] = []
        self.run: list[int] = []
        self.running: list[tuple[Seconds, int]] = []
        self.arriving: list[tuple[Seconds, int]] = []
        self.waiting: list[int] = []

    def add(self, key: ModelKey | None, seconds: Seconds, delay: Seconds, after: Sequence[int], run: int) -> int:
        """One more job, of a run; its number."""
        job = len(self.model)
        self.model.append(ELSEWHERE if key is None else self.number.get(key, ELSEWHERE))
        self.seconds.append(seconds)
        self.delay.append(delay)
        self.behind.append(len(after))
        self.followers.append([])
        self.run.append(run)
        for each in after:
            self.followers[each].append(job)
        return job

    def ask(self, key: ModelKey, seconds: Seconds, run: int) -> int:
        """A call that waits; one of another device is believed to begin at once."""
        job = self.add(key, seconds, 0.0, (), run)
        if self.model[job] == ELSEWHERE:
            self.running.append((self.now + seconds, job))
        else:
            self.waiting.append(job)
        return job

    def serve(self, key: ModelKey | None, ends_at: Seconds, run: int) -> int:
        """A job under way; overdue by x it is believed to take x more."""
        left = abs(ends_at - self.now)
        job = self.add(key, left, 0.0, (), run)
        self.running.append((self.now + left, job))
        return job

    def tails(self) -> list[Seconds]:
        """By job, the seconds from its start to the end of the longest way on from it, swaps not counted."""
        tails = [0.0] * len(self.model)
        for job in reversed(range(len(tails))):
            onward = (self.delay[each] + tails[each] for each in self.followers[job])
            tails[job] = self.seconds[job] + max(onward, default=0.0)
        return tails


def future(state: State, device: str) -> Future | None:
    """What is to be done on a device; None where that is more than can be looked at."""
    if len(state.waiting) + len(state.leases) > MOST:
        return None
    coming = Future(state, device)
    seen: set[int] = set()
    for program in state.programs.under_way():
        _add_program(coming, state, program, seen)
        if len(coming.model) > MOST:
            return None
    for request, waiting in state.waiting.items():
        if request not in seen:
            coming.ask(waiting.key, waiting.seconds, -1 - request)
    for request, key in state.leases.items():
        if request not in seen:
            coming.serve(key, state.now + CALL_S, -1 - request)
    return coming if len(coming.model) <= MOST else None


def _add_program(coming: Future, state: State, program: Program, seen: set[int]) -> None:
    last: dict[str, list[int]] = {}
    for name, stage in program.stages.items():
        if stage.ended:
            last[name] = []
            continue
        before = [job for each in stage.step.after for job in last[each]]
        asked = [
            coming.ask(state.waiting[each].key, state.waiting[each].seconds, program.order) for each in stage.queued
        ]
        asked += [coming.serve(call.key, call.ends_at, program.order) for call in stage.running.values()]
        seen.update(stage.queued, stage.running)
        last[name] = _add_rest(coming, program, stage, asked or before)


def _add_rest(coming: Future, program: Program, stage: Stage, after: list[int]) -> list[int]:
    """What a stage will still do, one after the other; its last jobs."""
    calls = [
        (use.key, stage.pace[use.key])
        for use in stage.step.uses
        for _ in range(min(MOST + 1, int(use.calls - stage.made.get(use.key, 0) + 0.5)))
    ]
    if not after:  # it begins now, or is under way
        began = coming.now if stage.began is None else stage.began
        moment = (began if stage.free_since is None else stage.free_since) + stage.think
        if not stage.step.uses:
            return [coming.serve(None, moment, program.order)]
        if calls:
            key, seconds = calls.pop(0)
            after = [coming.add(key, seconds, 0.0, (), program.order)]
            coming.arriving.append((coming.now + abs(moment - coming.now), after[0]))
    elif not stage.step.uses:
        return [coming.add(None, stage.think, 0.0, after, program.order)]
    for key, seconds in calls:
        after = [coming.add(key, seconds, stage.think, after, program.order)]
    return after
