"""What a run looks like from outside, now. Owns the picture that views paint: stages, models, budgets, finished lines.

The runner and the dispatcher write it, views read it; nobody decides anything by it. Plain data, one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vwt_agents.messages import Chunk, Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vwt_agents.messages import OnChunk, Response
    from vwt_agents.types import Mib, RequestId, Seconds

__all__ = ["ENDED_WELL", "TRIED", "Board", "CallLine", "ModelLine", "StageLine", "StageStatus", "Swap", "Tally"]

StageStatus: TypeAlias = Literal[
    "waiting", "ready", "running", "done", "kept", "cached", "fallback", "partial", "skipped", "failed", "stopped"
]
"""`kept`: done before, by the run that is gone on with; `cached`: done by another run; `fallback`: it failed, and the value
that stands for it was taken; `partial`: the same for some of its items, or they were left out; `skipped`: it failed, or what
it needs was skipped, and the run does without."""

ENDED_WELL: Final[frozenset[StageStatus]] = frozenset({"done", "kept", "cached", "fallback", "partial", "skipped"})

TRIED: Final[frozenset[StageStatus]] = frozenset({"done", "failed", "fallback", "partial"})
"""How a stage ends whose own code was begun, as a rule; of one that was skipped only its calls can tell."""


class CallLine(Heard):
    """One model call in flight, which hears its answer: when the first piece came, and how many have come since. `may_begin`
    raises where the call, once it has a slot, may not be made any more.
    """

    __slots__ = ("_clock", "_may_begin", "agent", "first", "model")

    def __init__(
        self,
        agent: str,
        model: str,
        on_chunk: OnChunk | None,
        clock: Callable[[], Seconds],
        may_begin: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(on_chunk)
        self._may_begin = may_begin
        self.agent = agent
        self.model = model
        self.first: Seconds | None = None
        self._clock = clock

    def begins(self) -> None:
        """It has a slot."""
        if self._may_begin is not None:
            self._may_begin()

    def __call__(self, chunk: Chunk) -> None:
        """One piece more."""
        if self.first is None:
            self.first = self._clock()
        super().__call__(chunk)


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums of a stage's answers, and the models and endpoints they came from."""

    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    calls: int = 0
    replayed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    wait_s: Seconds = 0.0
    load_s: Seconds = 0.0
    output_s: Seconds = 0.0

    def and_of(self, response: Response) -> Tally:
        """These, and one answer more. It counts where it came from, which need not be where it was asked for."""
        usage, model, endpoint = response.usage, response.model, response.endpoint
        return Tally(
            self.models if model in self.models else (*self.models, model),
            self.endpoints if endpoint in self.endpoints else (*self.endpoints, endpoint),
            self.calls + 1,
            self.replayed + response.replayed,
            self.prompt_tokens + usage.prompt_tokens,
            self.output_tokens + usage.output_tokens,
            self.cached_tokens + (usage.cached_tokens or 0),
            self.wait_s + usage.wait_s,
            self.load_s + usage.load_s,
            self.output_s + usage.output_s,
        )


NO_ANSWERS: Final = Tally()


@dataclass(slots=True)
class StageLine:
    """One stage: where it stands, and the tally of its calls. `begun`: its own code has been, in this session."""

    name: str
    agents: tuple[str, ...]
    needs: tuple[str, ...]
    status: StageStatus = "waiting"
    started: Seconds | None = None
    ended: Seconds | None = None
    begun: bool = False
    attempts: int = 0
    retries: int = 0
    tally: Tally = NO_ANSWERS
    note: str = ""
    in_flight: Sequence[CallLine] = ()

    def call_began(self, call: CallLine) -> None:
        """One more is in flight."""
        if isinstance(self.in_flight, list) and self.in_flight:
            self.in_flight.append(call)
        else:  # a list of just one: most stages ask for one answer at a time
            self.in_flight = [call]

    def call_ended(self, call: CallLine) -> None:
        """One less is."""
        assert isinstance(self.in_flight, list)
        self.in_flight.remove(call)

    def answered(self, response: Response) -> None:
        """Count an answer."""
        self.tally = self.tally.and_of(response)

    def seconds(self, now: Seconds) -> Seconds:
        """How long it has run, or ran."""
        return 0.0 if self.started is None else (self.ended if self.ended is not None else now) - self.started


@dataclass(slots=True)
class ModelLine:
    """One model on its endpoint: its residency's phase, the memory it is believed to take, and its slots."""

    endpoint: str
    model: str
    device: str
    phase: str = "out"
    footprint: Mib = 0
    leases: int = 0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Swap:
    """One load or unload that ended: when, how long it took, and the memory it gave or took."""

    kind: Literal["load", "unload"]
    endpoint: str
    model: str
    device: str
    at: Seconds
    seconds: Seconds
    mib: Mib
    ok: bool = True
    why: str = ""


_MADE_LATE: Final = {
    "models": dict,
    "budgets": dict,
    "peaks": dict,
    "swaps": list,
    "queue": dict,
    "on_line": list,
}


@dataclass(slots=True, eq=False)
class Board:
    """The whole picture. `say` adds a line that scrolls by; `changed` tells the views to look again."""

    stages: Mapping[str, StageLine] = field(default_factory=dict)
    pull: str = ""
    prompting: bool = False  # somebody is being asked at the terminal: nothing may be drawn over their answer
    waits: Callable[[RequestId], str] = lambda _request: ""
    watchers: tuple[Callable[[], None], ...] = ()
    # Made when they are first looked at: of many runs side by side, each with a board, few are painted.
    models: dict[tuple[str, str], ModelLine] = field(init=False, repr=False)
    budgets: dict[str, Mib] = field(init=False, repr=False)
    peaks: dict[str, Mib] = field(init=False, repr=False)
    swaps: list[Swap] = field(init=False, repr=False)
    queue: dict[RequestId, str] = field(init=False, repr=False)  # request -> the stage that waits for its grant
    on_line: list[Callable[[str], None]] = field(init=False, repr=False)

    def __getattr__(self, name: str) -> Any:
        """What is asked for the first time: empty."""
        if name not in _MADE_LATE:
            raise AttributeError(name)
        empty = _MADE_LATE[name]()
        setattr(self, name, empty)
        return empty

    def changed(self) -> None:
        """Tell every view that something is different."""
        for watcher in self.watchers:
            watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call it at every change from now on."""
        self.watchers = (*self.watchers, watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Call it no more."""
        self.watchers = tuple(each for each in self.watchers if each != watcher)

    def say(self, line: str) -> None:
        """A line worth keeping on the screen."""
        for listener in self.on_line:
            listener(line)

    @property
    def loads(self) -> int:
        """Loads that succeeded."""
        return sum(swap.kind == "load" and swap.ok for swap in self.swaps)

    @property
    def unloads(self) -> int:
        """Unloads that succeeded."""
        return sum(swap.kind == "unload" and swap.ok for swap in self.swaps)
